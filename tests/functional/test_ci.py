# SPDX-License-Identifier: Apache-2.0
"""What docs/user/ci.md says, line by line: how runs end that nobody watches, and what they run in."""
import ctypes
import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

import emu
from qmp import Machine

EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")
PANIC = ("-device", "pvpanic")
SPIN = bytes([0xeb, 0xfe])


def out(port, value):
    """mov dx, port; mov al, value; out dx, al"""
    return bytes([0xba, port & 0xff, port >> 8, 0xb0, value, 0xee])


def out_config(register, value):
    """Writes a register of the q35's LPC bridge, in 32-bit operands."""
    wide = b""
    for port, data in ((0xcf8, 0x8000f800 | register), (0xcfc, value)):
        wide += bytes([0xba, port & 0xff, port >> 8, 0x66, 0xb8]) + data.to_bytes(4, "little") + bytes([0x66, 0xef])
    return wide


# ACPI's registers to 0x600, and the sleep type of power-off with the enable bit into PM1_CNT.
POWER_OFF = out_config(0x40, 0x601) + out_config(0x44, 0x80) + bytes([0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]) + SPIN
Q35 = ("-machine", "q35")
PRINT = out(0xe9, ord("!")) + out(0xf4, 16)


@pytest.fixture(name="guest")
def make_guest(tmp_path):
    """Makes a line whose guest is that code, entered at the reset vector in real mode."""
    def make(code):
        image = bytearray(b"\xf4" * 0x10000)
        image[0xff00:0xff00 + len(code)] = code
        image[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0xff])
        (tmp_path / "bios").write_bytes(image)
        return ("-display", "none", "-bios", str(tmp_path / "bios"))
    return make


# How runs end

@pytest.mark.parametrize("action, status", [((), 3), (("-action", "panic=shutdown"), 3),
                                            (("-action", "panic=exit-failure"), 1)])
def test_a_panic_ends_the_run(guest, action, status):
    result = emu.run(*guest(out(0x505, 1) + SPIN), *PANIC, *action)
    assert result.returncode == status, result.stderr
    assert "the guest's kernel panicked" in result.stderr


def test_a_panic_may_pause_the_machine(guest):
    with Machine(*guest(out(0x505, 1) + SPIN), *PANIC, "-action", "panic=pause", "-S") as qmp:
        qmp.command("cont")
        assert qmp.wait_event("GUEST_PANICKED")["data"]["action"] == "pause"
        assert qmp.command("query-status")["status"] == "guest-panicked"


def test_a_panic_may_be_told_only(guest):
    assert emu.run(*guest(out(0x505, 1) + out(0xf4, 1)), *PANIC, *EXIT, "-action", "panic=none").returncode == 3
    with Machine(*guest(out(0x505, 1) + SPIN), *PANIC, "-action", "panic=none", "-S") as qmp:
        qmp.command("cont")
        qmp.wait_event("GUEST_PANICKED")
        assert qmp.command("query-status")["status"] == "running"


@pytest.mark.parametrize("option", [("-no-reboot",), ("-action", "reboot=shutdown")])
def test_a_reset_ends_the_run_if_asked(guest, option):
    assert emu.run(*guest(out(0x64, 0xfe) + SPIN), *option).returncode == 0


def test_a_triple_fault_ends_the_run_with_no_reboot(guest):
    code = bytes([0x2e, 0x0f, 0x01, 0x1e, 0x10, 0xff, 0xcc]).ljust(32, b"\0")  # lidt of nothing, int3
    result = emu.run(*guest(code), "-no-reboot")
    assert result.returncode == 0 and "CPU 0 stopped for good" in result.stderr


def test_a_reset_starts_the_guest_again_otherwise(guest):
    with Machine(*guest(out(0x64, 0xfe) + SPIN)) as qmp:
        for _ in range(3):
            assert qmp.wait_event("RESET")["data"] == {"guest": True, "reason": "guest-reset"}


def test_power_off_ends_the_run(guest):
    assert emu.run(*guest(POWER_OFF), *Q35).returncode == 0


@pytest.mark.parametrize("option", [("-no-shutdown",), ("-action", "shutdown=pause")])
def test_power_off_may_pause_the_machine(guest, option):
    with Machine(*guest(POWER_OFF), *Q35, *option, "-S") as qmp:
        qmp.command("cont")
        qmp.wait_event("STOP")
        assert qmp.command("query-status")["status"] == "shutdown"


def test_watchdog_actions_are_accepted_by_name():
    for action in ("reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"):
        assert emu.run("--dry-run", "-display", "none", "-action", f"watchdog={action}").returncode == 0
    assert "bark" in emu.refused("-display", "none", "-action", "watchdog=bark")


@pytest.mark.parametrize("value, status", [(0, 1), (1, 3), (16, 33), (127, 255)])
def test_the_guest_chooses_the_status(guest, value, status):
    assert emu.run(*guest(out(0xf4, value)), *EXIT).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_in_order(guest, number):
    machine = Machine(*guest(SPIN))
    with machine as qmp:
        machine.process.send_signal(number)
        assert qmp.wait_event("SHUTDOWN")["data"]["reason"] == "host-signal"
        assert machine.process.wait(30) == 0


def test_a_refused_line_ends_with_1_and_says_why():
    assert "/no/such/kernel" in emu.refused("-display", "none", "-kernel", "/no/such/kernel")


# Time

def test_timeout_ends_the_run_and_says_where_the_guest_stood(guest):
    begin = time.monotonic()
    result = emu.run(*guest(SPIN), "-smp", "2", "--timeout", "1")
    assert result.returncode == 124
    assert time.monotonic() - begin >= 1
    lines = result.stderr.splitlines()
    assert lines[0].endswith("the time of --timeout 1 is over, and the machine is running")
    assert re.search(r"CPU 0: pc 0x[0-9a-f]*ff00, running$", lines[1])
    assert re.search(r"CPU 1: pc 0x[0-9a-f]+, waiting to be started$", lines[2])


def test_timeout_names_symbols_and_halted_cpus(guest, tmp_path):
    (tmp_path / "System.map").write_text("00000000fffffe00 T far_away\n00000000ffffff00 T where_it_stands\n")
    result = emu.run(*guest(bytes([0xfa, 0xf4]) + SPIN), "-timeout", "1", "-symbols", str(tmp_path / "System.map"))
    assert result.returncode == 124
    assert re.search(r"CPU 0: pc 0xffffff02 \(where_it_stands\+0x2\), halted$", result.stderr, re.M)


def test_timeout_does_not_matter_to_those_who_are_faster(guest):
    assert emu.run(*guest(out(0xf4, 16)), *EXIT, "-timeout", "1000").returncode == 33
    assert "-timeout" in emu.refused("-display", "none", "-timeout", "0")
    assert "-timeout" in emu.refused("-display", "none", "-timeout", "soon")


def test_timeout_counts_while_the_machine_is_stopped():
    result = emu.run("-display", "none", "-S", "-timeout", "1")
    assert result.returncode == 124 and "prelaunch" in result.stderr


def test_timeout_ends_a_program_that_waits_for_somebody(tmp_path):
    result = emu.run("-display", "none", "-machine", "none", "-chardev", f"socket,id=c,path={tmp_path}/s,server=on",
                     "-timeout",
                     "1")
    assert result.returncode == 124
    assert "waits for something else" in result.stderr


def test_seed_makes_the_guests_random_numbers_the_same(guest):
    code = bytes([0xb9, 16, 0,              # mov cx, 16
                  0x0f, 0xc7, 0xf0,         # rdrand ax
                  0xba, 0xe9, 0, 0xee,      # out to the debug console
                  0xe2, 0xf7]) + out(0xf4, 16)
    line = (*guest(code), *EXIT, "-debugcon", "stdio", "-cpu", "max")

    def numbers(*options):
        result = subprocess.run([emu.BINARY, *line, *options], capture_output=True, stdin=subprocess.DEVNULL,
                                timeout=60)
        assert result.returncode == 33 and len(result.stdout) == 16, result
        return result.stdout

    assert numbers("-seed", "1") == numbers("-seed", "1") != numbers("-seed", "2")
    assert numbers() != numbers()


# Streams

def test_standard_input_at_its_end_ends_nothing(guest):
    line = guest(SPIN)
    process = subprocess.Popen([emu.BINARY, *line[2:], "-nographic"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 0


def test_closed_standard_streams_end_nothing(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio")
    assert subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", emu.BINARY, *line], timeout=60).returncode == 33


def test_output_that_nobody_reads_ends_nothing(guest):
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run([emu.BINARY, *guest(PRINT), *EXIT, "-debugcon", "stdio"], stdin=subprocess.DEVNULL,
                            stdout=write_end, timeout=60)
    os.close(write_end)
    assert result.returncode == 33


# Surroundings

def check(line, **options):
    """Runs outside of folders that only we may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        bios = os.path.join(folder, "bios")
        with open(line[3], "rb") as source, open(bios, "wb") as target:
            target.write(source.read())
        program = os.path.join(folder, "system-emu")
        subprocess.run(["cp", emu.BINARY, program], check=True)
        prefix = options.pop("prefix", [])
        result = subprocess.run([*prefix, program, *line[:3], bios, *line[4:]], capture_output=True, timeout=60,
                                **options)
    assert result.returncode == 33 and result.stdout == b"!", result


def test_root_is_not_needed(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio", "-m", "64")
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    check(line, **other)


def unshared(script):
    """In namespaces of its own; where we may not make them, we are in some already, which have to do."""
    prefix = ["unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--mount-proc"]
    if os.geteuid() != 0:
        prefix += ["--user", "--map-root-user"]
    if subprocess.run([*prefix, "sh", "-c", script + " true"], capture_output=True).returncode != 0:
        return []
    return [*prefix, "sh", "-c", script + ' "$@"', "sh"]


def test_a_container_suffices(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio", "-m", "64")
    check(line, prefix=unshared("mount -o remount,ro,bind /sys 2>/dev/null;"))


def test_a_tiny_dev_shm_suffices(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio", "-m", "256")
    check(line, prefix=unshared("mount -t tmpfs -o size=64k tmpfs /dev/shm &&"))
    machine = Machine("-m", "256", "-S")
    with machine:
        with open(f"/proc/{machine.process.pid}/maps") as maps:
            assert "/dev/shm" not in maps.read()


def refuse_calls(*calls):
    """For the child: these system calls fail with EPERM. (number, flag in the first or third argument, or None)"""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)

    class Compare(ctypes.Structure):
        _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]

    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                               ctypes.POINTER(Compare)]
    library.seccomp_load.argtypes = [ctypes.c_void_p]

    def load():
        context = library.seccomp_init(0x7fff0000)
        for number, compare in calls:
            array = (Compare * 1)(Compare(*compare)) if compare else None
            if library.seccomp_rule_add_array(context, 0x00050001, number, 1 if compare else 0, array) != 0:
                os._exit(97)
        if library.seccomp_load(context) != 0:
            os._exit(98)
    return load


EQUAL, MASKED = 4, 7


def test_io_uring_may_be_refused(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio", "-m", "64")
    check(line, preexec_fn=refuse_calls((425, None), (426, None), (427, None)))


def test_huge_pages_may_be_refused(guest):
    line = (*guest(PRINT), *EXIT, "-debugcon", "stdio", "-m", "64")
    advise, huge = 14, 0x40000
    check(line, preexec_fn=refuse_calls((28, (2, EQUAL, advise, 0)), (9, (3, MASKED, huge, huge))))


def test_the_page_names_tests_that_are_there():
    page = (emu.SOURCE / "docs/user/ci.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {name for name in globals() if name.startswith("test_")} - {"test_the_page_names_tests_that_are_there"}
    assert named == there
