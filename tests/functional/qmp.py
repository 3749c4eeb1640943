# SPDX-License-Identifier: Apache-2.0
"""A client for the program's QMP monitor."""
import array
import json
import os
import socket
import subprocess
import tempfile
import time

import emu


class Client:
    """One connection to a QMP socket."""

    def __init__(self, connection, negotiate=True, enable=()):
        self.socket = connection
        self.socket.settimeout(30)
        self.buffer = b""
        self.events = []
        self.greeting = self.read()["QMP"]
        if negotiate:
            assert self.command("qmp_capabilities", enable=list(enable)) == {}

    @staticmethod
    def connect(path, **options):
        end = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
                return Client(connection, **options)
            except OSError:
                assert time.monotonic() < end, f"nobody listens on {path}"
                time.sleep(0.02)

    def read(self):
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def answer(self):
        """The next message that is no event."""
        while True:
            message = self.read()
            if "event" not in message:
                return message
            self.events.append(message)

    def send(self, text, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([text.encode() if isinstance(text, str) else text], ancillary)

    def request(self, execute, fds=(), exactly=None, **arguments):
        """`exactly`: arguments whose names are not to be spelt with hyphens."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        arguments.update(exactly or {})
        self.send(json.dumps({"execute": execute, "arguments": arguments}), fds)
        return self.answer()

    def command(self, execute, fds=(), **arguments):
        message = self.request(execute, fds, **arguments)
        assert "return" in message, (execute, arguments, message)
        return message["return"]

    def refused(self, execute, **arguments):
        message = self.request(execute, **arguments)
        assert "error" in message, (execute, arguments, message)
        return message["error"]

    def wait_event(self, name):
        for event in self.events:
            if event["event"] == name:
                self.events.remove(event)
                return event
        while True:
            message = self.read()
            if message.get("event") == name:
                return message
            self.events.append(message)


class Machine:
    """The program with a QMP socket, ended with the block."""

    def __init__(self, *arguments, **options):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp")
        self.arguments = [emu.BINARY, "-display", "none", "-nodefaults", "-qmp",
                          f"unix:{self.path},server=on,wait=off", *arguments]
        self.options = options

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stderr=subprocess.PIPE, text=True)
        try:
            self.client = Client.connect(self.path, **self.options)
        except BaseException:
            self.process.kill()
            print(self.process.communicate()[1])
            raise
        return self.client

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.folder.cleanup()
