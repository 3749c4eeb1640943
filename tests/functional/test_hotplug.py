# SPDX-License-Identifier: Apache-2.0
"""device_add and device_del under a running Linux: it sees the device come, and lets it go."""
import pytest

import emu
import qmp

GUEST = emu.SOURCE / "build/guest"
PORTS = ["-device", "pcie-root-port,id=rp0,chassis=1,slot=1", "-device", "pcie-root-port,id=rp1,chassis=2,slot=2"]
# How the guest names the device; the bus number behind a port is the kernel's or the firmware's affair.
BY_KIND = "grep -l 0x11e8 /sys/bus/pci/devices/*/device | wc -l"


class Linux:
    """A booted guest whose shell answers on a socket."""

    def __init__(self, folder, machine, *arguments):
        self.console = folder / "console"
        self.machine = qmp.Machine("-M", machine, "-m", "256", "-kernel", GUEST / "vmlinuz", "-initrd",
                                   GUEST / "initrd.cpio", "-append", "console=ttyS0 quiet", "-no-reboot", "-serial",
                                   f"unix:{self.console},server=on,wait=off", *arguments)
        self.text = ""

    def __enter__(self):
        self.client = self.machine.__enter__()
        try:
            self.shell = emu.Connection(self.console)
            self.shell.wait_for("to leave.", 120)
            self.shell.wait_for("# ")
            self.run("PS1=; stty -echo")
        except BaseException:
            self.machine.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.shell.close()
        self.machine.__exit__()

    def run(self, line):
        """What a command prints."""
        self.shell.type(f"{line}; echo E''ND\n")
        return self.shell.wait_for("END").replace("\r", "").strip()

    def wait(self, line, wanted, seconds=20):
        for _ in range(seconds * 5):
            if (got := self.run(line)) == wanted:
                return
            self.run("sleep 0.2")
        assert got == wanted, self.run("dmesg | tail -n 30; lspci -n; cat /proc/ioports | tail -n 30")


@pytest.fixture(autouse=True)
def need_guest():
    if not (GUEST / "vmlinuz").exists():
        pytest.skip("build/guest was not made")


def cycle(linux, count, **where):
    for number in range(count):
        name = f"edu{number}"
        linux.client.command("device_add", driver="edu", id=name, **where)
        linux.wait(BY_KIND, "1")
        assert linux.run("lspci -n -d 1234:11e8 | wc -l") == "1"
        linux.client.command("device_del", id=name)
        gone = linux.client.wait_event("DEVICE_DELETED")["data"]
        assert gone == {"device": name, "path": f"/machine/peripheral/{name}"}
        linux.wait(BY_KIND, "0")
        assert linux.client.refused("device_del", id=name)["class"] == "DeviceNotFound"


def test_pc_slot(tmp_path):
    """ACPI; the guest gives the device an address too."""
    with Linux(tmp_path, "pc") as linux:
        linux.client.command("device_add", driver="edu", id="kept", addr="1d.0")
        linux.wait(BY_KIND, "1")
        first = linux.run("head -n 1 /sys/bus/pci/devices/0000:00:1d.0/resource").split()
        assert int(first[1], 16) - int(first[0], 16) == 0xFFFFF and int(first[0], 16) != 0, first
        linux.client.command("device_del", id="kept")
        linux.client.wait_event("DEVICE_DELETED")
        linux.wait(BY_KIND, "0")
        cycle(linux, 3)


def test_q35_root_port(tmp_path):
    """Native: presence detect, attention button, power controller. Linux waits five seconds after the button."""
    with Linux(tmp_path, "q35", *PORTS, "-device", "edu,id=cold,bus=rp1") as linux:
        assert linux.run(BY_KIND) == "1"  # the one that was there from the start
        linux.client.command("device_del", id="cold")
        linux.client.wait_event("DEVICE_DELETED")
        linux.wait(BY_KIND, "0")
        cycle(linux, 1, bus="rp0")
        error = linux.client.refused("device_add", driver="edu", id="x", bus="pcie.0")
        assert error["desc"] == "Bus 'pcie.0' does not support hotplugging"


@pytest.mark.parametrize("machine, ports", [("pc", []), ("q35", PORTS)])
def test_reset_lets_go(machine, ports):
    """A device that was asked to leave is gone after a reset."""
    where = {"bus": "rp0"} if ports else {}
    with qmp.Machine("-M", machine, "-S", *ports) as client:
        client.command("device_add", driver="edu", id="e", **where)
        client.command("device_del", id="e")
        client.command("system_reset")
        assert client.wait_event("DEVICE_DELETED")["data"]["device"] == "e"
