# SPDX-License-Identifier: Apache-2.0
"""Many disks at once in a Debian guest, each with other options: what the guest wrote is what Debian's qemu-img reads
afterwards. Ctest label debian."""
import hashlib
import pathlib
import subprocess
import sys

import pytest

import emu
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MIB = 1 << 20
VIRTIO = "virtio-blk-pci,drive=NAME"
SCSI = "scsi-hd,drive=NAME,bus=s.0"
AHCI = "ide-hd,drive=NAME,bus=a.UNIT"
DISKS = [  # device, format, options of qemu-img create, options of -drive
    (VIRTIO, "raw", "", "cache=none"),
    (VIRTIO, "raw", "", "cache=directsync,aio=threads"),
    (VIRTIO + ",logical_block_size=4096,physical_block_size=4096", "raw", "", "cache=none,aio=native"),
    (VIRTIO, "qcow2", "", "cache=none"),
    (VIRTIO, "qcow2", "", "cache=none,aio=native"),
    (VIRTIO, "qcow2", "compat=0.10", "cache=writethrough"),
    (VIRTIO, "qcow2", "cluster_size=512", "cache=none,aio=threads"),
    (VIRTIO, "qcow2", "cluster_size=2M,lazy_refcounts=on", "cache=unsafe"),
    (VIRTIO, "qcow2", "extended_l2=on,cluster_size=128k", "cache=none,discard=unmap,detect-zeroes=unmap"),
    (VIRTIO + ",iothread=io0,num-queues=2", "qcow2", "", "cache=none"),
    (VIRTIO + ",iothread=io0,logical_block_size=4096,physical_block_size=4096", "qcow2", "", "cache=writeback"),
    (VIRTIO, "qcow2", "", "cache=none,throttling.iops-total=4000"),
    (SCSI, "qcow2", "", "cache=none"),
    (SCSI + ",logical_block_size=4096,physical_block_size=4096", "raw", "", "cache=none"),
    (AHCI, "qcow2", "", "cache=none"),
    (AHCI, "raw", "", "cache=none"),
]
FIO = ("fio --name=w --filename={device} --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bsrange={unit}-64k "
       "--bs_is_seq_rand=0 --blockalign={unit} --size=8m --io_size=6m --verify=crc32c --verify_fatal=1 --do_verify=1 "
       "--randseed={seed} --minimal")


def arguments(folder):
    lines = ["-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=s", "-device", "ich9-ahci,id=a"]
    unit = 0
    for number, (device, image_format, created, options) in enumerate(DISKS):
        path = folder / f"disk{number}"
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, *(["-o", created] if created else []),
                        str(path), str(size_of(number))], check=True, timeout=60)
        lines += ["-drive", f"if=none,id=d{number},file={path},format={image_format},{options}",
                  "-device", device.replace("NAME", f"d{number}").replace("UNIT", str(unit))]
        unit += device.startswith(AHCI[:6])
    return lines


def size_of(number):
    """Tells the disks apart."""
    return (16 + number) * MIB


def test_each_disk_holds_what_was_written(tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    absent = debian_guest.missing(emu.BINARY, ["virtio-scsi-pci", "ich9-ahci"])
    if absent:
        pytest.xfail(f"the program has no device {absent}")
    system = [*debian_guest.direct_kernel(), *debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk")]
    system[-1] += ",bootindex=0"
    inside = {}
    with debian_guest.Console(emu.BINARY, tmp_path, "-machine", "q35", "-cpu", "max", "-smp", "2", *system,
                              *arguments(tmp_path)) as guest:
        guest.login(600)
        names = guest.run("lsblk -b -d -n -o SIZE,NAME").split()
        devices = dict(zip(map(int, names[::2]), names[1::2]))
        for number, (device, *_) in enumerate(DISKS):
            name = "/dev/" + devices[size_of(number)]
            unit = 4096 if "4096" in device else 512
            guest.run(FIO.format(device=name, unit=unit, seed=number + 1), 300)
            # Over the last megabyte, up to the last sector; and a stretch of zeroes.
            guest.run(f"head -c {MIB} /dev/urandom >/tmp/tail && dd if=/tmp/tail of={name} bs=64k oflag=direct "
                      f"seek={size_of(number) // 65536 - 16} status=none && "
                      f"dd if=/dev/zero of={name} bs=64k count=16 seek=32 oflag=direct status=none && "
                      f"(blkdiscard -o {4 * MIB} -l {MIB} {name} || true)")
            inside[number] = guest.run(f"sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum <{name}").split()[0]
        assert guest.run("dmesg --level=err,crit,alert,emerg | grep -i -E 'I/O error|critical' || true") == ""
        guest.power_off()
    for number, (_, image_format, *_) in enumerate(DISKS):
        path = tmp_path / f"disk{number}"
        raw = path
        if image_format == "qcow2":
            subprocess.run(["qemu-img", "check", "-q", str(path)], check=True, timeout=120)
            raw = tmp_path / "raw"
            subprocess.run(["qemu-img", "convert", "-O", "raw", str(path), str(raw)], check=True, timeout=120)
        assert hashlib.sha256(raw.read_bytes()).hexdigest() == inside[number], DISKS[number]
