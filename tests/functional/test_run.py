# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and looking at a machine whose guest does not matter."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from emu import BINARY, Terminal, monitor, run


def test_monitor_answers_on_every_machine():
    for machine in ("none", "pc"):
        out = monitor(["info status", "info mtree -f", "info qtree", "info chardev", "info jit", "info version"], "-M",
                      machine)
        assert "VM status: paused (prelaunch)" in out
        assert "type System" in out
        assert "compat_monitor0: filename=stdio" in out


def test_monitor_looks_into_a_pc():
    out = monitor(["info registers -a", "info pic", "info lapic", "info tlb", "info mem", "xp/1xw 0", "p $cs",
                   "x/1i $pc"],
                  "-smp", "2")
    assert "CPU#1" in out and "EAX=" in out
    assert "PG disabled" in out
    assert "0000000000000000: 0x" in out


def test_keys_of_the_shared_terminal():
    terminal = Terminal("-M", "none", "-nographic")
    terminal.wait_for("(qemu) ")
    terminal.wait_for("Ctrl-A h shows the keys")
    terminal.type("\x01h")
    terminal.wait_for("exit emulator")
    terminal.type("info status\r")
    terminal.wait_for("VM status: running")
    terminal.type("\x01x")
    assert terminal.end() == 0


def test_quit_and_signals_end_with_status_0():
    for way in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = subprocess.Popen([BINARY, "-M", "none", "-display", "none", "-monitor", "stdio"],
                                   stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.read(process.stdout.fileno(), 100)
        time.sleep(0.2)
        process.send_signal(way)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert b"terminating on signal" in err


def test_end_of_input_ends_nothing():
    process = subprocess.Popen([BINARY, "-M", "none", "-nographic"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_daemon_listens_before_its_parent_ends(tmp_path):
    pidfile, monitor_path = tmp_path / "pid", tmp_path / "monitor"
    result = run("-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg", "-monitor",
                 f"unix:{monitor_path},server=on,wait=off", "-pidfile", str(pidfile), "-daemonize")
    assert result.returncode == 0, result.stderr
    pid = int(pidfile.read_text())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor_path))
        text = b""
        while b"(qemu) " not in text:
            text += connection.recv(1000)
        connection.sendall(b"quit\n")
        while connection.recv(1000):
            pass
    end = time.monotonic() + 30
    while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not pidfile.exists()


def test_daemon_that_fails_says_so():
    result = run("-daemonize", "-M", "nothing")
    assert result.returncode == 1
    assert "nothing" in result.stderr


def test_pidfile_in_use_is_refused(tmp_path):
    pidfile = tmp_path / "pid"
    first = subprocess.Popen([BINARY, "-M", "none", "-display", "none", "-pidfile", str(pidfile)])
    end = time.monotonic() + 30
    while not (pidfile.exists() and pidfile.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    second = run("-M", "none", "-display", "none", "-pidfile", str(pidfile))
    assert second.returncode == 1 and f"process {first.pid}" in second.stderr
    first.terminate()
    assert first.wait(30) == 0
    assert not pidfile.exists()


def test_firmware_alone_is_explained():
    if not pathlib.Path("/usr/share/seabios/bios-256k.bin").exists():
        pytest.skip("seabios is not installed")
    result = run("-S", "-serial", "null", "-monitor", "stdio", stdin="quit\n")
    assert result.returncode == 0
    assert "-kernel FILE" in result.stderr


def test_machine_without_acpi_has_no_power_management():
    if not pathlib.Path("/usr/share/seabios/bios-256k.bin").exists():
        pytest.skip("seabios is not installed")
    assert "dev: PIIX4_PM" in monitor(["info qtree"])
    assert "dev: PIIX4_PM" not in monitor(["info qtree"], "-no-acpi")


def test_roms_are_listed():
    if not pathlib.Path("/usr/share/seabios/bios-256k.bin").exists():
        pytest.skip("seabios is not installed")
    assert 'addr=00000000fffc0000 size=0x040000 mem=rom name="bios-256k.bin"' in monitor(["info roms"])


@pytest.mark.parametrize("value, status", [(0, 1), (16, 33)])
def test_debug_exit_gives_the_status(tmp_path, value, status):
    # Firmware of ours: at the reset vector, out 0xf4 and halt.
    image = bytearray(b"\xf4" * 0x10000)
    image[0xfff0:0xfff6] = bytes([0xb0, value, 0xe6, 0xf4, 0xeb, 0xfe])
    bios = tmp_path / "bios"
    bios.write_bytes(image)
    result = run("-display", "none", "-bios", str(bios), "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    assert result.returncode == status, result.stderr


def test_triple_fault_ends_with_no_reboot_and_is_explained(tmp_path):
    # lidt of an empty table, then int3: nothing can be delivered.
    image = bytearray(b"\xf4" * 0x10000)
    image[0xff00:0xff07] = bytes([0x2e, 0x0f, 0x01, 0x1e, 0x10, 0xff, 0xcc])
    image[0xff10:0xff16] = bytes(6)
    image[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0xff])
    bios = tmp_path / "bios"
    bios.write_bytes(image)
    result = run("-display", "none", "-no-reboot", "-bios", str(bios))
    assert result.returncode == 0, result.stderr
    assert "CPU 0 stopped for good" in result.stderr


def test_debugcon_gets_the_guests_bytes(tmp_path):
    image = bytearray(b"\xf4" * 0x10000)
    image[0xfff0:0xfff8] = bytes([0xb0, ord("!"), 0xe6, 0xe9, 0xe6, 0xf4, 0xeb, 0xfe])
    bios, out = tmp_path / "bios", tmp_path / "out"
    bios.write_bytes(image)
    run("-display", "none", "-bios", str(bios), "-debugcon", f"file:{out}", "-device", "isa-debug-exit,iobase=0xf4")
    assert out.read_bytes() == b"!"
