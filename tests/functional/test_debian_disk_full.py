# SPDX-License-Identifier: Apache-2.0
"""The host runs out of space under a running Linux: the machine stops, and after `cont` nothing is lost."""
import os
import subprocess

import pytest

from test_hotplug import GUEST, Linux


@pytest.fixture(name="small")
def small_file_system(tmp_path):
    """A folder with room for 8 MiB."""
    if not (GUEST / "vmlinuz").exists():
        pytest.skip("build/guest was not made")
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "emu-test", str(folder)], check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_full_host_stops_the_machine_and_loses_nothing(image_format, small, tmp_path):
    data = small / "data"
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, str(data), "32M"], check=True)
    with Linux(tmp_path, "pc", "-smp", "2", "-drive", f"if=virtio,id=data,file={data},format={image_format}") as linux:
        linux.run("modprobe virtio_blk")
        linux.wait("ls /dev/vda", "/dev/vda")
        assert linux.run("ls /sys/block/vda/mq | wc -l") == "2"  # one for each vCPU
        model = linux.run("dd if=/dev/urandom of=/tmp/model bs=1M count=16 2>/dev/null; md5sum < /tmp/model")
        linux.shell.type("dd if=/tmp/model of=/dev/vda bs=64k conv=fsync 2>/dev/null; echo status $?; "
                         "echo 3 > /proc/sys/vm/drop_caches; head -c 16777216 /dev/vda | md5sum; echo E''ND\n")
        client = linux.client
        client.socket.settimeout(200)
        told = client.wait_event("BLOCK_IO_ERROR")["data"]
        assert told["nospace"] and told["action"] == "stop"
        assert told["operation"] == "write" and told["device"] == "data"
        client.wait_event("STOP")
        assert client.command("query-status")["status"] == "io-error"
        assert client.command("query-block")[0]["io-status"] == "nospace"
        client.command("cont")  # there is still no room
        client.wait_event("STOP")
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        client.command("cont")
        said = linux.shell.wait_for("END", 200).replace("\r", "").split()
        assert said[:2] == ["status", "0"] and model.split()[0] in said, said
        assert client.command("query-block")[0]["io-status"] == "ok"
    if image_format == "qcow2":
        result = subprocess.run(["qemu-img", "check", str(data)], capture_output=True, text=True, timeout=60,
                                check=False)
        assert "No errors were found" in result.stdout, result.stdout + result.stderr
