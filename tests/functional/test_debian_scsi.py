# SPDX-License-Identifier: Apache-2.0
"""SCSI disks and CD-ROMs that come, go and change under a running Debian: ctest label debian."""
import pathlib
import sys

import pytest

import emu
from qmp import Client
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MIB = 1 << 20


def wait(guest, command, wanted, seconds=30):
    """Until the command prints this."""
    guest.run(f"for i in $(seq {5 * seconds}); do [ \"$({command})\" = '{wanted}' ] && break; sleep 0.2; done; "
              f"[ \"$({command})\" = '{wanted}' ]", timeout=20 * seconds)


def use_and_remove(guest, client, image, number):
    """One disk that comes, is used and goes."""
    client.command("device_add", driver="scsi-hd", id="hot", drive="data", bus="s.0",
                   exactly={"scsi-id": 5, "lun": number})
    disk = "$(ls /sys/bus/scsi/devices | sed -n 's/\\(.:0:5:.*\\)/\\1/p')"
    wait(guest, f"ls /sys/bus/scsi/devices/{disk}/block | wc -l", "1")
    name = guest.run(f"ls /sys/bus/scsi/devices/{disk}/block")
    assert int(guest.run(f"cat /sys/block/{name}/size")) == image.stat().st_size // 512
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null && "
              f"dd if=/tmp/data of=/dev/{name} oflag=direct bs=64k 2>/dev/null && "
              f"echo 3 >/proc/sys/vm/drop_caches && cmp -n {4 * MIB} /tmp/data /dev/{name}")
    if number == 0:
        guest.run(f"blkdiscard -z -o {MIB} -l {MIB} /dev/{name} && blkdiscard -o {2 * MIB} -l {MIB} /dev/{name}")
        rest = guest.run(f"dd if=/dev/{name} bs=1M skip=1 count=1 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c")
        assert rest == "0"
        client.command("block_resize", device="data", size=image.stat().st_size + MIB)
        guest.run(f"echo 1 >/sys/block/{name}/device/rescan")
        wait(guest, f"cat /sys/block/{name}/size", str(image.stat().st_size // 512))
    client.command("device_del", id="hot")
    assert client.wait_event("DEVICE_DELETED")["data"]["device"] == "hot"
    wait(guest, "ls /sys/bus/scsi/devices | grep -c ':0:5:'", "0")


def change_media(guest, client, second):
    """The guest opens the tray, once nobody locks it any more; a person changes what is in it."""
    assert guest.run("dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | tr -d 1 | wc -c") == "0"
    # CDROM_LOCKDOOR, then CDROMEJECT, which gives the status of the command: CHECK CONDITION while udev's lock
    # is there.
    call = ("perl -e 'use Fcntl; sysopen(F, \"/dev/sr0\", O_RDONLY | O_NONBLOCK) or die $!; "
            "ioctl(F, 0x5329, %d) or die $!; print 0 + ioctl(F, 0x5309, 0)'")
    assert guest.run(call % 1) == "2"
    assert guest.run(call % 0) == "0"
    event = client.wait_event("DEVICE_TRAY_MOVED")["data"]
    assert event["id"] == "drive" and event["tray-open"], event
    client.command("blockdev-change-medium", id="drive", filename=str(second), format="raw", force=True)
    wait(guest, "dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | tr -d 2 | wc -c", "0")
    assert guest.run("cat /sys/block/sr0/size") == "8"


@pytest.mark.parametrize("thread", [False, True])
def test_units_come_go_and_change(thread, tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    absent = debian_guest.missing(emu.BINARY, ["virtio-scsi-pci", "scsi-cd"])
    if absent:
        pytest.xfail(f"the program has no device {absent}")
    data, first, second = tmp_path / "data", tmp_path / "1.iso", tmp_path / "2.iso"
    data.write_bytes(bytes(16 * MIB))
    first.write_bytes(b"1" * 2048)
    second.write_bytes(b"2" * 4096)
    options = ["-object", "iothread,id=io0"] if thread else []
    options += ["-device", "virtio-scsi-pci,id=s,num_queues=2" + (",iothread=io0" if thread else ""),
                "-drive", f"if=none,id=data,file={data},format=raw,discard=unmap",
                "-drive", f"if=none,id=cd,media=cdrom,file={first},format=raw",
                "-device", "scsi-cd,drive=cd,id=drive,bus=s.0"]
    system = debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk")
    with debian_guest.Console(emu.BINARY, tmp_path, "-cpu", "max", "-smp", "2", *system, *options, qmp=True) as guest:
        guest.login(600)
        client = Client.connect(str(guest.qmp_path))
        for number in (0, 1, 300):
            use_and_remove(guest, client, data, number)
        change_media(guest, client, second)
        assert guest.run("dmesg --level=err,crit,alert,emerg | grep -i -E 'I/O error|scsi|sd[a-z]' || true") == ""
        guest.power_off()
