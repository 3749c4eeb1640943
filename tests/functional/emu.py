# SPDX-License-Identifier: Apache-2.0
"""Starts the program under test."""
import os
import pathlib
import pty
import select
import socket
import subprocess
import time

BINARY = os.environ.get("EMU_BINARY", "build/release/system-emu")
SOURCE = pathlib.Path(os.environ.get("EMU_SOURCE", "."))


def run(*arguments, stdin="", timeout=60, binary=BINARY):
    """Runs to the end; the result has returncode, stdout and stderr."""
    return subprocess.run([binary, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout)


def refused(*arguments):
    """Runs a line that must be refused, and gives what it said."""
    result = run(*arguments)
    assert result.returncode == 1, (result.returncode, result.stderr)
    assert result.stderr.startswith("system-emu: "), result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2, result.stderr
    return result.stderr


def monitor(commands, *arguments):
    """Runs monitor commands on a stopped machine and gives the output."""
    result = run("-S", "-display", "none", "-monitor", "stdio", *arguments, stdin="\n".join([*commands, "quit", ""]))
    assert result.returncode == 0, result.stderr
    return result.stdout.replace("\r\n", "\n")


class Terminal:
    """The program on a pseudo-terminal of its own."""

    def __init__(self, *arguments):
        self.master, other = pty.openpty()
        self.process = subprocess.Popen([BINARY, *arguments], stdin=other, stdout=other, stderr=other,
                                        start_new_session=True)
        self.other = other
        self.text = ""

    def wait_for(self, text, timeout=30):
        end = time.monotonic() + timeout
        while text not in self.text:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.text!r}"
            if select.select([self.master], [], [], left)[0]:
                self.text += os.read(self.master, 4096).decode(errors="replace")
        before, _, self.text = self.text.partition(text)
        return before

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, timeout=30):
        status = self.process.wait(timeout)
        os.close(self.other)
        os.close(self.master)
        return status


class Connection:
    """A guest's serial line on a unix socket."""

    def __init__(self, path, timeout=30):
        end = time.monotonic() + timeout
        self.text = ""
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(path))
                return
            except OSError:
                assert time.monotonic() < end, f"nobody listens on {path}"
                time.sleep(0.05)

    def wait_for(self, text, timeout=30):
        end = time.monotonic() + timeout
        while text not in self.text:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.text[-2000:]!r}"
            if select.select([self.socket], [], [], left)[0]:
                data = self.socket.recv(4096)
                assert data, f"the line ended: {self.text[-2000:]!r}"
                self.text += data.decode(errors="replace")
        before, _, self.text = self.text.partition(text)
        return before

    def type(self, text):
        self.socket.sendall(text.encode())

    def close(self):
        self.socket.close()
