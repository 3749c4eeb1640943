# SPDX-License-Identifier: Apache-2.0
"""-sandbox filters the process that runs; which calls it refuses is in tests/unit/softmmu_top/sandbox_test.cpp."""
import os

import pytest

import emu
from qmp import Machine

ALL = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def filters(pid):
    """How many filters each thread has."""
    counts = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            counts += [int(line.split()[1]) for line in status if line.startswith("Seccomp_filters:")]
    return counts


INHERITED = filters("self")[0]  # a container may have some already


def test_off_means_no_filter():
    machine = Machine("-sandbox", "off")
    with machine as qmp:
        qmp.command("query-status")
        assert set(filters(machine.process.pid)) == {INHERITED}


@pytest.mark.parametrize("sandbox", ["on", "on,obsolete=allow", "on,elevateprivileges=children", ALL])
def test_a_machine_runs_inside_with_all_its_threads(sandbox):
    machine = Machine("-sandbox", sandbox, "-smp", "2")
    with machine as qmp:
        qmp.command("chardev-add", id="p", backend={"type": "pty", "data": {}})
        qmp.command("stop")
        counts = filters(machine.process.pid)
        assert len(counts) >= 3 and set(counts) == {INHERITED + 1}
        qmp.command("quit")
        assert machine.process.wait(30) == 0


def test_a_guest_program_runs_inside():
    guest = os.path.join(os.path.dirname(emu.BINARY), "tests/guests/baremetal/hello64.elf")
    result = emu.run("-display", "none", "-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                     "-kernel",
                     guest, "-sandbox", ALL)
    assert result.returncode == 67 and "PASS" in result.stdout


def test_wrong_values_are_refused():
    assert "on or off" in emu.refused("-sandbox", "spawn=deny", "-display", "none")
    assert "spawn" in emu.refused("-sandbox", "on,spawn=maybe", "-display", "none")
    assert "network" in emu.refused("-sandbox", "on,network=deny", "-display", "none")
