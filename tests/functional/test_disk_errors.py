# SPDX-License-Identifier: Apache-2.0
"""Images that cannot be opened: one sentence that names the image and what to do about it."""
import shutil
import subprocess

import pytest

import emu

QUIET = ["-display", "none", "-nodefaults"]
QEMU_IMG = shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(QEMU_IMG is None, reason="no qemu-img")


def refused(line):
    return emu.refused(*QUIET, "-drive", f"if=none,id=d,{line}")


def qcow2(path, *options):
    subprocess.run([QEMU_IMG, "create", "-q", "-u", "-f", "qcow2", *map(str, options), str(path), "1M"], check=True)
    return path


@pytest.fixture(name="raw")
def make_raw(tmp_path):
    path = tmp_path / "plain.img"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.mark.parametrize("line, expected", [
    ("file=/nowhere/x.img,format=raw", "Could not open '/nowhere/x.img': No such file or directory"),
    ("file=/,format=raw", "requires '/' to be a regular file"),
    ("file=x,format=qcow3", "Unknown driver 'qcow3'\ndid you mean 'qcow2'?"),
    ("file=x,format=vmdk", "Unknown driver 'vmdk'\nformats are raw and qcow2; 'qemu-img convert"),
    ("file=nbd://host/x", "Unknown protocol 'nbd'"),
    ("file.driver=null-co,format=raw,size=1000", "not multiple of 512"),
    ("driver=null-co,aio=nativ", "aio"),
])
def test_what_cannot_be_opened(line, expected):
    assert expected in refused(line)


@pytest.mark.parametrize("name", ["vmdk", "vdi", "vhdx", "vpc", "qed", "parallels"])
def test_an_image_of_a_format_that_is_not_here(name, tmp_path):
    path = tmp_path / "disk"
    subprocess.run([QEMU_IMG, "create", "-q", "-f", name, str(path), "4M"], check=True, timeout=60)
    assert f"'{path}' is a {name} image, which is not supported\nformats are raw and qcow2" in refused(f"file={path}")


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "gone"
    path.symlink_to(path)
    assert f"Could not open '{path}': Too many levels of symbolic links" in refused(f"file={path},format=raw")


def test_another_format(raw):
    said = refused(f"file={raw},format=qcow2")
    assert f"'{raw}': image is not in qcow2 format" in said
    assert "leave format= away" in said


def test_an_image_that_is_cut_off(tmp_path):
    path = tmp_path / "short.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(20))
    assert f"'{path}': qcow2 header is cut off at 28 bytes" in refused(f"file={path},format=qcow2")


@needs_qemu_img
def test_a_missing_backing_file(tmp_path):
    path = qcow2(tmp_path / "top.qcow2", "-b", "base.raw", "-F", "raw")
    said = refused(f"file={path},format=qcow2")
    assert f"Could not open backing file 'base.raw': Could not open '{tmp_path}/base.raw': No such file" in said


@needs_qemu_img
def test_backing_files_in_a_circle(tmp_path):
    path = qcow2(tmp_path / "a.qcow2", "-b", "b.qcow2", "-F", "qcow2")
    qcow2(tmp_path / "b.qcow2", "-b", f"{tmp_path}/./c.qcow2", "-F", "qcow2")
    qcow2(tmp_path / "c.qcow2", "-b", "a.qcow2", "-F", "qcow2")
    said = refused(f"file={path},format=qcow2")
    assert "Backing file 'a.qcow2' creates an infinite loop" in said and str(path) in said, said
    itself = qcow2(tmp_path / "self.qcow2", "-b", "self.qcow2", "-F", "qcow2")
    assert "Backing file 'self.qcow2' creates an infinite loop" in refused(f"file={itself}")


@needs_qemu_img
def test_the_same_base_twice_is_no_circle(tmp_path, raw):
    for name in ("a", "b"):
        qcow2(tmp_path / f"{name}.qcow2", "-b", raw, "-F", "raw")
    drives = [word for name in ("a", "b") for word in ("-drive", f"if=none,id={name},file={tmp_path}/{name}.qcow2")]
    assert "a.qcow2" in emu.monitor(["info block"], "-nodefaults", *drives)


@needs_qemu_img
def test_a_corrupt_image_is_only_read(tmp_path):
    path = qcow2(tmp_path / "bad.qcow2")
    with open(path, "r+b") as image:
        image.seek(79)
        image.write(b"\2")
    said = refused(f"file={path},format=qcow2,auto-read-only=off")
    assert "marked corrupt" in said and "check -r all" in said
    assert "bad.qcow2" in emu.monitor(["info block"], "-nodefaults", "-drive", f"if=none,id=d,file={path},read-only=on")


@needs_qemu_img
def test_an_encrypted_image(tmp_path):
    path = tmp_path / "secret.qcow2"
    subprocess.run([QEMU_IMG, "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc",
                    "-o", "encrypt.format=aes,encrypt.key-secret=s", str(path), "1M"], check=True)
    assert "encrypted" in refused(f"file={path},format=qcow2")


@pytest.mark.parametrize("device, expected", [
    ("virtio-blk-pci,drive=d,rerror=enospc", "rerror=enospc: reads need no space"),
    ("ide-hd,drive=d,werror=maybe", "expects one of: auto, report, ignore, enospc, stop"),
    ("virtio-blk-pci,drive=nobody", "nobody"),
    ("virtio-blk-pci,drive=d,num-queues=0", "num-queues property must be larger than 0"),
])
def test_properties_of_devices(device, expected):
    said = emu.refused("-display", "none", "-machine", "pc", "-drive", "if=none,id=d,driver=null-co", "-device", device)
    assert expected in said


@pytest.mark.parametrize("driver", ["virtio-blk-pci", "ide-hd"])
def test_devices_take_error_actions(driver):
    said = emu.monitor(["info qtree"], "-machine", "pc", "-drive", "if=none,id=d,driver=null-co", "-device",
                       f"{driver},drive=d,werror=stop,rerror=ignore")
    assert 'werror = "stop"' in said and 'rerror = "ignore"' in said


def test_a_drive_whose_name_cannot_be():
    said = emu.refused(*QUIET, "-drive", "if=none,id=a/b,driver=null-co")
    assert "Parameter 'id' expects an identifier, not 'a/b'" in said
