# SPDX-License-Identifier: Apache-2.0
"""The qtest protocol and -accel qtest, on the real program: as libqtest starts it, and with lines
nobody should send."""
import base64
import os
import random
import socket
import subprocess
import tempfile
import time

import pytest

import emu
from qmp import Client


class Qtest:
    """The program as libqtest starts it: it connects to both of our sockets."""

    def __init__(self, *arguments, accel="qtest"):
        self.folder = tempfile.TemporaryDirectory()
        self.log = os.path.join(self.folder.name, "log")
        listeners = []
        for name in ("test", "qmp"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(os.path.join(self.folder.name, name))
            listener.listen()
            listener.settimeout(30)
            listeners.append(listener)
        self.process = subprocess.Popen(
            [emu.BINARY, "-qtest", f"unix:{self.folder.name}/test", "-qtest-log", self.log, "-chardev",
             f"socket,path={self.folder.name}/qmp,id=char0", "-mon", "chardev=char0,mode=control", "-display", "none",
             "-audio", "none", "-accel", accel, *arguments], stderr=subprocess.PIPE, text=True)
        self.socket = listeners[0].accept()[0]
        self.socket.settimeout(30)
        self.qmp = Client(listeners[1].accept()[0])
        self.buffer = b""
        self.wires = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def line(self):
        while b"\n" not in self.buffer:
            data = self.socket.recv(1 << 20)
            assert data, "the connection ended"
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode(errors="replace")

    def answer(self):
        while True:
            line = self.line()
            if not line.startswith("IRQ "):
                return line
            self.wires.append(line[4:])

    def ask(self, command):
        self.socket.sendall(command.encode() + b"\n")
        return self.answer()

    def ok(self, command):
        answer = self.ask(command)
        assert answer.split(" ")[0] == "OK", (command, answer)
        return answer[3:]

    def fails(self, command):
        answer = self.ask(command)
        assert answer.startswith("FAIL "), (command, answer)
        return answer


@pytest.fixture(name="test", scope="module")
def start():
    with Qtest("-machine", "pc", "-m", "64") as test:
        yield test


def test_greets_and_quits():
    with Qtest("-machine", "none") as test:
        assert test.ok("endianness") == "little"
        assert test.qmp.command("query-status")["running"] is True
        test.qmp.command("quit")
        assert test.process.wait(30) == 0
        log = open(test.log).read().splitlines()
        assert log[0].startswith("[I +0.0") and log[0].endswith("] OPENED")
        assert log[1].startswith("[R +") and log[1].endswith("] endianness")
        assert log[2].endswith("] OK little")


def test_memory_in_every_width(test):
    test.ok("writeq 0x1000 0x1122334455667788")
    assert test.ok("readb 0x1001") == "0x0000000000000077"
    assert test.ok("readw 0x1000") == "0x0000000000007788"
    assert test.ok("readl 0x1004") == "0x0000000011223344"
    assert test.ok("readq 4096") == "0x1122334455667788"
    test.ok("writel 0x1000 -1")
    assert test.ok("readq 0x1000") == "0x11223344ffffffff"


def test_blocks_as_hexadecimal_and_base64(test):
    test.ok("write 0x2000 4 0x01020304")
    assert test.ok("read 0x2000 4") == "0x01020304"
    test.ok("write 0x2000 4 0xAA")  # the rest becomes zero
    assert test.ok("b64read 0x2000 4") == base64.b64encode(b"\xaa\0\0\0").decode()
    for size in (1, 2, 3, 300, 70000):
        data = random.Random(size).randbytes(size)
        test.ok(f"b64write 0x100000 {size} {base64.b64encode(data).decode()}")
        assert test.ok(f"read 0x100000 {size}") == "0x" + data.hex()
    test.ok("memset 0x100000 16 0x5a")
    assert test.ok("read 0x100000 17").startswith("0x" + "5a" * 16)


def test_ports_reach_devices(test):
    test.ok("outb 0x70 0x0f")
    test.ok("outb 0x71 0x42")
    assert test.ok("inb 0x71") == "0x0042"
    test.ok("outl 0xcf8 0x80000000")
    assert test.ok("inl 0xcfc") == "0x12378086"  # the host bridge's ids


def test_clock_moves_only_when_told(test):
    now = int(test.ok("clock_step 1"))
    assert int(test.ok("clock_step 1000")) == now + 1000
    assert int(test.ok(f"clock_set {now + 5000}")) == now + 5000
    assert int(test.ok("clock_set 0")) == now + 5000  # never back


def test_timers_fire_while_the_clock_is_moved():
    with Qtest("-machine", "pc") as test:
        test.ok("irq_intercept_in ioapic")
        test.ok("outb 0x43 0x34")  # 8254: channel 0, rate generator, 1193 counts: one millisecond
        test.ok("outb 0x40 0xa9")
        test.ok("outb 0x40 0x04")
        test.wires.clear()
        test.ok("clock_step 500000")
        before = len(test.wires)
        test.ok("clock_step 3000000")
        assert len(test.wires) > before, test.wires
        assert {wire.split()[1] for wire in test.wires} <= {"0", "2"}


def test_next_timer_is_stepped_to():
    with Qtest("-machine", "pc") as test:
        start = int(test.ok("clock_step 0"))
        test.ok("outb 0x43 0x34")
        test.ok("outb 0x40 0xa9")
        test.ok("outb 0x40 0x04")
        assert start < int(test.ok("clock_step")) <= start + 2_000_000


def test_inputs_can_be_set_and_heard():
    with Qtest("-machine", "pc") as test:
        test.ok("irq_intercept_in ioapic")
        test.ok("set_irq_in ioapic unnamed-gpio-in 5 1")
        test.ok("set_irq_in ioapic unnamed-gpio-in 5 1")
        test.ok("set_irq_in ioapic irq 5 0")
        assert test.wires[-2:] == ["raise 5", "lower 5"]
        assert test.fails("irq_intercept_in mc146818rtc").startswith("FAIL")
        test.ok("irq_intercept_in ioapic")  # the same again is no mistake


def test_outputs_can_be_heard():
    with Qtest("-machine", "pc") as test:
        test.ok("irq_intercept_out isa-serial")
        test.ok("outb 0x3f9 0x02")  # interrupt when the transmitter is empty, which it is
        test.ok("outb 0x3fc 0x08")
        assert test.wires == ["raise 0"]
        assert int(test.ok("inb 0x3fa"), 16) & 0xf == 2  # acknowledged by looking
        assert test.wires == ["raise 0", "lower 0"]


BAD = [
    "", "   ", "nonsense", "inb", "inb 1 2", "inb x", "inb 0x", "inb 0x10000", "inb -1", "outb 1", "outb 1 2 3",
    "outb 1 z",
    "readb", "readb 0x1g", "readb 18446744073709551616", "readx 0", "read", "writeq 1", "writeq 1 2 3",
    "read 0", "read 0 0", "read 0 0x7fffffffffffffff", "read 0xffffffffffffffff 16", "read 0 16777217",
    "write 0 4", "write 0 4 0x1", "write 0 4 0xzz", "write 0 0 0x00", "b64write 0 4 !!!!", "b64write 0 4 AAAA",
    "b64write 0 3 AA", "b64write 0 3 A===", "b64read 0 0", "memset 0 4", "memset 0 0xffffffffffff 1", "clock_step x",
    "clock_step 1 2", "clock_step 18446744073709551615", "clock_set", "clock_set -1", "irq_intercept_in",
    "irq_intercept_in nobody", "irq_intercept_out /machine", "irq_intercept_in a b", "set_irq_in ioapic irq 5",
    "set_irq_in ioapic irq 24 1", "set_irq_in ioapic nothing 0 1", "set_irq_in nobody irq 0 1", "rtas x 1 2 3 4",
    "module_load a b", "endianness x", "INB 1", "inb\t1", "\x01\x02\x7f",
]


@pytest.mark.parametrize("line", BAD)
def test_bad_lines_are_refused_and_nothing_else(test, line):
    test.fails(line)
    assert test.ok("endianness") == "little"


def test_random_bytes_end_nothing(test):
    source = random.Random(5)
    for _ in range(200):
        test.socket.sendall(bytes(byte for byte in source.randbytes(source.randrange(1, 80)) if byte != 10) + b"\n")
        test.answer()
    assert test.ok("endianness") == "little"


def test_beside_a_running_guest_the_clock_is_the_machines():
    with Qtest("-machine", "pc", "-S", accel="tcg") as test:
        test.ok("writel 0x1000 7")
        assert test.ok("readl 0x1000") == "0x0000000000000007"
        test.fails("clock_step")
        test.fails("clock_set 5")


def test_no_instruction_is_executed():
    with Qtest("-machine", "pc") as test:
        before = test.qmp.command("human-monitor-command", command_line="info registers")
        test.ok("clock_step 1000000000")
        assert test.qmp.command("human-monitor-command", command_line="info registers") == before
        assert "no instructions" in test.qmp.command("human-monitor-command", command_line="info jit")


def test_a_restarted_peer_is_served_again():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        process = subprocess.Popen([emu.BINARY, "-display", "none", "-machine", "none", "-accel", "qtest", "-qtest",
                                    f"unix:{path},server=on,wait=off", "-qtest-log", "none"])
        for _ in range(2):
            end = 1500
            while True:
                peer = socket.socket(socket.AF_UNIX)
                try:
                    peer.connect(path)
                    break
                except OSError:
                    end -= 1
                    assert end
                    time.sleep(0.02)
            peer.settimeout(30)
            peer.sendall(b"half a li")
            peer.close()
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(30)
        while True:
            try:
                peer.connect(path)
                break
            except OSError:
                time.sleep(0.02)
        peer.sendall(b"endianness\n")
        assert peer.recv(100) == b"OK little\n"
        process.terminate()
        assert process.wait(30) == 0


def test_refused_lines_name_the_option():
    assert "-qtest" in emu.refused("-qtest", "chardev:nobody", "-display", "none")
    assert "-qtest-log" in emu.refused("-qtest", "null", "-qtest-log", "/no/such/folder/log", "-display", "none")
