# SPDX-License-Identifier: Apache-2.0
"""The launch lines of README.md do what it says."""
import os
import pathlib
import select
import shlex
import subprocess
import time

import pytest

SOURCE = pathlib.Path(os.environ["EMU_SOURCE"])
BINARY = os.environ["EMU_BINARY"]
LINES = [line.strip() for line in (SOURCE / "README.md").read_text().splitlines()
         if line.startswith("    build/release/system-emu ")]


def expected(line):
    """What the terminal shows once the line has done its work, and the exit status if it ends by itself."""
    if "hello64" in line:
        return b"PASS", 67
    if "-kernel" in line:
        return b"Type poweroff to leave", None
    return b"SeaBIOS", None


def test_there_are_lines():
    assert len(LINES) >= 4


@pytest.mark.parametrize("line", LINES)
def test_line(line):
    build = str(pathlib.Path(BINARY).parent)
    command = [build + word.removeprefix("build/release") if word.startswith("build/release/") else word
               for word in shlex.split(line)]
    for word in command:
        if word.startswith("build/guest/") and not (SOURCE / word).exists():
            pytest.skip(f"SKIPPED: {word} is not made; ./quickstart test makes it")
    text, status = expected(line)
    read_end, write_end = os.pipe()  # a terminal that types nothing
    process = subprocess.Popen(command, cwd=SOURCE, stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, deadline = b"", time.monotonic() + 120
    try:
        while text not in output and time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 1)[0]:
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                output += chunk
        assert text in output, output.decode(errors="replace")[-3000:]
        if status is not None:
            assert process.wait(30) == status
    finally:
        process.kill()
        process.wait()
        os.close(read_end)
        os.close(write_end)
