# SPDX-License-Identifier: Apache-2.0
"""Disks from outside: images, locks that QEMU's tools see, nodes and media at run time."""
import shutil
import subprocess

import pytest

import emu
from qmp import Machine

QEMU_IO = shutil.which("qemu-io")
needs_qemu_io = pytest.mark.skipif(QEMU_IO is None, reason="no qemu-io")
QUIET = ["-display", "none", "-nodefaults"]


@pytest.fixture(name="image")
def make_image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def qemu_io(image, command):
    result = subprocess.run([QEMU_IO, "-f", "raw", "-c", command, str(image)], capture_output=True, text=True,
                            timeout=60,
                            check=False)
    return result.stdout + result.stderr


@needs_qemu_io
def test_a_disk_is_locked_while_a_device_has_it(image):
    with Machine("-S", "-drive", f"file={image},format=raw") as qmp:
        assert 'Failed to get "write" lock' in qemu_io(image, "write 0 512")
        said = emu.refused(*QUIET, "-drive", f"file={image},format=raw")
        assert 'Failed to get "write" lock' in said and "in use by process" in said and "(system-emu)" in said
        assert qmp.command("query-block")[0]["inserted"]["file"] == str(image)
    assert "wrote 512/512" in qemu_io(image, "write 0 512")


@needs_qemu_io
def test_an_image_that_qemu_io_writes_is_refused_with_its_name(image):
    with subprocess.Popen([QEMU_IO, "-f", "raw", str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        other.stdin.write("write 0 512\n")
        other.stdin.flush()
        while "wrote" not in other.stdout.readline():
            pass
        said = emu.refused(*QUIET, "-drive", f"file={image},format=raw")
        assert "Failed to get" in said and "(qemu-io)" in said
        other.stdin.close()
        other.wait(30)


@needs_qemu_io
def test_an_image_below_a_snapshot_must_not_change(image):
    with Machine("-S", "-drive", f"file={image},format=raw,snapshot=on") as qmp:
        assert not qmp.command("query-block")[0]["inserted"]["ro"]
        assert "wrote" not in qemu_io(image, "write 0 512")  # what is read must not change


@pytest.mark.parametrize("options", ["cache=none", "cache=none,aio=native", "cache=directsync,aio=threads"])
def test_an_image_fresh_from_qemu_img_is_opened_for_direct_io(options, tmp_path):
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True, timeout=60)
    assert path.stat().st_size % 512 != 0  # qemu-img ends it inside a block
    with Machine("-S", "-drive", f"file={path},if=virtio,{options}") as qmp:
        cache = qmp.command("query-block")[0]["inserted"]["cache"]
        assert cache["direct"], cache
        qmp.command("block_resize", device="virtio0", size=2 << 30)
        qmp.command("quit")
    subprocess.run(["qemu-img", "check", "-q", str(path)], check=True, timeout=60)


def test_a_node_is_added_used_and_deleted(image):
    with Machine("-S") as qmp:
        qmp.command("blockdev-add", driver="file", node_name="f", filename=str(image), discard="unmap")
        qmp.command("blockdev-add", driver="raw", node_name="r", file="f")
        assert {node["node-name"] for node in qmp.command("query-named-block-nodes")} == {"f", "r"}
        assert "in use" in qmp.refused("blockdev-del", node_name="f")["desc"]
        qmp.command("block_resize", node_name="r", size=2 << 20)
        assert image.stat().st_size == 2 << 20
        qmp.command("blockdev-del", node_name="r")
        qmp.command("blockdev-del", node_name="f")
        assert qmp.command("query-named-block-nodes") == []


def test_blockdev_as_json(image):
    line = f'{{"driver":"raw","node-name":"n","read-only":true,"file":{{"driver":"file","filename":"{image}"}}}}'
    with Machine("-S", "-blockdev", line) as qmp:
        nodes = {node["node-name"]: node for node in qmp.command("query-named-block-nodes")}
        assert nodes["n"]["ro"] and nodes["n"]["image"]["virtual-size"] == 1 << 20


def test_media_of_a_cdrom_change(tmp_path):
    first, second = tmp_path / "1.iso", tmp_path / "2.iso"
    first.write_bytes(b"1" * 2048)
    second.write_bytes(b"2" * 4096)
    with Machine("-S", "-cdrom", str(first)) as qmp:
        device = qmp.command("query-block")[0]
        assert device["removable"] and device["inserted"]["file"] == str(first)
        qmp.command("blockdev-change-medium", device=device["device"], filename=str(second), format="raw")
        inserted = qmp.command("query-block")[0]["inserted"]
        assert inserted["file"] == str(second) and inserted["ro"] and inserted["image"]["virtual-size"] == 4096
        assert "No such file" in qmp.refused("blockdev-change-medium", device=device["device"],
                                             filename="/no/such")["desc"]
        qmp.command("eject", device=device["device"], force=True)
        assert "inserted" not in qmp.command("query-block")[0]


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_trays_tell_when_they_move(tmp_path, machine):
    medium = tmp_path / "1.iso"
    medium.write_bytes(b"1" * 2048)
    with Machine("-S", "-machine", machine, "-drive", f"if=none,id=cd,media=cdrom,format=raw,file={medium}",
                 "-device", "ide-cd,id=drive,drive=cd") as qmp:
        for command, is_open in (("blockdev-open-tray", True), ("blockdev-close-tray", False), ("eject", True)):
            qmp.command(command, device="cd")
            moved = qmp.wait_event("DEVICE_TRAY_MOVED")["data"]
            assert moved == {"device": "cd", "id": "drive", "tray-open": is_open}, command
            assert qmp.command("query-block")[0]["tray_open"] == is_open


def test_a_reopening_changes_nothing_in_silence(image, tmp_path):
    other = tmp_path / "other.img"
    other.write_bytes(bytes(1 << 20))
    with Machine("-S") as qmp:
        node = {"driver": "raw", "node-name": "n", "file": {"driver": "file", "filename": str(image)}}
        qmp.command("blockdev-add", **{key.replace("-", "_"): value for key, value in node.items()})
        qmp.command("blockdev-reopen", options=[node])
        node["file"]["filename"] = str(other)
        assert "Cannot change the option 'file.filename'" in qmp.refused("blockdev-reopen", options=[node])["desc"]


@pytest.mark.parametrize("options", [
    ["-machine", "q35,pflash0=f0", "-blockdev", "driver=file,node-name=f0,filename=FLASH"],
    ["-machine", "q35", "-drive", "if=pflash,format=raw,file=FLASH"],
])
def test_flash_ends_at_4_gib(options, tmp_path):
    flash = tmp_path / "flash"
    flash.write_bytes(b"\xf4" * (1 << 20))
    with Machine("-S", *[option.replace("FLASH", str(flash)) for option in options]) as qmp:
        assert "0xf4 0xf4" in qmp.command("human-monitor-command", command_line="xp /2xb 0xfff00000")


def test_an_iothread_is_there_and_goes():
    with Machine("-S", "-object", "iothread,id=io0") as qmp:
        qmp.command("object-add", qom_type="iothread", id="io1")
        threads = qmp.command("query-iothreads")
        assert [thread["id"] for thread in threads] == ["io0", "io1"] and all(thread["thread-id"] > 0
                                                                              for thread in threads)
        qmp.command("object-del", id="io1")
        assert len(qmp.command("query-iothreads")) == 1
