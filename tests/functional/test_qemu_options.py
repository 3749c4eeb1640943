# SPDX-License-Identifier: Apache-2.0
"""What of QEMU 7.2 is here: the page says so truly, and what is not here is refused by one clear sentence."""
import subprocess
import sys

import pytest

import emu

LISTS = [line.split(" ", 2) for line in (emu.SOURCE / "packaging/qemu-7.2.txt").read_text().splitlines()
         if not line.startswith("#")]
OPTIONS = [(words[1], words[2] == "argument") for words in LISTS if words[0] == "option"]

# Values that clients type (libvirt 9.0, qmp-shell, libqtest, people in CI); of the rest any value does.
CLIENTS = [
    "-name guest=t1,debug-threads=on", "-S", "-machine pc-q35-7.2,usb=off,dump-guest-core=off", "-accel tcg",
    "-accel kvm",
    "-cpu qemu64", "-cpu max", "-cpu host", "-m 512", "-overcommit mem-lock=off",
    "-smp 2,maxcpus=4,sockets=4,cores=1,threads=1",
    "-uuid 01234567-89ab-cdef-0123-456789abcdef", "-no-user-config", "-nodefaults", "-rtc base=utc", "-no-shutdown",
    "-boot strict=on", "-no-hpet", "-no-acpi", "-no-reboot", "-daemonize", "-msg timestamp=on",
    "-audiodev id=audio1,driver=none",
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-audio none", "-vga none",
    "-watchdog-action reset", "-incoming defer", "-loadvm s2", "-snapshot", "-vnc 127.0.0.1:0",
    "-netdev user,id=hostnet0",
    "-nic user", "-tpmdev emulator,id=t", "-blockdev driver=file,filename=x,node-name=n", "-drive file=x",
    "-global ICH9-LPC.x=1",
    "-device virtio-net-pci", "-device qemu-xhci", "-device isa-debug-exit,iobase=0xf4,iosize=4", "-qtest null",
    "-qtest-log none",
    "-accel qtest", "-object rng-random,id=r,filename=f", "-object iothread,id=i", "-mon chardev=m,mode=control",
    '-object {"qom-type":"rng-random","id":"r","filename":"/dev/zero"} -device {"driver":"virtio-rng-pci","rng":"r"}',
    '-object {"qom-type":"memory-backend-ram","id":"pc.ram","size":536870912} -machine pc,memory-backend=pc.ram',
    '-object {"qom-type":"secret","id":"masterKey0","format":"raw","data":"x"}',
    '-machine q35 -device {"driver":"pcie-root-port","port":16,"chassis":1,"id":"pci.1","bus":"pcie.0",'
    '"multifunction":true,"addr":"0x2"}',
    '-device {"driver":"qemu-xhci","id":"usb"}', '-device {"driver":"virtio-serial-pci","id":"virtio-serial0"}',
    '-netdev {"type":"user","id":"h"} '
    '-device {"driver":"virtio-net-pci","netdev":"h","id":"net0","mac":"52:54:00:00:00:01"}',
    '-chardev pty,id=s -device {"driver":"isa-serial","chardev":"s","id":"serial0","index":0} -serial none',
    '-audiodev {"id":"audio1","driver":"none"}', '-device {"driver":"virtio-vga","id":"video0","max_outputs":1}',
    '-device {"driver":"virtio-balloon-pci","id":"balloon0"}',
    '-device {"driver":"ide-cd","bus":"ide.0","id":"sata0-0-0"}',
    '-blockdev {"driver":"null-co","node-name":"n"} '
    '-device {"driver":"virtio-blk-pci","drive":"n","id":"d","bootindex":1}',
    "-global kvm-pit.lost_tick_policy=delay", "-global ICH9-LPC.disable_s3=1", "-rtc base=utc,driftfix=slew",
    "-device ich9-intel-hda",
    "-device usb-tablet", "-device i6300esb", "-device pvpanic", "-device tpm-crb",
    "-device virtio-scsi-pci,id=s -device scsi-hd",
    "-global driver=cfi.pflash01,property=secure,value=on", "-machine virt-7.2,gic-version=3",
    "-device pcie-pci-bridge",
    "-chardev spicevmc,id=c", "-serial mon:stdio", "-pidfile /no/such/folder/pid", "-icount shift=7", "-seed 5",
    "-trace x*",
]


def accepted_or_refused(words):
    result = emu.run("--dry-run", *words)
    if result.returncode != 0:
        assert result.returncode == 1, (words, result)
        lines = result.stderr.strip().splitlines()
        assert 1 <= len(lines) <= 2 and lines[0].startswith("system-emu: "), result.stderr
        assert not lines[0].endswith(": unknown option"), lines[0]
        assert len(lines[0]) < 200
    return result.returncode == 0


@pytest.mark.parametrize("option, takes", OPTIONS)
def test_every_option_of_qemu_is_accepted_or_refused_in_a_sentence(option, takes):
    words = ["-" + option] + (["x"] if takes else [])
    if option in ("display", "nographic", "serial", "monitor", "qmp", "qmp-pretty", "mon", "chardev"):
        words = ["-nodefaults", *words]
    accepted_or_refused([*words, "-display", "none"])


@pytest.mark.parametrize("line", CLIENTS)
def test_what_clients_type_is_accepted_or_refused_in_a_sentence(line):
    accepted_or_refused([*line.split(" "), "-display", "none"])


def test_what_clients_need_is_accepted():
    refused = [line for line in CLIENTS if not accepted_or_refused([*line.split(" "), "-display", "none"])]
    for line in CLIENTS[:4] + CLIENTS[7:21]:
        assert line not in refused or line in ("-cpu host",), line
    for line in CLIENTS:
        assert line not in refused or "qom-type" not in line, line


def test_devices_machines_and_commands_that_are_not_here_are_refused_by_name():
    ours = set(emu.run("-device", "help").stdout.split('"')[1::2])
    devices = [words[1] for words in LISTS if words[0] == "device" and words[1] not in ours]
    assert len(devices) > 300
    for device in devices[::13]:
        assert device in emu.refused("-display", "none", "-device", device)
    for machine in ("microvm", "pc-i440fx-2.0"):
        assert machine in emu.refused("-display", "none", "-machine", machine)


def test_the_page_is_current():
    made = subprocess.run([sys.executable, str(emu.SOURCE / "packaging/generate.py"), emu.BINARY, "--qemu-page"],
                          capture_output=True, text=True, check=True).stdout
    assert made == (emu.SOURCE / "docs/user/qemu-options.md").read_text()
