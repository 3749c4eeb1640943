# SPDX-License-Identifier: Apache-2.0
"""--dry-run finds what a start would find, opens no streams and leaves nothing behind."""
import os
import subprocess
import time

import pytest

import emu

MACHINE = ("-display", "none", "-machine", "none")


def test_nothing_is_made(tmp_path):
    result = emu.run("--dry-run", "-display", "none", "-serial", f"file:{tmp_path}/log", "-pidfile", f"{tmp_path}/pid",
                     "-D",
                     f"{tmp_path}/D", "-d", "int", "-qtest", "null", "-qtest-log", f"{tmp_path}/qtest", "-qmp",
                     f"unix:{tmp_path}/qmp,server=on,wait=off", "-chardev", f"null,id=c,logfile={tmp_path}/c",
                     "-netdev",
                     "user,id=n", "-device", "e1000,netdev=n", "-object",
                     f"filter-dump,id=f,netdev=n,file={tmp_path}/pcap",
                     "-perfmap", "-monitor", f"unix:{tmp_path}/monitor,server=on", "-gdb", f"unix:{tmp_path}/gdb",
                     "--timeout", "1")
    assert result.returncode == 0, result.stderr
    assert os.listdir(tmp_path) == []


def test_what_is_there_stays_as_it_is(tmp_path):
    for name in ("log", "D", "pcap"):
        (tmp_path / name).write_text("mine")
    result = emu.run("--dry-run", *MACHINE, "-chardev", f"file,id=c,path={tmp_path}/log", "-D", f"{tmp_path}/D",
                     "-netdev",
                     "user,id=n", "-object", f"filter-dump,id=f,netdev=n,file={tmp_path}/pcap")
    assert result.returncode == 0, result.stderr
    assert all((tmp_path / name).read_text() == "mine" for name in ("log", "D", "pcap"))


# Lines that a start refuses; {absent} is a path in a folder that is not there, {file} a file.
WRONG = [
    "-kernel {absent}", "-initrd {absent} -kernel {file}", "-bios {absent}", "-device no-such-device", "-dfilter junk",
    "-trace to=nowhere", "-trace events={absent}", "-symbols {absent}", "-drive if=none,file={absent},format=raw",
    "-hda {absent}",
    "-blockdev file,node-name=n,filename={absent}", "-machine none,nonsense=1", "-cpu nonsense", "-global nonsense.x=1",
    "-object rng-random,id=r,filename={absent}", "-object nonsense,id=x", "-object secret,id=s,file={absent}",
    "-chardev file,id=c,path={absent}", "-chardev file,id=c,path=/dev/null,input-path={absent}",
    "-chardev pipe,id=c,path={absent}",
    "-chardev null,id=c,logfile={absent}", "-chardev serial,id=c,path={file}", "-chardev socket,id=c,path={absent}",
    "-chardev socket,id=c,server=on,wait=off,path={absent}", "-chardev socket,id=c,server=on,wait=off,path={file}",
    "-chardev socket,id=c,fd=77,server=on,wait=off", "-chardev socket,id=c,host=127.0.0.1,port=nonsense",
    "-serial file:{absent}",
    "-qmp unix:{absent},server=on,wait=off", "-monitor unix:{absent}", "-gdb unix:{absent}", "-D {absent}",
    "-pidfile {absent}",
    "-qtest null -qtest-log {absent}", "-netdev user,id=n -object filter-dump,id=f,netdev=n,file={absent}",
    "-add-fd fd=77,set=1",
    "-fsdev local,id=f,path={absent},security_model=none", "-fw_cfg name=opt/x,file={absent}", "-smbios file={absent}",
    "-acpitable data={absent}", "-readconfig {absent}", "-smp 300", "-m 1",
    "-device isa-serial,chardev=absent", "-device virtio-blk-pci,drive=absent", "-machine pc,memory-backend=absent",
    "-accel nonsense",
    "-icount shift=99", "-mon chardev=absent", "-daemonize -serial stdio", "-dtb {file}", "-boot order=zz",
    "-rtc base=never",
]


@pytest.mark.parametrize("line", WRONG)
def test_wrong_values_are_found_as_a_start_finds_them(line, tmp_path):
    (tmp_path / "file").write_text("no kernel, no image, no socket")
    words = line.format(absent=tmp_path / "absent/x", file=tmp_path / "file").split(" ")
    if "-machine" not in words:
        words = ["-machine", "pc" if any(word in words for word in ("-kernel", "-initrd", "-bios", "-hda", "-m", "-cpu",
                                                                    "-device",
                                                                  "-smbios", "-acpitable", "-fw_cfg",
                                                                    "-boot")) else "none", *words]
    said = [emu.refused(*mode, "-S", "-display", "none", *words) for mode in (["--dry-run"], ["--timeout", "20"])]
    # About the same option; how it is said may differ.
    assert said[0].split(":")[:2] == said[1].split(":")[:2], said


def test_a_pidfile_in_use_is_found(tmp_path):
    pidfile = tmp_path / "pid"
    first = subprocess.Popen([emu.BINARY, *MACHINE, "-pidfile", str(pidfile)])
    end = time.monotonic() + 30
    while not (pidfile.exists() and pidfile.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert f"process {first.pid}" in emu.refused("--dry-run", *MACHINE, "-pidfile", str(pidfile))
    first.terminate()
    assert first.wait(30) == 0
