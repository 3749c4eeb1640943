# SPDX-License-Identifier: Apache-2.0
"""-accel kvm: the same guests, the same output as under translation, whoever has the interrupt chips."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

import emu
from gdb_remote import Remote
from qmp import Machine

GUESTS = pathlib.Path(emu.BINARY).parent / "tests/guests/baremetal"
CHIPS = ("off", "split", "on")
PASSED = 67  # of the bare-metal guests, as isa-debug-exit reports it
# Features that only some interrupt chips bring: without them the guests say the same everywhere.
CPU = "qemu64,-x2apic,-tsc-deadline,-sse3,-svm,check=off"


def why_not():
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no rights to use /dev/kvm"
    return None


needs_kvm = pytest.mark.skipif(why_not() is not None, reason=f"cannot run here: {why_not()}")


def boot(binary, guest, *arguments, cpu=CPU):
    """Runs a bare-metal guest to its end; gives the status and what it wrote to its console."""
    elf = GUESTS / f"{guest}.elf"
    if not elf.exists():
        pytest.skip(f"cannot run here: {elf.name} was not built")
    with tempfile.TemporaryDirectory() as folder:
        console = os.path.join(folder, "console")
        done = subprocess.run([binary, *arguments, "-cpu", cpu, "-kernel", elf, "-display", "none", "-no-reboot",
                               "-nic", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-debugcon",
                               f"file:{console}", "-serial", "none", "-monitor", "none"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        with open(console) as file:
            return done.returncode, file.read()


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
@pytest.mark.parametrize("guest, options",
                         [("hello32", ()), ("hello64", ()), ("lapic64", ()), ("pit64", ()), ("smc64", ()),
                                            ("smp64", ("-smp", "2"))])
def test_guests_say_what_they_say_under_translation(guest, options, chips):
    translated = boot(emu.BINARY, guest, "-accel", "tcg", *options)
    assert translated[0] == PASSED, translated
    assert boot(emu.BINARY, guest, "-accel", f"kvm,kernel-irqchip={chips}", *options) == translated


@needs_kvm
@pytest.mark.parametrize("guest", ["hello64", "lapic64", "pit64", "smc64"])
def test_guests_say_what_they_say_in_qemu(guest):
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("cannot run here: qemu-system-x86_64 is not installed")
    assert boot(emu.BINARY, guest, "-accel", "kvm") == boot(qemu, guest, "-accel", "kvm")


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
def test_firmware_comes_to_its_boot_menu(chips):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bios")
        process = subprocess.Popen([emu.BINARY, "-accel", f"kvm,kernel-irqchip={chips}", "-boot", "menu=on", "-display",
                                    "none", "-serial", "none", "-monitor", "none", "-chardev", f"file,id=d,path={path}",
                                    "-device", "isa-debugcon,iobase=0x402,chardev=d"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            emu_wait(lambda: os.path.exists(path) and "Press ESC for boot menu" in open(path, errors="replace").read(),
                     120)
        finally:
            process.kill()
            process.wait()


def emu_wait(condition, seconds):
    import time
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


@needs_kvm
def test_monitor_says_that_it_is_kvm():
    text = emu.monitor(["info kvm", "info jit", "info registers"], "-accel", "kvm")
    assert "kvm support: enabled" in text and "Accelerator kvm" in text and "memory slots" in text
    assert "CS =f000" in text


def test_it_is_listed_wherever_there_is_one():
    assert "kvm" in emu.run("-accel", "help").stdout.split()


def test_what_is_missing_is_passed_over_in_one_line():
    result = emu.run("-accel", "hvf", "-accel", "tcg", "-S", "-display", "none", "-monitor", "stdio",
                     stdin="info kvm\nquit\n")
    assert result.returncode == 0
    assert "-accel hvf: this program does not have it; using tcg" in result.stderr
    assert "kvm support: disabled" in result.stdout


@needs_kvm
def test_a_failure_shows_instruction_and_registers():
    """The guest of floating-point instructions, where KVM lacks some; elsewhere it passes."""
    elf = GUESTS / "floating64.elf"
    if not elf.exists():
        pytest.skip("cannot run here: floating64.elf was not built")
    with tempfile.TemporaryDirectory() as folder:
        qmp = os.path.join(folder, "log")
        with open(qmp, "w") as log:
            process = subprocess.Popen([emu.BINARY, "-accel", "kvm", "-kernel", elf, "-display", "none", "-no-reboot",
                                        "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-monitor", "none"],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                emu_wait(lambda: process.poll() is not None or "CR0=" in open(qmp).read(), 60)
            finally:
                process.kill()
                process.wait()
        text = open(qmp).read()
        if "cannot go on" not in text:
            pytest.skip("cannot run here: this host's KVM executes all of them")
        assert "KVM cannot emulate the instruction" in text and "pxor" in text and "RAX=" in text


class Debuggee:
    def __init__(self, chips):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "gdb")
        self.process = subprocess.Popen([emu.BINARY, "-accel", f"kvm,kernel-irqchip={chips}", "-kernel",
                                         GUESTS / "hello-pvh.elf", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                                         "-display", "none", "-no-reboot", "-monitor", "none", "-serial", "none",
                                         "-gdb", f"unix:{path}", "-S"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.remote = Remote(path)

    def __enter__(self):
        return self.remote

    def __exit__(self, *_):
        self.remote.close()
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def pc_of(remote):
    """RIP is the 17th register of the x86-64 description."""
    registers = bytes.fromhex(remote.ask("g"))
    return int.from_bytes(registers[16 * 8:17 * 8], "little")


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
def test_debugger_steps_and_breaks(chips):
    if not (GUESTS / "hello-pvh.elf").exists():
        pytest.skip("cannot run here: hello-pvh.elf was not built")
    with Debuggee(chips) as remote:
        remote.ask("?")
        start = pc_of(remote)
        places = [start]
        for _ in range(4):
            assert remote.ask("s").startswith("T05")
            places.append(pc_of(remote))
        assert len(set(places)) == 5, places
        code = remote.ask(f"m{places[-1]:x},8")
        assert remote.ask("s").startswith("T05")
        target = pc_of(remote)
    with Debuggee(chips) as remote:
        remote.ask("?")
        assert remote.ask(f"Z0,{target:x},1") == "OK"
        assert remote.ask("c").startswith("T05")
        assert pc_of(remote) == target
        assert remote.ask(f"m{places[4]:x},8") == code, "the breakpoint is not in the guest's memory"
        assert remote.ask("s").startswith("T05")
        assert pc_of(remote) != target
        assert remote.ask(f"z0,{target:x},1") == "OK"


@needs_kvm
def test_the_host_s_processor_is_a_model():
    status, text = boot(emu.BINARY, "hello64", "-accel", "kvm", cpu="host")
    assert status == PASSED and text == boot(emu.BINARY, "hello64", "-accel", "kvm")[1]
    with Machine("-accel", "kvm", "-cpu", "host") as client:
        assert "host" in [one["name"] for one in client.command("query-cpu-definitions")]
        assert client.command("qom-get", path="/machine/unattached/device[0]", property="type") == "host-x86_64-cpu"
        host = client.command("query-cpu-model-expansion", type="full", model={"name": "host"})["model"]["props"]
        assert host["lm"] is True
        # What the object says is what this processor has, not what is translated.
        for feature in ("lm", "avx2", "x2apic"):
            said = client.command("qom-get", path="/machine/unattached/device[0]", property=feature)
            assert said == host[feature], feature
        with open("/proc/cpuinfo", encoding="ascii") as file:
            vendor = next(line.split()[-1] for line in file if line.startswith("vendor_id"))
        assert host["vendor"] == vendor
