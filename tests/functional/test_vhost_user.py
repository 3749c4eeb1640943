# SPDX-License-Identifier: Apache-2.0
"""Devices that another process serves, under -accel kvm: the distribution's back ends, and what is said where that
cannot be."""
import contextlib
import pathlib
import shutil
import subprocess
import time

import pytest

import emu
from qmp import Machine
from test_kvm import CHIPS, PASSED, needs_kvm
from test_kvm_devices import DISK, boot, disk, guest

MEMORY = ["-m", "128", "-object", "memory-backend-memfd,id=mem,size=128M", "-machine", "pc,memory-backend=mem"]
FSD = next((path for path in ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd") if pathlib.Path(path).exists()),
           None)
needs_storage_daemon = pytest.mark.skipif(shutil.which("qemu-storage-daemon") is None,
                                          reason="cannot run here: qemu-storage-daemon is not installed")


@contextlib.contextmanager
def started(socket, *command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if socket.exists():
                break
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def storage_daemon(folder):
    image, socket = folder / "image", folder / "socket"
    image.write_bytes(bytes(DISK))
    return started(socket, "qemu-storage-daemon", "--blockdev", f"driver=file,filename={image},node-name=f", "--export",
                   f"vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path={socket},writable=on,num-queues=2")


def vhost_disk(folder, *properties):
    device = ",".join(["vhost-user-blk-pci,chardev=c,disable-legacy=on", *properties])
    return [*MEMORY, "-chardev", f"socket,id=c,path={folder / 'socket'}", "-device", device]


@needs_kvm
@needs_storage_daemon
@pytest.mark.parametrize("chips", CHIPS)
@pytest.mark.parametrize("doorbell", ["ioeventfd=on", "ioeventfd=off"])
def test_a_disk_of_another_process_is_as_ours(tmp_path, chips, doorbell):
    accel = ["-accel", f"kvm,kernel-irqchip={chips}"]
    expected = boot(tmp_path, "virtio_blk64", *accel, *disk(tmp_path, doorbell))
    assert expected == (PASSED, "polling\ninterrupts\nPASS\n")
    with storage_daemon(tmp_path):
        assert boot(tmp_path, "virtio_blk64", *accel, *vhost_disk(tmp_path, doorbell)) == expected
    assert (tmp_path / "image").read_bytes() == (tmp_path / "disk").read_bytes()


@needs_kvm
@needs_storage_daemon
def test_a_back_end_that_dies_leaves_the_machine_alive(tmp_path):
    with storage_daemon(tmp_path) as daemon:
        with Machine("-accel", "kvm", *guest("hello64"), "-S", *vhost_disk(tmp_path, "id=d")) as qmp:
            daemon.kill()
            daemon.wait()
            time.sleep(0.3)
            assert qmp.command("query-status")["status"] == "prelaunch"
            chardev = next(one for one in qmp.command("query-chardev") if one["label"] == "c")
            assert chardev["filename"].startswith("disconnected:")


@needs_kvm
@pytest.mark.skipif(FSD is None, reason="cannot run here: virtiofsd is not installed")
def test_a_file_system_of_another_process_is_taken(tmp_path):
    socket = tmp_path / "socket"
    shared = tmp_path / "shared"
    shared.mkdir()
    with started(socket, FSD, f"--socket-path={socket}", "-o", f"source={shared}", "-o", "sandbox=chroot"):
        with Machine("-accel", "kvm", "-S", *MEMORY, "-chardev", f"socket,id=c,path={socket}", "-device",
                     "vhost-user-fs-pci,chardev=c,tag=share,id=fs") as qmp:
            assert qmp.command("qom-get", path="/machine/peripheral/fs", property="tag") == "share"


@needs_kvm
@needs_storage_daemon
def test_memory_that_cannot_be_shared_names_the_fix(tmp_path):
    with storage_daemon(tmp_path):
        said = emu.refused("-accel", "kvm", "-display", "none", "-chardev", f"socket,id=c,path={tmp_path / 'socket'}",
                           "-device", "vhost-user-blk-pci,chardev=c")
    assert "the guest's memory is not shared" in said and "memory-backend-memfd" in said


@needs_kvm
def test_sockets_to_the_guest_need_the_kernels_module():
    if pathlib.Path("/dev/vhost-vsock").exists():
        pytest.skip("cannot run here: this host has /dev/vhost-vsock")
    said = emu.refused("-accel", "kvm", "-display", "none", "-device", "vhost-vsock-pci,guest-cid=3")
    assert "cannot open /dev/vhost-vsock" in said and "modprobe vhost_vsock" in said


@pytest.mark.parametrize("arguments", [
    ["-device", "vhost-user-blk-pci,chardev=c"],
    ["-device", "vhost-user-fs-pci,chardev=c,tag=t"],
    ["-netdev", "vhost-user,id=n,chardev=c", "-device", "virtio-net-pci,netdev=n"],
    ["-device", "vhost-vsock-pci,guest-cid=3"],
])
def test_translated_guests_are_refused_in_one_sentence(arguments):
    said = emu.refused("-accel", "tcg", "-display", "none", "-chardev", "null,id=c", *arguments)
    assert "those of translated guests must stay checked" in said and "use -accel kvm" in said


def test_a_card_that_no_back_end_can_serve_is_named():
    said = emu.refused("-display", "none", "-chardev", "null,id=c", "-netdev", "vhost-user,id=n,chardev=c", "-device",
                       "e1000,netdev=n")
    assert "vhost-user serves virtio-net cards only" in said
