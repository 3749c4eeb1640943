# SPDX-License-Identifier: Apache-2.0
"""A client of the GDB remote protocol, packet by packet."""
import socket
import time


class Remote:
    def __init__(self, where):
        """`where`: a unix socket's path, or host and port."""
        end = time.monotonic() + 30
        while True:
            self.socket = socket.socket(socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX)
            try:
                self.socket.connect(where)
                break
            except OSError:
                assert time.monotonic() < end, f"nobody listens on {where}"
                time.sleep(0.02)
        self.socket.settimeout(30)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, text):
        data = text.encode("latin-1")
        self.raw(b"$" + data + b"#%02x" % (sum(data) & 255))

    def read(self):
        """The next packet's data; acknowledged."""
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start + 1) if start >= 0 else -1
            if end >= 0 and len(self.buffer) >= end + 3:
                data = self.buffer[start + 1:end]
                self.buffer = self.buffer[end + 3:]
                try:
                    self.raw(b"+")
                except OSError:
                    pass  # that was its last word
                return data.decode("latin-1")
            got = self.socket.recv(65536)
            assert got, "the connection ended"
            self.buffer += got

    def ask(self, text):
        self.send(text)
        return self.read()

    def interrupt(self):
        self.raw(b"\x03")
        return self.read()
