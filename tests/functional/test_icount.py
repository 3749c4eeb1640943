# SPDX-License-Identifier: Apache-2.0
"""-icount: the same input gives the same run."""
import re
import time

import pytest

import emu
from qmp import Machine
from test_ci import POWER_OFF, Q35

# Real mode, entered at the reset vector: the timer's interrupt at 1000 Hz through the 8259 (the local APIC, in its way
# without firmware, is switched off), each of which writes the time stamp and what the code that it interrupted has
# computed to port 0xe9; a hundred of them, then power-off. What is computed between depends on time stamps, and takes
# another branch with them; the second form sleeps instead.
SPINS = bytes.fromhex(
    "fa31c08ed88ed0bc0070e800005d89e8055800a32000b800f0a32200b011e620b008e621b004e621b001e621b0fee621b034e643b0a9e640"
    "b004e64066b91b0000000f3280e4f70f30b96400fb0f316601c6f7c60100740766c1c3036631f385c975eaeb210f316601c36689c788d8e6"
    "e96689f8e6e988e0e6e966c1e810e6e949b020e620cffa")
SLEEPS = bytes.fromhex(
    "fa31c08ed88ed0bc0070e800005d89e8054700a32000b800f0a32200b011e620b008e621b004e621b001e621b0fee621b034e643b0a9e640"
    "b004e64066b91b0000000f3280e4f70f30b96400fbf485c975fbeb210f316601c36689c788d8e6e96689f8e6e988e0e6e966c1e810e6e949"
    "b020e620cffa")
TICKS = 100


def counters(qmp):
    text = qmp.command("human-monitor-command", command_line="info jit")
    return {name: int(re.search(rf"^  {name} +(\d+)", text, re.MULTILINE).group(1))
            for name in ("instructions", "virtual time", "skipped while idle", "slept while idle")}


@pytest.fixture(name="run")
def make_run(tmp_path):
    """Runs a guest until it has powered off, and gives what it wrote and the counters."""
    def run(code, *options, stops=0):
        image = bytearray(b"\xf4" * 0x10000)
        image[0xe000:0xe000 + len(code) + len(POWER_OFF)] = code + POWER_OFF
        image[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0xe0])
        (tmp_path / "bios").write_bytes(image)
        written = tmp_path / "written"
        with Machine("-bios", str(tmp_path / "bios"), *Q35, "-m", "16", "-no-shutdown", "-S", "-debugcon",
                     f"file:{written}",
                     "-rtc", "base=2024-02-29T12:30:00,clock=vm", "-seed", "1", *options) as qmp:
            qmp.command("cont")
            for _ in range(stops):
                qmp.command("stop")
                before = counters(qmp)
                assert counters(qmp) == before
                if "error" in qmp.request("cont"):  # it has powered off
                    break
            while qmp.command("query-status")["status"] != "shutdown":
                time.sleep(0.02)
            return written.read_bytes(), counters(qmp)
    return run


@pytest.mark.parametrize("code", [SPINS, SLEEPS], ids=["spins", "sleeps"])
@pytest.mark.parametrize("shift", [0, 5, 10])
def test_two_runs_are_the_same(run, code, shift):
    first = run(code, "-icount", f"shift={shift},sleep=off")
    assert len(first[0]) == 4 * TICKS
    assert first[1]["virtual time"] >= TICKS * 999_000
    assert run(code, "-icount", f"shift={shift},sleep=off") == first
    assert run(code, "-icount", f"{shift},sleep=off,align=off", "-smp", "3", stops=3)[0] == first[0]


def test_engines_and_techniques_make_no_difference_to_who_spins(run):
    options = ("-icount", "shift=2,sleep=off")
    first = run(SPINS, *options)
    assert run(SPINS, *options, "-accel", "tcg,without=links:jump-cache:refill:direct-entry") == first
    assert run(SPINS, *options, stops=10) == first


def test_time_is_what_was_executed_and_skipped(run):
    _, spins = run(SPINS, "-icount", "shift=4,sleep=off")
    assert spins["virtual time"] == spins["instructions"] << 4
    assert spins["skipped while idle"] == 0
    _, sleeps = run(SLEEPS, "-icount", "shift=4,sleep=off")
    assert sleeps["virtual time"] == (sleeps["instructions"] << 4) + sleeps["skipped while idle"]
    assert sleeps["skipped while idle"] > 90_000_000


def test_sleep_on_waits_for_timers_in_the_hosts_time(run):
    begin = time.monotonic()
    written, sleeps = run(SLEEPS, "-icount", "shift=0")
    assert time.monotonic() - begin > 0.09
    assert len(written) == 4 * TICKS
    assert sleeps["slept while idle"] > 90_000_000


def test_auto_and_align_follow_the_hosts_time(run):
    for options in ("shift=auto", "auto", "shift=10,align=on"):
        begin = time.monotonic()
        written, spins = run(SPINS, "-icount", options)
        assert len(written) == 4 * TICKS
        if "align" in options:
            assert time.monotonic() - begin > 0.08
        assert spins["virtual time"] >= TICKS * 999_000


def test_what_excludes_each_other_is_refused():
    for options, says in (("rr=record,rrfile=x", "rr= is not supported"),
                          ("shift=7,rrfile=x", "rrfile= is not supported"),
                          ("shift=11", "at most 10"), ("sleep=off", "shift= is missing"), ("shift=fast", "shift"),
                          ("shift=auto,align=on", "exclude each other"), ("shift=auto,sleep=off", "exclude each other"),
                          ("shift=1,align=on,sleep=off", "exclude each other"), ("shift=1,pace=2", "pace")):
        assert says in emu.refused("-icount", options)
    assert "-accel tcg only" in emu.refused("-icount", "shift=1", "-accel", "qtest")
    assert "in turn" in emu.refused("-icount", "shift=1", "-accel", "tcg,thread=multi")
    assert "kvm is not supported" in emu.refused("-icount", "shift=1", "-accel", "kvm")


def test_cpus_in_turn_have_threads_and_answer(run):
    with Machine("-icount", "shift=3", "-smp", "3", "-m", "16") as qmp:
        threads = {cpu["thread-id"] for cpu in qmp.command("query-cpus-fast")}
        assert len(threads) == 3
    assert emu.run("-icount", "shift=3", "-smp", "2", "-accel", "tcg,thread=single", "-dry-run").returncode == 0
    explained = emu.run("-icount", "7,sleep=off", "-explain").stdout
    assert "-icount shift=7,align=off,sleep=off" in explained
