# SPDX-License-Identifier: Apache-2.0
# bash completion for system-emu. Made by packaging/generate.py
_system_emu() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} values=
  COMPREPLY=()
  case $previous in
    # The program lists what these take, one a line.
    -machine|-M) values=$("$1" -machine help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -accel|-d|-display) values=$("$1" "$previous" help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -cpu) values=$("$1" -cpu help 2>/dev/null | sed -n '/^$/q;s/^  \([^ ]\+\) .*/\1/p') ;;
    -device) values=$("$1" -device help 2>/dev/null | sed -n 's/^name "\([^"]*\)".*/\1/p') ;;
    -chardev|-netdev|-nic) values="$("$1" "$previous" help 2>/dev/null | sed -n 's/^  \([a-z]\+\).*/\1/p') help" ;;
    -vga) values="$("$1" -vga help 2>/dev/null | awk '{print $1}') help" ;;
    -net) values="nic user tap socket none" ;;
    -serial|-monitor|-debugcon) values="stdio mon:stdio null pty none file: unix: tcp: chardev:" ;;
    -parallel) values="none" ;;
    -action) values="reboot= shutdown= panic= watchdog=" ;;
    -kernel|-initrd|-bios|-pidfile|-D|-L|-hd[a-d]|-cdrom|-readconfig)
      COMPREPLY=($(compgen -f -- "$current"))
      return ;;
  esac
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "
      -help -h -help-markdown -version -target -machine -M -accel -enable-kvm -cpu -smp -m -device -global
      -object -set -readconfig -overcommit -name -uuid -rtc -no-hpet -no-acpi -kernel -initrd -append -dtb
      -bios -L -boot -fw_cfg -smbios -acpitable -drive -blockdev -hda -hdb -hdc -hdd -cdrom -snapshot -fsdev
      -virtfs -nographic -display -audiodev -audio -vga -chardev -add-fd -serial -parallel -monitor -mon -qmp
      -qmp-pretty -debugcon -echr -netdev -nic -net -preconfig -dry-run -explain -S -no-reboot -no-shutdown
      -action -watchdog-action -daemonize -pidfile -nodefaults -no-user-config -msg -sandbox -timeout -icount
      -seed -gdb -s -d -D -dfilter -symbols -trace -qtest -qtest-log -singlestep -perfmap -jitdump
    " -- "$current"))
  fi
}
complete -o default -F _system_emu system-emu
