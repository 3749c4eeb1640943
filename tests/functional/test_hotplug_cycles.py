# SPDX-License-Identifier: Apache-2.0
"""Devices that come and go a thousand times leave nothing behind. The test plays the guest's driver through qtest."""
import os
import pathlib
import time

import pytest

from test_qtest import Qtest

ROUNDS = int(os.environ.get("EMU_HOTPLUG_ROUNDS", "1000"))
SETTLED = 100  # rounds after which everything that grows once has grown
MOST_KIB = 4096  # of growth after that
UP, DOWN, EJECT = 0xAE00, 0xAE04, 0xAE08

BACK_ENDS = ["-blockdev", "driver=null-co,node-name=disk,size=1M", "-netdev", "hubport,id=net,hubid=0"]
DEVICES = [{"driver": "edu"}, {"driver": "virtio-rng-pci"}, {"driver": "virtio-blk-pci", "drive": "disk"},
           {"driver": "virtio-net-pci", "netdev": "net"},
           {"driver": "virtio-9p-pci", "fsdev": "share", "mount_tag": "x"},
           {"driver": "e1000", "netdev": "net"}, {"driver": "virtio-serial-pci"}, {"driver": "virtio-balloon-pci"}]


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def threads(process):
    return len(os.listdir(f"/proc/{process.pid}/task"))


def memory_kib(process):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))


def count(process):
    return descriptors(process), threads(process)


def calm(process, wanted=None, seconds=60):
    """What is in use once other threads have put away what devices left to them: as much as wanted,
    or a steady number."""
    end = time.monotonic() + seconds
    before = None
    while time.monotonic() < end:
        now = count(process)
        if now == (before if wanted is None else wanted):
            return now
        before = now
        time.sleep(1 if wanted is None else 0.1)
    return count(process)


class AcpiDriver:
    """Slot 29 of pci.0; what the tables' methods do."""
    arguments = ["-M", "pc"]
    where = {"addr": "1d.0"}

    def __init__(self, qtest):
        self.qtest = qtest

    def register(self, port):
        return int(self.qtest.ok(f"inl {port:#x}"), 0)

    def came(self):
        assert self.register(UP) == 1 << 29
        assert self.config(0) not in (0xFFFFFFFF, 0)

    def let_go(self):
        assert self.register(DOWN) == 1 << 29
        self.qtest.ok(f"outl {EJECT:#x} {1 << 29:#x}")

    def config(self, offset):
        self.qtest.ok(f"outl 0xcf8 {0x80000000 | 29 << 11 | offset:#x}")
        return int(self.qtest.ok("inl 0xcfc"), 0)


class PortDriver:
    """A root port at 04.0; presence, attention button, power controller."""
    arguments = ["-M", "q35", "-device", "pcie-root-port,id=rp0,addr=04.0,chassis=1,slot=1"]
    where = {"bus": "rp0"}

    def __init__(self, qtest):
        self.qtest = qtest
        self.write(0x18, 0x00010100)  # bus numbers
        at = self.read(0x34) & 0xFC
        while self.read(at) & 0xFF != 0x10:
            at = self.read(at) >> 8 & 0xFC
        self.control = at + 0x18

    def select(self, offset, bus=0, devfn=4 << 3):
        self.qtest.ok(f"outl 0xcf8 {0x80000000 | bus << 16 | devfn << 8 | offset:#x}")

    def read(self, offset, **where):
        self.select(offset, **where)
        return int(self.qtest.ok("inl 0xcfc"), 0)

    def write(self, offset, value):
        self.select(offset)
        self.qtest.ok(f"outl 0xcfc {value:#x}")

    def power(self, on):
        self.write(self.control, (0x01 if on else 0x0500) | 0xFFFF0000)  # and acknowledges all events

    def came(self):
        assert self.read(self.control) >> 16 & 1 << 6, "nothing is present"
        self.power(True)
        assert self.read(0, bus=1, devfn=0) not in (0xFFFFFFFF, 0)

    def let_go(self):
        assert self.read(self.control) >> 16 & 1, "the button was not pressed"
        self.power(False)


@pytest.mark.parametrize("driver", [AcpiDriver, PortDriver])
def test_cycles_leave_nothing(driver, tmp_path):
    with Qtest(*driver.arguments, "-nodefaults", *BACK_ENDS, "-fsdev",
               f"local,id=share,path={tmp_path},security_model=none") as qtest:
        guest = driver(qtest)
        first = None
        for number in range(ROUNDS):
            name = f"d{number}"
            device = DEVICES[number % len(DEVICES)]
            qtest.qmp.command("device_add", id=name, exactly={**device, **driver.where})
            guest.came()
            qtest.qmp.command("device_del", id=name)
            guest.let_go()
            assert qtest.qmp.wait_event("DEVICE_DELETED")["data"]["device"] == name
            qtest.qmp.events.clear()
            if number == SETTLED:
                first, first_kib = calm(qtest.process), memory_kib(qtest.process)
        assert calm(qtest.process, first) == first
        assert memory_kib(qtest.process) - first_kib < MOST_KIB
