# SPDX-License-Identifier: Apache-2.0
"""Debian's gdb on Debian's kernel: one scripted session, here and under QEMU, must read the same."""
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

import emu
import kernel_symbols

KERNEL = emu.SOURCE / "build/guest/vmlinuz"
SESSION = pathlib.Path(__file__).with_name("linux_session.gdb")
MACHINE = ["-m", "256", "-smp", "2", "-cpu", "qemu64", "-kernel", str(KERNEL),
           "-append", "console=ttyS0 nokaslr panic=-1", "-no-reboot", "-display", "none", "-monitor", "none", "-S"]

# What stays different after `normal`, as (what QEMU's session has, what ours has, why).
DIFFERENCES = [
    (r"0x000000000000fff0 in \?\? \(\)", r"0x0000000000100000 in \?\? \(\)",
     "QEMU starts a kernel through its firmware, which is at the reset vector; here it is entered directly"),
    (r"(  2 Thread 1\.2 )\(CPU#1 \[halted \]\) 0x\w+ in \?\? \(\)",
     r"(  2 Thread 1\.2 )\(CPU#1 \[waits for startup\]\) 0x\w+ in \?\? \(\)",
     "the firmware has had the other CPU running and halted it; without firmware it still waits for its first start"),
]


@pytest.fixture(name="symbols", scope="module")
def make_symbols(tmp_path_factory):
    if not KERNEL.exists():
        pytest.skip("build/guest was not made")
    path = tmp_path_factory.mktemp("symbols") / "vmlinux"
    kernel_symbols.make(KERNEL, path)
    return path


def session(program, symbols, folder):
    """gdb's transcript and the kernel's console."""
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    folder.mkdir()
    socket, console, script = folder / "gdb", folder / "console", folder / "script"
    script.write_text("set confirm off\nset pagination off\nset width 0\nset height 0\n"
                      f"target remote {socket}\n" + SESSION.read_text())
    process = subprocess.Popen([*program, *MACHINE, "-gdb", f"unix:{socket},server=on,wait=off", "-serial",
                                f"file:{console}"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        done = subprocess.run([gdb, "-nx", "-batch", "-x", str(script), str(symbols)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        assert "Error in sourced command file" not in done.stdout, done.stdout
        process.wait(60)  # it panics for want of a root file system, long after the debugger has gone
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return done.stdout, console.read_text(errors="replace")


def normal(text):
    """Leaves out what no two runs have in common."""
    text = re.sub(r"^STEPS\n.*?^STEPPED\n", "", text, flags=re.M | re.S)
    text = text.replace(str(os.getpid()), "PID")
    text = re.sub(r"0xffff[89c]\w{11}\b", "<data>", text)  # stacks and what was allocated
    # While one CPU is stopped at a breakpoint the other is somewhere, unless it has not started yet.
    text = re.sub(r"^(  \d +Thread \S+ \(CPU#\d) \[[^]]*\]\) +0x\w+ in [^? ]\S* \(.*$", r"\1) elsewhere", text,
                  flags=re.M)
    text = re.sub(r"(?<=\[Switching to thread 1 \(Thread 1\.1\)\]\n)#0 .*", "#0 elsewhere", text)
    return [re.sub(r"(?<=\S)[ \t]+", " ", line) for line in text.splitlines()]


def explained(qemu, ours):
    return any(re.fullmatch(there, qemu) and re.fullmatch(here, ours) for there, here, _ in DIFFERENCES)


def unexplained(qemu, ours):
    if len(qemu) != len(ours):
        return ["the sessions differ in length"] + qemu + ["--- ours"] + ours
    return [f"QEMU: {q}\nours: {o}" for q, o in zip(qemu, ours) if q != o and not explained(q, o)]


def test_a_session_with_a_kernel_reads_as_in_qemu(symbols, tmp_path):
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("qemu-system-x86 is not installed")
    ours, our_console = session([emu.BINARY], symbols, tmp_path / "ours")
    theirs, their_console = session([qemu, "-accel", "tcg"], symbols, tmp_path / "qemu")
    if "EMU_KEEP" in os.environ:
        pathlib.Path(os.environ["EMU_KEEP"], "ours").write_text(ours)
        pathlib.Path(os.environ["EMU_KEEP"], "qemu").write_text(theirs)

    # It did what it says...
    assert re.search(r"hit Breakpoint 1, 0x\w+ in start_kernel \(\)\n"
                     r"#0 +0x\w+ in start_kernel \(\)\n#1 .* in secondary_startup_64",
                     ours), ours
    assert "Old value = 0\nNew value = 1\n" in ours, ours
    assert "visited: " in ours and "interrupt" not in ours.split("visited: ")[1].split("\n")[0], ours
    assert "a step entered the timer's interrupt: True" in ours, ours
    assert re.search(r"Thread 2 hit Breakpoint \d+, 0x\w+ in start_secondary \(\)", ours), ours
    assert "detached" in ours
    # ...the kernel saw what was written, and went on...
    for console in (our_console, their_console):
        assert "Pinux version 6." in console, console
        assert "Unable to mount root fs" in console, console[-2000:]
        assert "2 CPUs" in console, console
    # ...and QEMU's says the same.
    left = unexplained(normal(theirs), normal(ours))
    assert not left, "\n".join(left)


def test_names_are_found_in_a_compressed_kernel(symbols):
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("binutils are not installed")
    names = dict(reversed(line.split()[1:]) for line in subprocess.run(
        [nm, str(symbols)], capture_output=True, text=True, check=True).stdout.splitlines())
    assert names["start_kernel"] in "tT" and names["linux_banner"] in "bBdDrR"
    assert len(names) > 50000
