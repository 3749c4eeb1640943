# SPDX-License-Identifier: Apache-2.0
"""What --explain prints, typed again, is the same machine."""
import re
import shlex
import subprocess

import pytest

import emu


def explained(words):
    result = emu.run("--explain", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def explained_twice(words):
    """What --explain says, having said the same of that."""
    first = explained(words)
    second = explained(shlex.split(first))
    assert second == first
    return first


def test_explained_line_means_the_same_again():
    words = ["-M", "q35", "-m", "1G", "-smp", "4", "-display", "none", "-qmp", "unix:/tmp/q,server,wait=off", "-S"]
    text = explained_twice(words)
    assert "-machine type=pc-q35-7.2\n" in text
    assert "-smp cpus=4,maxcpus=4,sockets=1,dies=1,cores=4,threads=1\n" in text


def test_explained_line_leaves_nothing_out():
    given = {
        "-drive file=a,,b.img,format=raw,if=virtio,id=d": None,
        "-hda x y.img": "-drive 'index=0,media=disk,file=x y.img'",
        "-cdrom c.iso": "-drive index=2,media=cdrom,file=c.iso", "-snapshot": None,
        "-blockdev driver=null-co,node-name=n,size=1M": None,
        "-blockdev null-co,node-name=m": "-blockdev driver=null-co,node-name=m",
        "-boot order=dc,once=n,menu=on,splash-time=5,reboot-timeout=-1,strict=on":
            "-boot order=dc,once=n,menu=on,strict=on,splash-time=5,reboot-timeout=-1",
        "-rtc base=2024-02-29T12:30:00,clock=vm": None,
        "-sandbox on,spawn=deny,obsolete=allow":
            "-sandbox enable=on,obsolete=allow,elevateprivileges=allow,spawn=deny,resourcecontrol=allow",
        "-d int,trace:timer_*": "-d 'int,trace:timer_*'", "-D log": None, "-dfilter 0x1000+0x10": None,
        "-trace enable=timer": None, "-trace enable=chr_*": "-trace 'enable=chr_*'", "-msg timestamp=on": None,
        "-watchdog-action pause": "watchdog=pause", "-accel tcg,tb-size=64,thread=multi,count=on": None,
        "-accel kvm,kernel-irqchip=split,dirty-ring-size=1024": None, "-L /somewhere": None, "-echr 2": None,
        "-name guest=a,,b,process=p": None, "-object rng-builtin,id=r": "-object qom-type=rng-builtin,id=r",
        "-add-fd fd=7,set=3,opaque=o": None, "-perfmap": None, "-singlestep": None,
        "-global isa-debugcon.chardev=a,b": "-global driver=isa-debugcon,property=chardev,value=a,,b",
        "-append it's quiet": "-append 'it'\\''s quiet'",
        "-chardev socket,id=s,host=::1,port=1,ipv6=on,nodelay=on,reconnect=3,logfile=l,logappend=on":
            "-chardev socket,host=::1,port=1,ipv6=on,nodelay=on,server=off,reconnect=3,id=s,logfile=l,logappend=on",
        "-chardev udp,id=u,port=2,ipv4=on": "-chardev udp,port=2,ipv4=on,id=u",
        "-device virtio-rng-pci,rng=r": "-device driver=virtio-rng-pci,rng=r",
        "-serial none": "-serial none", "-serial null": "-serial chardev:serial1",
    }
    text = explained_twice([word for line in given for word in line.split(" ", 1)])
    for line, canonical in given.items():
        assert (canonical or line) in text, text


LOOKS = ["info qtree", "info mtree -f", "info chardev", "info network", "info block", "info memdev", "info iothreads",
         "info pic",
         "info roms", "info name", "info uuid", "info cpus", "qom-get /machine graphics"]
MACHINES = [
    "",
    "-nographic",
    "-machine q35 -m 256 -smp 2,sockets=2",
    "-machine none -object iothread,id=io",
    "-nodefaults",
    "-net none -vga none -serial none -serial null",
    "-machine pc,graphics=on -nographic -cpu max,-avx2",
    "-net nic,model=rtl8139 -net user -nic user,model=virtio,mac=52:54:00:00:00:01",
    "-machine q35,memory-backend=ram -object memory-backend-ram,id=ram,size=128M -device pcie-root-port,id=p "
    "-device virtio-rng-pci,bus=p",
    "-drive if=virtio,file.driver=null-co,format=raw -blockdev null-co,node-name=n,size=1M -device ide-hd,drive=n",
    '-device {"driver":"virtio-balloon-pci","id":"b"} -uuid 01234567-89ab-cdef-0123-456789abcdef -name g',
    "-chardev ringbuf,id=r,size=64 -serial chardev:r -debugcon null -global e1000.mac=52:54:00:00:00:07",
    "-global PIIX4_PM.disable_s3=1 -no-acpi -fw_cfg name=opt/x,string=y -smbios type=1,serial=z",
]


@pytest.mark.parametrize("line", MACHINES)
def test_the_explained_machine_looks_the_same(line):
    words = ["-S", "-chardev", "stdio,id=looks", "-mon", "chardev=looks", *line.split()]
    again = shlex.split(explained(words))
    first = emu.run(*words, stdin="\n".join([*LOOKS, "quit", ""]))
    second = emu.run(*again, stdin="\n".join([*LOOKS, "quit", ""]))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr

    def plain(text):
        """Without what differs from run to run, names of our own, and the null stream that a port without one gets."""
        return re.sub(r'thread_id=\d+|auto-|#|serial\d: filename=null\n|chardev = "[^"]*"', "",
                      text.replace("\r\n", "\n"))

    assert plain(second.stdout) == plain(first.stdout)


def test_the_output_may_go_to_xargs():
    text = explained(["-machine", "none", "-nodefaults", "-name", "guest=it's 'quoted'", "-display", "none", "-chardev",
                      "stdio,id=m", "-mon", "chardev=m", "--timeout", "20"])
    again = subprocess.run(["xargs", emu.BINARY, "--explain"], input=text, capture_output=True, text=True, check=True)
    assert again.stdout == text
