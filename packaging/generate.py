# SPDX-License-Identifier: Apache-2.0
"""Writes docs/user/command-line.md, packaging/system-emu.1 and packaging/system-emu.bash from the program's own option
table, and docs/user/qemu-options.md from what it lists and packaging/qemu-7.2.txt:
python3 packaging/generate.py build/release/system-emu"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return "\\&" + text if text.startswith((".", "'")) else text


def rows(markdown):
    """(section, option, argument, help) of each option."""
    section = ""
    for line in markdown.splitlines():
        if line.startswith("## "):
            section = line[3:]
        match = re.match(r"- `-(\S+?)(?: (.*?))?`: (.*)", line)
        if match:
            yield section, match[1], match[2] or "", match[3]


def manual(markdown):
    out = ['.\\" SPDX-License-Identifier: Apache-2.0', '.\\" Made by packaging/generate.py', '.TH SYSTEM-EMU 1',
           ".SH NAME", "system\\-emu \\- runs a whole computer in a program, compatible with QEMU 7.2",
           ".SH SYNOPSIS", ".B system\\-emu", "[\\fIoptions\\fR]", ".SH DESCRIPTION",
           roff("Translates and runs an x86-64 guest. Options are those of QEMU 7.2 as far as they are here; they may "
                "begin with one dash or two. help as a value lists what an option takes."),
           ".SH OPTIONS"]
    last = ""
    for section, name, argument, text in rows(markdown):
        if section != last:
            out.append(f".SS {roff(section)}")
            last = section
        out += [".TP", f".B \\-{roff(name)}" + (f" \\fI{roff(argument)}\\fR" if argument else ""), roff(text)]
    out += [".SH KEYS", roff("While serial port and monitor share the terminal: Ctrl-A h shows the keys, Ctrl-A x ends the program, "
                             "Ctrl-A c switches between guest and monitor, Ctrl-A b sends a break, Ctrl-A Ctrl-A sends Ctrl-A."),
            ".SH EXIT STATUS", "0 after power\\-off, quit or a termination signal; 1 when the program refused to start; 3 after a guest",
            "panic; (v << 1) | 1 when the guest wrote v to isa\\-debug\\-exit.",
            ".SH EXAMPLE", roff("system-emu -m 1G -smp 2 -nographic -kernel vmlinuz -initrd initrd.img -append console=ttyS0"),
            ".SH SEE ALSO", roff("docs/user/monitor.md for the monitor's commands")]
    return "\n".join(out) + "\n"


COMPLETION = """# SPDX-License-Identifier: Apache-2.0
# bash completion for system-emu. Made by packaging/generate.py
_system_emu() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} values=
  COMPREPLY=()
  case $previous in
    # The program lists what these take, one a line.
    -machine|-M) values=$("$1" -machine help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -accel|-d|-display) values=$("$1" "$previous" help 2>/dev/null | awk 'NR > 1 {print $1}') ;;
    -cpu) values=$("$1" -cpu help 2>/dev/null | sed -n '/^$/q;s/^  \\([^ ]\\+\\) .*/\\1/p') ;;
    -device) values=$("$1" -device help 2>/dev/null | sed -n 's/^name "\\([^"]*\\)".*/\\1/p') ;;
    -chardev|-netdev|-nic) values="$("$1" "$previous" help 2>/dev/null | sed -n 's/^  \\([a-z]\\+\\).*/\\1/p') help" ;;
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
OPTIONS
    " -- "$current"))
  fi
}
complete -o default -F _system_emu system-emu
"""


def completion(markdown):
    names = ["-" + name for _, name, _, _ in rows(markdown)]
    lines, line = [], "     "
    for name in names:
        if len(line) + len(name) > 110:
            lines.append(line)
            line = "     "
        line += " " + name
    return COMPLETION.replace("OPTIONS", "\n".join([*lines, line]))


def qemu_lists():
    """kind -> name -> what else the line says."""
    lists = {}
    for line in (ROOT / "packaging/qemu-7.2.txt").read_text().splitlines():
        if not line.startswith("#"):
            kind, rest = line.split(" ", 1)
            name, _, more = (rest, "", "") if kind == "hmp" else rest.partition(" ")
            lists.setdefault(kind, {})[name] = more
    return lists


def our_lists(binary):
    def said(*arguments, stdin=""):
        return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True, input=stdin).stdout

    plain = ("-machine", "none", "-display", "none", "-nodefaults")
    hello = '{"execute":"qmp_capabilities"}{"execute":"query-commands","id":"list"}{"execute":"quit"}'
    commands = next(message["return"] for message in map(json.loads, said(*plain, "-qmp", "stdio", stdin=hello).splitlines())
                    if message.get("id") == "list")
    people = set()
    for line in said(*plain, "-monitor", "stdio", stdin="help\nhelp info\nquit\n").replace("\r", "").splitlines():
        match = re.match(r"(info )?([\w.|?-]+).* -- ", line)
        if match:
            people.update(["info " + match[2]] if match[1] else match[2].split("|"))
    return {"option": {name for _, name, _, _ in rows(said("-help-markdown"))},
            "device": set(re.findall(r'^name "([^"]+)"', said("-device", "help"), re.M)),
            "machine": {line.split()[0] for line in said("-machine", "help").splitlines()[1:]},
            "qmp": {command["name"] for command in commands},
            "hmp": people}


def refusal(binary, option):
    """What the program says to an option that it does not take."""
    result = subprocess.run([binary, "-" + option, "x"], capture_output=True, text=True)
    assert result.returncode == 1, option
    return "; ".join(result.stderr.split("\n")[:-1]).removeprefix("system-emu: ").removeprefix(f"-{option}: ")


def names(items):
    return ", ".join(f"`{item}`" for item in sorted(items)) or "none"


def qemu_page(binary):
    theirs, ours = qemu_lists(), our_lists(binary)

    def counted(kind, title):
        there = theirs[kind].keys() & ours[kind]
        return f"## {title}: {len(there)} of {len(theirs[kind])}", there, theirs[kind].keys() - ours[kind]

    out = ["# What of QEMU 7.2 is here", "<!-- Made by packaging/generate.py; a test compares. -->",
           "QEMU's lists are those of Debian 12's qemu-system-x86_64 (packaging/qemu-7.2.txt). What is not here is refused by "
           "name."]
    heading, there, missing = counted("option", "Options")
    by_text = {}
    for option in missing:
        by_text.setdefault(refusal(binary, option), []).append(option)
    out += [heading, "There: " + names("-" + name for name in there) + ".", "Refused, and what is said to it:",
            "\n".join(["| options | |", "|---|---|", *(f"| {names('-' + name for name in options)} | {text} |"
                                                     for text, options in sorted(by_text.items(), key=lambda i: sorted(i[1])))]),
            "Here, and not in QEMU's `-help`: " + names("-" + name for name in ours["option"] - theirs["option"].keys()) + "."]
    for kind, title in (("machine", "Machines"), ("device", "Devices"), ("qmp", "QMP commands"), ("hmp", "Monitor commands")):
        heading, there, missing = counted(kind, title)
        out += [heading, "There: " + names(there) + "."]
        if kind == "device":
            groups = {}
            for name in missing:
                groups.setdefault(theirs[kind][name], []).append(name)
            out += [f"Not there, {group}: {names(items)}." for group, items in sorted(groups.items())]
        elif missing:
            out.append("Not there: " + names(missing) + ".")
        if alone := ours[kind] - theirs[kind].keys():
            out.append("Here, and not listed by QEMU: " + names(alone) + ".")
    return "\n\n".join(out) + "\n"


def main():
    if sys.argv[2:] == ["--qemu-page"]:  # what the test compares
        sys.stdout.write(qemu_page(sys.argv[1]))
        return
    (ROOT / "docs/user/qemu-options.md").write_text(qemu_page(sys.argv[1]))
    markdown = subprocess.run([sys.argv[1], "-help-markdown"], check=True, capture_output=True, text=True).stdout
    (ROOT / "docs/user/command-line.md").write_text(markdown)
    (ROOT / "packaging/system-emu.1").write_text(manual(markdown))
    (ROOT / "packaging/system-emu.bash").write_text(completion(markdown))


main()
