# SPDX-License-Identifier: Apache-2.0
"""An accelerator is one interface: nobody outside accel/kvm and target/*/kvm asks whether it is KVM, but for those who
make it when the user names it, and those who answer the user's own question."""
import re

import emu

INCLUDE = re.compile(r'#include [<"](linux/kvm\.h|asm/kvm\.h|accel/kvm/|target/\w+/kvm/)')
QUESTION = re.compile(r'[=!]= ?"kvm"|"kvm" ?[=!]=|dynamic_cast<[^>]*\bKvm|"kvm"\)? != |find\([^;]*"kvm"')
MAKES_IT = {"softmmu/parts.h", "softmmu/main/main.cpp"}
# What it answers, or makes.
ANSWERS = {
    "monitor/commands/identity_commands.cpp",    # query-kvm
    "monitor/info_commands.cpp",                 # info kvm
    "monitor/commands/statistics_commands.cpp",  # query-stats: the provider's name
    "softmmu/emulation_accel.cpp",               # -accel kvm
    "softmmu/explain.cpp",                       # what the line's options mean
    "softmmu/start_options.cpp",                 # -machine accel=
    "target/x86/models.cpp",                     # -cpu NAME,kvm=off
}


def matches(pattern):
    found = {}
    rooms = [room for room in emu.SOURCE.iterdir() if room.is_dir() and room.name not in ("build", "tests")]
    for path in (path for room in rooms for path in room.rglob("*") if path.suffix in (".h", ".cpp", ".inc")):
        name = path.relative_to(emu.SOURCE).as_posix()
        if re.match(r"accel/kvm/|target/\w+/kvm/|\.", name):
            continue
        lines = [line.strip() for line in path.read_text().splitlines() if pattern.search(line)]
        if lines:
            found[name] = lines
    return found


def test_only_its_own_rooms_see_it():
    assert set(matches(INCLUDE)) == MAKES_IT


def test_nobody_asks_whether_it_is_kvm():
    found = matches(QUESTION)
    assert set(found) == ANSWERS, found
