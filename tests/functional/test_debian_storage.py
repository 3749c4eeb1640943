# SPDX-License-Identifier: Apache-2.0
"""Disks of a Debian guest when the host runs out of space, and their queues: ctest label debian."""
import os
import pathlib
import subprocess
import sys

import pytest

import emu
from qmp import Client
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MIB = 1 << 20
CASES = [("virtio-blk", "raw"), ("virtio-blk", "qcow2"), ("ahci", "qcow2")]


@pytest.fixture(name="small")
def small_file_system(tmp_path):
    """A folder with room for 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "emu-test", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("controller,image_format", CASES)
def test_a_full_host_stops_the_machine_and_loses_nothing(controller, image_format, small, tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    data = small / "data"
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, str(data), "128M"], check=True)
    disks = [*debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk"),
             *debian_guest.disk(data, controller, "data", image_format, ",werror=enospc")]
    disks[3] += ",bootindex=0"  # the firmware would ask the empty disk first
    name = "vdb" if controller == "virtio-blk" else "sda"
    with debian_guest.Console(emu.BINARY, tmp_path, "-cpu", "max", "-smp", "2", *disks, qmp=True) as guest:
        guest.login(600)
        client = Client.connect(str(guest.qmp_path))
        if controller == "virtio-blk":
            assert guest.run("ls /sys/block/vdb/mq | wc -l") == "2"  # one for each vCPU
        sums = guest.run("head -c 48M /dev/urandom > /root/model; sha256sum < /root/model")
        guest.start(f"dd if=/root/model of=/dev/{name} bs=256k oflag=direct status=none && sync && "
                    f"echo 3 > /proc/sys/vm/drop_caches && head -c 48M /dev/{name} | sha256sum")
        client.socket.settimeout(300)
        told = client.wait_event("BLOCK_IO_ERROR")["data"]
        assert told["nospace"] and told["action"] == "stop"
        assert told["operation"] == "write" and told["device"] == "data"
        client.wait_event("STOP")
        assert client.command("query-status")["status"] == "io-error"
        assert client.command("query-block")[-1]["io-status"] == "nospace"
        said = (tmp_path / "stderr").read_text(encoding="utf-8")
        assert str(data) in said and "No space left on device" in said, said
        client.command("cont")  # there is still no room
        client.wait_event("BLOCK_IO_ERROR")
        client.wait_event("STOP")
        subprocess.run(["mount", "-o", "remount,size=128m", str(small)], check=True)
        client.command("cont")
        status, output = guest.finish(600)
        assert status == 0 and output == sums, output
        assert client.command("query-block")[-1]["io-status"] == "ok"
        assert guest.run("dmesg --level=err,crit,alert,emerg | grep -i 'I/O error' || true") == ""
        guest.power_off()
    if image_format == "qcow2":
        result = subprocess.run(["qemu-img", "check", str(data)], capture_output=True, text=True, timeout=300,
                                check=False)
        assert "No errors were found" in result.stdout, result.stdout + result.stderr
