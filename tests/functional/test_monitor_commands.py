# SPDX-License-Identifier: Apache-2.0
"""Each command that the monitor's help lists, with right arguments and with wrong ones. A command that is added without
a row here fails the test."""
import os
import re

import pytest

import emu

UUID = "01234567-89ab-cdef-0123-456789abcdef"
MACHINE = ["-machine", "pc", "-m", "64", "-smp", "2", "-name", "guest=g", "-uuid", UUID, "-chardev",
           "ringbuf,id=ring,size=64",
           "-chardev", "null,id=spare", "-serial", "chardev:spare", "-object", "memory-backend-ram,id=ram1,size=1M",
           "-drive", "if=none,id=cd0,media=cdrom", "-drive",
           "if=none,id=d0,format=raw,file.driver=null-co,file.size=1M",
           "-object", "iothread,id=io0"]
EXTRA = "extraneous characters at the end of line: 'x'"
SILENT = r"\A\Z"

# By command: right lines and what they say, wrong lines and what they say. All in one run, so a line finds what the one
# before it left. No wrong lines: the command takes no arguments, and one is added.
ROWS = {
    "help|?": ([("help stop", r"stop\|s  -- stop emulation"), ("? info name", "show the current VM name")],
               [("help nope", "unknown command: 'nope'")]),
    "quit|q": ([("q", SILENT)], []),
    "stop|s": ([("cont", SILENT), ("stop", SILENT), ("info status", r"^VM status: paused\n")], []),
    "cont|c": ([("c", SILENT), ("info status", "^VM status: running")], []),
    "system_reset": ([("system_reset", SILENT)], []),
    "system_powerdown": ([("system_powerdown", SILENT)], []),
    "system_wakeup": ([("system_wakeup", "guest is not in suspended state")], []),
    "nmi": ([("nmi", SILENT)], []),
    "exit_preconfig": ([("exit_preconfig", "only before machine initialization")], []),
    "gdbserver": ([("gdbserver unix:gdb", "Waiting for gdb connection"), ("gdbserver none", "Disabled gdbserver")],
                  [("gdbserver nonsense:x", "no back end 'nonsense'")]),
    "log": ([("log int", SILENT), ("log none", SILENT), ("help log", "in_asm")], [("log nope", "Log items")]),
    "cpu": ([("cpu 1", SILENT), ("info registers", "^CPU#1")],
            [("cpu 7", "invalid CPU index"), ("cpu", "unexpected end")]),
    "qom-list": ([("qom-list /machine", r"peripheral \(child<container>\)")],
                 [("qom-list /nope", "'/nope' not found")]),
    "qom-get": ([("qom-get /objects/ram1 size", r"^1048576\n")],
                [("qom-get /nope x", "'/nope' not found"), ("qom-get /objects/ram1", "'property' is missing")]),
    "qom-set": ([("qom-set /machine/i440fx realized true", SILENT)],
                [("qom-set /objects/ram1 size 1", "after it was realized")]),
    "object_add": ([("object_add memory-backend-ram,id=r,size=1M", SILENT), ("info memdev", "memory backend: r\n")],
                   [("object_add nope,id=x", "does not accept value 'nope'")]),
    "object_del": ([("object_del ram1", SILENT)], [("object_del ram1", "'ram1' not found")]),
    "device_add": ([("device_add edu,id=edu1,addr=1e.0", SILENT), ("info pci", "device  30, function 0:")],
                   [("device_add edu,id=edu1", "Duplicate device ID 'edu1'"),
                    ("device_add nope", "not a valid device model name"),
                    ("device_add isa-serial", "not support hotplug")]),
    "device_del": ([("device_add edu,id=edu2", SILENT), ("device_del edu2", SILENT)],
                   [("device_del nope", "'nope' not found")]),
    "netdev_add": ([("netdev_add user,id=n0", SILENT),
                    ("info network", "n0: index=0,type=user,net=10.0.2.0,restrict=off")],
                   [("netdev_add user,id=n0", "already"), ("netdev_add nope,id=n1", "no kind 'nope'")]),
    "netdev_del": ([("netdev_add user,id=n0", SILENT), ("netdev_del n0", SILENT)],
                   [("netdev_del n0", "'n0' not found")]),
    "announce_self": ([("announce_self", SILENT), ("announce_self nope,e1000.0 once", SILENT),
                       ("announce_self nope /a/b", SILENT)],
                      [("announce_self a b c", "extraneous characters")]),
    "set_link": ([("netdev_add user,id=n0", SILENT), ("set_link n0 off", SILENT), ("info network", "link=down")],
                 [("set_link nope off", "'nope' not found"), ("set_link n0 maybe", "neither on nor off")]),
    "hostfwd_add": ([("netdev_add user,id=n0", SILENT), ("hostfwd_add tcp:127.0.0.1:0-:22", SILENT)],
                    [("hostfwd_add nope tcp::0-:22", "no user network 'nope'"),
                     ("hostfwd_add tcp::0", "no forwarding rule")]),
    "hostfwd_remove": ([("netdev_add user,id=n0", SILENT), ("hostfwd_remove tcp::9", "not found")],
                       [("hostfwd_remove n0 nonsense", "no forwarding rule")]),
    "info network": ([("info network", "e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56")], []),
    "info usernet": ([("info usernet", "Protocol")], []),
    "chardev-add": ([("chardev-add null,id=c", SILENT), ("info chardev", "c: filename=null")],
                    [("chardev-add nope,id=d", "no back end 'nope'")]),
    "chardev-remove": ([("chardev-remove ring", SILENT)], [("chardev-remove ring", "'ring' not found")]),
    "chardev-send-break": ([("chardev-send-break spare", SILENT)], [("chardev-send-break nope", "'nope' not found")]),
    "eject": ([("eject -f cd0", SILENT)], [("eject d0", "not removable"), ("eject nope", "'nope' not found")]),
    "change": ([("change cd0 null-co:// raw", SILENT), ("info block", r"cd0.*null-co://"), ("eject cd0", SILENT)],
               [("change d0 x", "not removable"), ("change cd0 /no/such", "No such file")]),
    "block_resize": ([("block_resize d0 2", SILENT)],
                     [("block_resize d0 lots", "lots"), ("block_resize nope 1", "nope")]),
    "drive_add": ([("drive_add if=none,id=d1,file.driver=null-co,format=raw", "^OK")],
                  [("drive_add if=ide,id=d2", "if=none"), ("drive_add if=none,file=x", "id")]),
    "drive_del": ([("drive_add if=none,id=d3,file.driver=null-co,format=raw", "^OK"), ("drive_del d3", SILENT)],
                  [("drive_del nope", "'nope' not found")]),
    "info block": ([("info block", r"cd0: \[not inserted\]")], []),
    "info blockstats": ([("info blockstats", r"d0: rd_bytes=0 wr_bytes=0")], []),
    "info iothreads": ([("info iothreads", r"io0:\n  thread_id=[1-9]")], []),
    "ringbuf_read": ([("ringbuf_write ring hello", SILENT), ("ringbuf_read ring 4", r"^hell\n")],
                     [("ringbuf_read nope 3", "'nope' not found"), ("ringbuf_read ring y", "unknown symbol 'y'")]),
    "ringbuf_write": ([("ringbuf_write ring hello", SILENT)], [("ringbuf_write spare hello", "not a ringbuf device")]),
    "memsave": ([("memsave 0xfff0 16 saved", SILENT)],
                [('memsave 0 16 "/no/file"', "Could not open '/no/file'"),
                 ("memsave 0 16 /no/file", "unknown symbol 'no'")]),
    "pmemsave": ([("pmemsave 0 16 saved", SILENT)],
                 [('pmemsave 0 16 "/no/file"', "Could not open"), ("pmemsave 0 y f", "'y'")]),
    "dump-guest-memory": ([("dump-guest-memory core", SILENT), ("info dump", "completed")],
                          [("dump-guest-memory /no/core", "Could not open")]),
    "sendkey": ([("sendkey ctrl-alt-f1 50", SILENT), ("sendkey 0x1e", SILENT)],
                [("sendkey a-nosuchkey", "invalid parameter: nosuchkey"), ("sendkey 0x100", "invalid parameter"),
                 ("sendkey", "'keys' is missing")]),
    "screendump": ([("screendump a.ppm", SILENT), ("screendump a.png -f png", SILENT),
                    ("screendump a.ppm /machine/unattached/device[0]", "has no screen")],
                   [("screendump", "'filename' is missing"), ("screendump a -f gif", "does not accept value 'gif'"),
                    ("screendump a nope", "'nope' not found"), ("screendump a -f ppm nope 0 x", "extraneous"),
                    ("screendump /no/a", "Could not open '/no/a'")]),
    "symbol-add": ([(f"symbol-add {os.path.abspath(emu.BINARY)}", SILENT)],
                   [("symbol-add guest", "no Linux kernel's symbols"),
                    ("symbol-add /nope", "'/nope' cannot be opened")]),
    "x": ([("x /2xb 0xffff0", r"^00000000000ffff0: 0x\w\w 0x\w\w\n"), ("x/1i 0xfffffff0", "ljmp|jmp")],
          [("x /2zz 0", "invalid char in format: 'z'"), ("x", "unexpected end")]),
    "xp": ([("xp /1xb 0xffff0", "^00000000000ffff0: ")], [("xp /1xb nope", "unknown symbol 'nope'")]),
    "print|p": ([("p (1+2)*3", r"^0x9\n"), ("print/d 0x10", r"^16\n"), ("p $eip", "0xfff0")],
                [("p 1/0", "division by zero")]),
    "trace-event": ([("trace-event runstate_set on", SILENT), ("info trace-events runstate_set", "state 1")],
                    [("trace-event nope on", "unknown event"),
                     ("trace-event runstate_set maybe", "write 'on' or 'off'")]),
    "info": ([("info", "info version  -- show the version")], [("info nope", "unknown command: 'info nope'")]),
    "info status": ([("info status", "VM status: paused")], []),
    "info name": ([("info name", r"^g\n")], []),
    "info uuid": ([("info uuid", UUID)], []),
    "info version": ([("info version", "compatible with QEMU 7.2")], []),
    "info pci": ([("info pci", "Host bridge: PCI device 8086:1237")], []),
    "info memdev": ([("info memdev", "memory backend: ram1")], []),
    "info balloon": ([("info balloon", "No balloon device has been activated")], []),
    "info chardev": ([("info chardev", "ring: filename=ringbuf")], []),
    "info dump": ([("info dump", "Status: none")], []),
    "info trace-events": ([("info trace-events runstate*", "runstate_set : state 0")],
                          [("info trace-events nope", "unknown event")]),
    "info cpus": ([("info cpus", r"\* CPU #0: .*\n +CPU #1: ")], []),
    "info jit": ([("info jit", "translation cache")], []),
    "info kvm": ([("info kvm", "kvm support: disabled")], []),
    "info lapic": ([("info lapic 1", "CPU with id 1")], [("info lapic 9", "CPU 9 has no local APIC")]),
    "info mem": ([("info mem", "PG disabled")], []),
    "info mtree": ([("info mtree", "pc.ram"), ("info mtree -f", "FlatView #0")],
                   [("info mtree -z", "extraneous characters")]),
    "info pic": ([("info pic", "pic0: irr=")], []),
    "info qtree": ([("info qtree", "bus: sysbus")], []),
    "info ramblock": ([("info ramblock", r"pc\.ram +0x4000000")], []),
    "info registers": ([("info registers", r"^CPU#0\nEAX="), ("info registers 1", "^CPU#1"),
                        ("info registers -a", "CPU#1")],
                       [("info registers 9", "CPU not available")]),
    "info replay": ([("info replay", "Going back is not possible: it needs -icount shift=N")], []),
    "info roms": ([("info roms", 'name="bios-256k.bin"')], []),
    "info symbol": ([("info symbol 0x10", "no symbol is known for 0x10")],
                    [("info symbol zzz", "unknown symbol 'zzz'")]),
    "info tlb": ([("info tlb", "empty|^0")], []),
}
# Successes that need more than a line: test_commands.py.
NEVER_SUCCEED = set()


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(emu, "BINARY", os.path.abspath(emu.BINARY))
    monkeypatch.chdir(tmp_path)


def answers(lines):
    """What each line made the monitor say."""
    text = emu.run("-S", "-display", "none", "-monitor", "stdio", *MACHINE,
                   stdin="\n".join([*lines, "quit", ""])).stdout
    said = text.replace("\r\n", "\n").split("(qemu) ")[1:]
    assert len(said) >= len(lines), text
    return [answer.partition("\n")[2] for answer in said]


@pytest.mark.parametrize("row", ROWS)
def test_monitor_command(row):
    right, wrong = ROWS[row]
    name = row.split("|")[0]
    lines = [*wrong, *right] if right and row == "quit|q" else [*right, *wrong]
    if not wrong:
        lines.insert(0, (name + " x", EXTRA))
    for (line, says), said in zip(lines, answers([line for line, _ in lines])):
        assert re.search(says, said, re.M), (line, said)


def test_every_monitor_command_has_right_and_wrong_lines():
    listed = set()
    for topic in ("help", "help info"):
        for line in answers([topic])[0].splitlines():
            name = re.match(r"((?:info )?\S+).* -- ", line)
            assert name, line
            listed.add(name[1] if topic != "help" or not name[1].startswith("info") else "info")
    assert listed == set(ROWS), "a row for each, and none for what is gone"
    assert all(right or name in NEVER_SUCCEED for name, (right, _) in ROWS.items())


def test_the_page_has_every_command():
    page = (emu.SOURCE / "docs/user/monitor.md").read_text()
    named = {word for quoted in re.findall(r"`([^`]*)`", page) for word in re.findall(r"^(?:info )?[\w-]+", quoted)}
    assert {name.split("|")[0] for name in ROWS} <= named


def test_each_command_explains_itself():
    names = [name.split("|")[0] for name in ROWS if name not in ("help|?", "log")]  # their help is more
    for name, said in zip(names, answers([f"help {name}" for name in names])):
        assert said.startswith(name), (name, said)
