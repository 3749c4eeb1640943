# SPDX-License-Identifier: Apache-2.0
"""The SCSI controller over virtio from outside: disks that come and go, media that change, threads of their own."""
import pytest

import emu
from qmp import Machine

CONTROLLER = ["-device", "virtio-scsi-pci,id=s"]
QUIET = ["-display", "none", "-nodefaults"]


@pytest.fixture(name="image")
def make_image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def tray_events(client, count):
    return [(event["data"]["id"], event["data"]["tray-open"])
            for event in (client.wait_event("DEVICE_TRAY_MOVED") for _ in range(count))]


def test_media_of_a_cdrom_change(tmp_path):
    first, second = tmp_path / "1.iso", tmp_path / "2.iso"
    first.write_bytes(b"1" * 2048)
    second.write_bytes(b"2" * 4096)
    with Machine("-S", *CONTROLLER, "-drive", f"if=none,id=cd,media=cdrom,file={first},format=raw", "-device",
                 "scsi-cd,drive=cd,id=drive,bus=s.0") as client:
        device = {info["qdev"]: info for info in client.command("query-block") if "qdev" in info}["drive"]
        assert device["removable"] and not device["tray_open"] and device["inserted"]["file"] == str(first)
        client.command("blockdev-change-medium", id="drive", filename=str(second), format="raw")
        assert tray_events(client, 2) == [("drive", True), ("drive", False)]
        client.command("eject", id="drive", force=True)
        assert tray_events(client, 1) == [("drive", True)]
        device = {info["qdev"]: info for info in client.command("query-block") if "qdev" in info}["drive"]
        assert device["tray_open"] and "inserted" not in device


def test_a_cdrom_drive_may_be_empty():
    with Machine("-S", *CONTROLLER, "-device", "scsi-cd,bus=s.0,id=drive") as client:
        assert "scsi-cd" in client.command("human-monitor-command", command_line="info qtree")


def test_a_disk_comes_and_goes(image):
    with Machine("-S", *CONTROLLER, "-blockdev", f"driver=file,node-name=n,filename={image}") as client:
        for _ in range(20):
            client.command("device_add", driver="scsi-hd", id="d", drive="n", bus="s.0", exactly={"scsi-id": 5})
            assert "in use" in client.refused("device_add", driver="scsi-hd", id="e", drive="n", bus="s.0")["desc"]
            client.command("device_del", id="d")
            assert client.wait_event("DEVICE_DELETED")["data"]["device"] == "d"
        client.command("blockdev-del", exactly={"node-name": "n"})


def test_disks_work_on_a_thread(image):
    with Machine("-S", "-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=s,iothread=io0,num_queues=4",
                 "-drive", f"if=none,id=d0,file={image},format=raw",
                 "-device", "scsi-hd,drive=d0,id=d,bus=s.0") as client:
        assert "in use" in client.refused("object-del", id="io0")["desc"]
        client.command("device_del", id="d")
        client.wait_event("DEVICE_DELETED")
        client.command("device_add", driver="scsi-hd", id="d", drive="d0", bus="s.0")


@pytest.mark.parametrize("options, said", [
    (["-drive", "if=scsi,file=IMAGE,format=raw"], "virtio-scsi-pci"),
    ([*CONTROLLER, "-device", "scsi-hd,bus=s.0"], "drive property not set"),
    ([*CONTROLLER, "-drive", "if=none,id=d,file=IMAGE,format=raw", "-device", "scsi-hd,bus=s.0,drive=d,scsi-id=256"],
     "no target 256"),
    ([*CONTROLLER, "-drive", "if=none,id=d,file=IMAGE,format=raw", "-device", "scsi-hd,bus=s.0,drive=d,rerror=enospc"],
     "rerror"),
    ([*CONTROLLER, "-device", "scsi-block,bus=s.0,drive=d"], "scsi-hd"),
    (["-device", "virtio-scsi-pci,num_queues=0"], "Invalid number of queues"),
    (["-device", "virtio-scsi-pci,iothread=nobody"], "nobody"),
])
def test_what_cannot_be_is_refused(options, said, image):
    assert said in emu.refused(*QUIET, *[option.replace("IMAGE", str(image)) for option in options])
