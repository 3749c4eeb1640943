# SPDX-License-Identifier: Apache-2.0
"""`help` wherever a user would try it, and the texts that documents are made of."""
import os
import pathlib

import pytest

from emu import BINARY, SOURCE, refused, run


@pytest.mark.parametrize("arguments, expected", [
    (["-help"], "-kernel FILE"),
    (["-h"], "usage:"),
    (["--help"], "usage:"),
    (["-version"], "compatible with QEMU 7.2"),
    (["-machine", "help"], "pc-i440fx-7.2"),
    (["-M", "?"], "empty machine"),
    (["-machine", "pc,help"], "hpet="),
    (["-cpu", "help"], "qemu64"),
    (["-device", "help"], "isa-serial"),
    (["-device", "isa-serial,help"], "iobase="),
    (["-accel", "help"], "tcg"),
    (["-chardev", "help"], "socket"),
    (["-d", "help"], "in_asm"),
    (["-display", "help"], "none"),
    (["-vga", "help"], "std"),
    (["-target", "help"], "x86_64"),
    (["-object", "help"], "memory-backend-ram"),
    (["-L", "help"], "/usr/share/seabios"),
])
def test_help_goes_to_standard_output(arguments, expected):
    result = run(*arguments)
    assert result.returncode == 0
    assert expected in result.stdout
    assert result.stderr == ""


def test_command_line_document_is_current():
    assert run("-help-markdown").stdout == (SOURCE / "docs/user/command-line.md").read_text()


def test_every_option_is_in_manual_and_completion():
    options = [line.split()[0] for line in run("-help").stdout.splitlines() if line.startswith("-")]
    manual = (SOURCE / "packaging/system-emu.1").read_text().replace("\\-", "-")
    completion = (SOURCE / "packaging/system-emu.bash").read_text().split()
    assert len(options) > 40
    for option in options:
        assert option in manual, option
        assert option in completion, option


def test_program_name_chooses_the_target(tmp_path):
    for name, status in [("qemu-system-x86_64", 0), ("system-emu-aarch64", 1)]:
        link = tmp_path / name
        os.symlink(pathlib.Path(BINARY).resolve(), link)
        assert run("-version", binary=str(link)).returncode == status


def test_unknown_target_names_what_there_is():
    assert "there is x86_64" in refused("-target", "riscv64")
