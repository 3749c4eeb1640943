# SPDX-License-Identifier: Apache-2.0
# bash completion for system-emu. Made by packaging/generate.py
_system_emu() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} values=
  COMPREPLY=()
  case $previous in
    -machine|-M) values=$("$1" -machine help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -cpu) values="help max qemu64" ;;
    -device) values=$("$1" -device help 2>/dev/null | sed -n 's/^name "\([^"]*\)".*/\1/p') ;;
    -accel) values="tcg help" ;;
    -d) values=$("$1" -d help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -serial|-monitor|-debugcon) values="stdio mon:stdio null pty none file: unix: tcp: chardev:" ;;
    -chardev) values="file null pty ringbuf socket stdio help" ;;
    -display|-nic|-net|-parallel) values="none" ;;
    -vga) values="std none help" ;;
    -action) values="reboot= shutdown= panic= watchdog=" ;;
    -kernel|-initrd|-bios|-pidfile|-D|-L) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "
      -help -h -help-markdown -version -target -machine -M -accel -enable-kvm -cpu -smp -m -device -global
      -object -set -readconfig -overcommit -name -uuid -rtc -no-hpet -no-acpi -kernel -initrd -append -dtb
      -bios -L -boot -fw_cfg -smbios -acpitable -drive -blockdev -hda -hdb -hdc -hdd -cdrom -snapshot
      -nographic -display -audiodev -audio -vga -chardev -add-fd -serial -parallel -monitor -mon -qmp
      -qmp-pretty -debugcon -echr -netdev -nic -net -preconfig -dry-run -explain -S -no-reboot -no-shutdown
      -action -watchdog-action -daemonize -pidfile -nodefaults -no-user-config -msg -sandbox -timeout -icount
      -seed -gdb -s -d -D -dfilter -symbols -trace -qtest -qtest-log -singlestep -perfmap -jitdump
    " -- "$current"))
  fi
}
complete -o default -F _system_emu system-emu
