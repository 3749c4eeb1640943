# SPDX-License-Identifier: Apache-2.0
"""Names of guest addresses in the monitor; and what a person finds on a terminal: completion, history, help."""
import os
import re

import pytest

import emu
from emu import Terminal

MAP = "00000000fffffff0 T reset_vector\n00000000fffffff8 t later\nffffffff81000000 T _text\n"


@pytest.fixture(name="machine")
def make_machine(tmp_path):
    (tmp_path / "System.map").write_text(MAP)
    (tmp_path / "bios").write_bytes(bytes([0x90]) * 0x10000)
    return ("-bios", str(tmp_path / "bios"), "-symbols", str(tmp_path / "System.map"))


def test_addresses_have_names(machine):
    text = emu.monitor(["info cpus", "info registers", "x/9i 0xfffffff0", "info symbol 0xfffffff3",
                        "info symbol 0x1234"],
                       *machine)
    assert "pc=0x00000000fffffff0 <reset_vector>" in text
    assert "pc is at reset_vector\n" in text
    listing = text[text.index("x/9i"):]
    assert listing.index("reset_vector:\n") < listing.index("later:\n")
    assert "reset_vector+0x3\n" in text
    assert "no symbol is known for 0x1234" in text


def test_names_may_be_typed(machine):
    text = emu.monitor(["p reset_vector", "p _text + 0x10", "xp/1xb later-1", "p no_such_name", "p 12monkeys"],
                       *machine)
    assert "0xfffffff0\n" in text and "0xffffffff81000010\n" in text
    assert "00000000fffffff7: 0x90" in text
    assert "unknown symbol 'no_such_name'" in text and "invalid number '12monkeys'" in text


def test_jumps_name_where_they_go():
    guest = os.path.join(os.path.dirname(emu.BINARY), "tests/guests/baremetal/hello-pvh.elf")
    text = emu.monitor(["x/200i main"], "-kernel", guest)
    assert re.search(r"\bcall +0x[0-9a-f]+ <\w+>$", text, re.M), text
    assert re.search(r"\bj\w+ +0x[0-9a-f]+ <\w+\+0x[0-9a-f]+>$", text, re.M), text


def test_the_log_names_addresses(machine, tmp_path):
    log = tmp_path / "log"
    emu.run("-display", "none", "-d", "in_asm,exec,nochain", "-D", str(log), "-dfilter", "0xfffffff0+16", "--timeout",
            "2", *machine)
    text = log.read_text()
    assert "in_asm: vcpu 0 0xfffffff0 <reset_vector> mode" in text
    assert "exec: vcpu 0 0xfffffff0 <reset_vector> mode" in text


def test_a_kernel_that_is_elf_brings_its_own():
    guest = os.path.join(os.path.dirname(emu.BINARY), "tests/guests/baremetal/hello-pvh.elf")
    text = emu.monitor(["p main", "info cpus"], "-kernel", guest)
    assert "unknown symbol" not in text, text


def test_files_without_symbols_are_refused(tmp_path):
    (tmp_path / "text").write_text("nothing here\n")
    (tmp_path / "cut").write_bytes(open(emu.BINARY, "rb").read(100000))
    for name, why in (("text", "neither ELF nor"), ("cut", ""), ("missing", "No such file")):
        assert why in emu.refused("-display", "none", "-machine", "none", "-symbols", str(tmp_path / name))


def test_a_terminal_completes_symbols(machine):
    terminal = Terminal("-S", "-display", "none", "-monitor", "stdio", *machine)
    terminal.wait_for("(qemu) ")
    for typed, whole in (("p rese\t", "p reset_vector"), ("x/1i 2+lat\t", "x/1i 2+later"),
                         ("info symbol _te\t", "info symbol _text")):
        terminal.type(typed)
        terminal.wait_for(whole)
        terminal.type("\r")
        terminal.wait_for("(qemu) ")
    terminal.type("quit\r")
    assert terminal.end() == 0


def test_a_terminal_completes_recalls_and_helps():
    terminal = Terminal("-M", "none", "-display", "none", "-monitor", "stdio")
    terminal.wait_for("(qemu) ")
    terminal.type("info stat\t")
    terminal.wait_for("info status")
    terminal.type("\r")
    terminal.wait_for("VM status: running")
    terminal.type("\x1b[A")
    terminal.wait_for("info status")
    terminal.type("\r")
    terminal.wait_for("VM status: running")
    terminal.type("help system_re\t")
    terminal.wait_for("system_reset")
    terminal.type("\r")
    terminal.wait_for("reset the system")
    terminal.type("trace-event system_\t")
    terminal.wait_for("system_reset")
    terminal.type("on\rinfo trace-events system_reset\r")
    terminal.wait_for("system_reset : state 1")
    terminal.type("info \t")
    terminal.wait_for("registers")
    terminal.wait_for("version")
    terminal.type("\x15quit\r")
    assert terminal.end() == 0
