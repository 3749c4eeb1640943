# SPDX-License-Identifier: Apache-2.0
"""Devices come and go under a Debian that uses them, EMU_HOTPLUG_DEBIAN_ROUNDS times: ctest label debian."""
import os
import pathlib
import sys

import pytest

import emu
from qmp import Client
from test_hotplug_cycles import MOST_KIB, calm, memory_kib
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

ROUNDS = int(os.environ.get("EMU_HOTPLUG_DEBIAN_ROUNDS", "40"))
SETTLED = 10
MOST_GUEST_KIB = 16 << 10
USES = {  # device, and a command that is true once the guest uses it
    "virtio-rng-pci": "grep -q virtio_rng /sys/class/misc/hw_random/rng_available",
    "virtio-blk-pci,drive=data": "test -b /dev/vdb && "
                                 "dd if=/dev/vdb of=/tmp/d bs=64k count=16 iflag=direct 2>/dev/null",
}


def properties(text):
    driver, *rest = text.split(",")
    return {"driver": driver, **dict(one.split("=", 1) for one in rest)}


def test_rounds(tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    # The guest's memory is there from the start, and translations of what each round runs once soon fill a small cache:
    # what grows is the program's own.
    arguments = ["-accel", "tcg,tb-size=32", "-cpu", "max", "-smp", "2",
                 "-object", "memory-backend-ram,id=ram,size=1G,prealloc=on",
                 "-machine", "memory-backend=ram", *debian_guest.direct_kernel(),
                 *debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk"),
                 "-blockdev", "driver=null-co,node-name=data,size=16M,read-zeroes=on"]
    with debian_guest.Console(emu.BINARY, tmp_path, *arguments, qmp=True) as guest:
        guest.login(600)
        guest.run("modprobe virtio_rng; systemctl is-system-running --wait || true")
        client = Client.connect(str(guest.qmp_path))
        seen = {}
        for number in range(ROUNDS):
            device = list(USES)[number % len(USES)]
            client.command("device_add", exactly={"id": f"d{number}", "addr": "1d.0", **properties(device)})
            guest.run(f"for i in $(seq 100); do {USES[device]} && break; sleep 0.1; done; {USES[device]}")
            client.command("device_del", id=f"d{number}")
            assert client.wait_event("DEVICE_DELETED")["data"]["device"] == f"d{number}"
            client.events.clear()
            guest.run("for i in $(seq 100); do test -e /sys/bus/pci/devices/0000:00:1d.0 || break; sleep 0.1; done; "
                      "! test -e /sys/bus/pci/devices/0000:00:1d.0")
            seen[number] = memory_kib(guest.process)
            if number == SETTLED:
                first = calm(guest.process)
        assert calm(guest.process, first) == first
        assert "Call Trace" not in guest.run("dmesg")
        guest.power_off()
    assert seen[ROUNDS - 1] - seen[SETTLED] < MOST_GUEST_KIB, seen
