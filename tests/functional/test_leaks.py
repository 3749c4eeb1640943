# SPDX-License-Identifier: Apache-2.0
"""What comes and goes while a guest runs leaves nothing behind: descriptors and memory stay where they were."""
import os
import socket

import pytest

import emu
from qmp import Machine

ROUNDS = int(os.environ.get("EMU_LEAK_ROUNDS", 2000))
WARM_UP = 200  # until the allocator has what it keeps
MOST_GROWTH_KIB = 4096  # of all rounds together: two kilobytes a round would be a leak


class Rig:
    """A machine's QMP connection, and the process behind it."""

    def __init__(self, machine, client):
        self.command, self.refused = client.command, client.refused
        self.process, self.folder = machine.process, machine.folder.name


def descriptors(machine):
    return sorted(os.readlink(f"/proc/{machine.process.pid}/fd/{fd}").split(":")[0]
                  for fd in os.listdir(f"/proc/{machine.process.pid}/fd"))


def threads(machine):
    return len(os.listdir(f"/proc/{machine.process.pid}/task"))


def memory_kib(machine):
    with open(f"/proc/{machine.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def objects(machine, number):
    machine.command("object-add", qom_type="secret", id="s", data="x" * 1000)
    machine.command("object-add", qom_type="throttle-group", id="t")
    if number % 10 == 0:
        machine.command("object-add", qom_type="iothread", id="i")
        machine.command("object-del", id="i")
    machine.refused("object-add", qom_type="secret", id="s", data="y")
    machine.command("object-del", id="t")
    machine.command("object-del", id="s")


def chardevs(machine, number):
    path = os.path.join(machine.folder, "socket")
    address = {"type": "unix", "data": {"path": path}}
    machine.command("chardev-add", id="n", backend={"type": "null", "data": {}})
    machine.command("chardev-add", id="s", backend={"type": "socket", "data": {"addr": address}})
    machine.command("chardev-add", id="r", backend={"type": "ringbuf", "data": {"size": 65536}})
    machine.command("chardev-change", id="n", backend={"type": "pty", "data": {}})
    # The same address again: the old one's end must not take the new one's socket away.
    machine.command("chardev-change", id="s", backend={"type": "socket", "data": {"addr": address}})
    assert os.path.exists(path)
    for name in "nsr":
        machine.command("chardev-remove", id=name)
    assert not os.path.exists(path)


def passed_descriptors(machine, number):
    """A descriptor whose stream is refused is closed, too."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = {"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "f"}}, "server": False}}
        machine.command("getfd", fds=[theirs.fileno()], fdname="f")
        listening = {"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "f"}}, "server": True}}
        assert "listening" in machine.refused("chardev-add", id="c", backend=listening)["desc"]
        machine.command("getfd", fds=[theirs.fileno()], fdname="f")
        machine.command("chardev-add", id="c", backend=fd)
        machine.command("chardev-remove", id="c")


def networks(machine, number):
    machine.command("netdev_add", type="hubport", id="h", hubid=7)
    machine.command("netdev_add", type="user", id="u", hostname="guest")
    machine.refused("netdev_add", type="user", id="u")
    machine.command("netdev_del", id="u")
    machine.command("netdev_del", id="h")


def disks(machine, number):
    path = os.path.join(machine.folder, "disk")
    if number == 0:
        with open(path, "wb") as file:
            file.truncate(1 << 20)
    machine.command("blockdev-add", driver="file", filename=path, node_name="f")
    machine.command("blockdev-add", driver="raw", file="f", node_name="r")
    machine.command("blockdev-add", driver="null-co", node_name="n")
    machine.refused("blockdev-add", driver="qcow2", file="f", node_name="q")
    for name in "rfn":
        machine.command("blockdev-del", node_name=name)


@pytest.mark.parametrize("work, share",
                         [(objects, 1), (chardevs, 1), (passed_descriptors, 4), (networks, 1), (disks, 1)])
def test_rounds_leave_nothing_behind(work, share):
    machine = Machine("-machine", "pc", "-S", "-m", "16")
    with machine as client:
        machine = Rig(machine, client)
        for number in range(WARM_UP):
            work(machine, number)
        files, tasks, kib = descriptors(machine), threads(machine), memory_kib(machine)
        for number in range(WARM_UP, WARM_UP + ROUNDS // share):
            work(machine, number)
        machine.command("query-status")
        assert descriptors(machine) == files
        assert threads(machine) <= tasks
        assert memory_kib(machine) <= kib + MOST_GROWTH_KIB


def test_a_number_typed_later_is_no_descriptor_of_the_users():
    said = emu.monitor(["chardev-add socket,id=x,fd=0,server=on,wait=off"], "-machine", "none")
    assert "'fd=' is not taken here" in said
