# SPDX-License-Identifier: Apache-2.0
"""fio with verification in a Debian guest while the machine stops and its disk grows: ctest label debian."""
import pathlib
import subprocess
import sys
import time

import pytest

import emu
from qmp import Client
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MIB = 1 << 20
SIZE, GROWN = 256 * MIB, 320 * MIB
CASES = [("virtio-blk", "raw"), ("virtio-blk", "qcow2"), ("ahci", "qcow2")]
FIO = ("fio --name=verify --filename={device} --direct=1 --ioengine=libaio --rw=randrw --bsrange=4k-64k "
       "--iodepth=32 --numjobs=4 --loops=3 "
       "--size=48m --offset_increment=56m --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting --minimal")


def sector_count(guest, name):
    return int(guest.run(f"cat /sys/block/{name}/size"))


def disturb(client, guest):
    """Stops and continues the machine until fio is through, and makes the disk larger once. Gives fio's answer."""
    stops = 0
    end = time.monotonic() + 900
    while time.monotonic() < end:
        client.command("stop")
        assert client.command("query-status")["running"] is False
        if stops == 2:
            client.command("block_resize", device="data", size=GROWN)
        time.sleep(0.1)
        client.command("cont")
        stops += 1
        try:
            return (*guest.finish(0.7), stops)
        except debian_guest.GuestFailed:
            if guest.process.poll() is not None:
                raise
    raise guest.failure("fio did not end")


@pytest.mark.parametrize("controller,image_format", CASES)
def test_fio_verifies(controller, image_format, tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    absent = debian_guest.missing(emu.BINARY, debian_guest.CONTROLLERS[controller][0])
    if absent:
        pytest.xfail(f"the program has no device {absent}")
    data = tmp_path / "data"
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, str(data), str(SIZE)], check=True)
    system = debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk")
    system[-1] += ",bootindex=0"  # SeaBIOS would try an AHCI disk before a virtio one
    disks = [*system,
             *debian_guest.disk(data, controller, "data", image_format)]
    if controller == "virtio-blk":
        disks[-1] += ",num-queues=2"
    with debian_guest.Console(emu.BINARY, tmp_path, "-cpu", "max", "-smp", "2", *disks, qmp=True) as guest:
        guest.login(600)
        client = Client.connect(str(guest.qmp_path))
        name = "vdb" if controller == "virtio-blk" else "sda"
        assert sector_count(guest, name) == SIZE // 512
        guest.start(FIO.format(device=f"/dev/{name}"))
        status, output, stops = disturb(client, guest)
        assert status == 0, output
        line = next(text for text in output.splitlines() if text.startswith("3;"))
        assert line.split(";")[4] == "0", line
        assert stops > 3, "fio was through before the disk grew"
        if controller == "virtio-blk":  # the others' drivers ask when they are told to
            assert sector_count(guest, name) == GROWN // 512
        assert guest.run("dmesg --level=err,crit,alert,emerg | "
                         "grep -i -E 'I/O error|ata[0-9].*(exception|failed)' || true") == ""
        guest.power_off()
    if image_format == "qcow2":
        result = subprocess.run(["qemu-img", "check", str(data)], capture_output=True, text=True, timeout=300,
                                check=False)
        assert "No errors were found" in result.stdout, result.stdout + result.stderr
