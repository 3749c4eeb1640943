# SPDX-License-Identifier: Apache-2.0
"""Speaks QMP, HMP or gdb's protocol with random mistakes, for a while: no crash, no hang, no growth without end. In a
program built with sanitizers, nothing that they complain of either, leaks at the end included.

    fuzz_monitor.py qmp|hmp|gdb [--seconds 600] [--seed N]
"""
import argparse
import json
import os
import random
import re
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time

BINARY = os.path.abspath(os.environ.get("EMU_BINARY", "build/release/system-emu"))
PATIENCE_S = 60  # of a busy host
MOST_GROWTH_KIB = 400 << 10
SANITIZED = 99  # the status by which sanitizers end a program; theirs by default is one of ours
SANITIZERS = {"ASAN_OPTIONS": f"exitcode={SANITIZED}:quarantine_size_mb=64:detect_leaks=1",
              "UBSAN_OPTIONS": f"exitcode={SANITIZED}:halt_on_error=1:print_stacktrace=1"}


class Failure(Exception):
    pass


class Program:
    """The program with one socket, in a folder of its own."""

    def __init__(self, option, more=()):
        self.folder = tempfile.TemporaryDirectory()
        with open(self.folder.name + "/bios", "wb") as bios:
            # Counts, so that there are instructions to break at and memory to watch.
            bios.write((b"\xf4" * 0xff00 + bytes([0x40, 0xa3, 0, 0x10, 0xeb, 0xfa])).ljust(0xfff0, b"\xf4") +
                       bytes([0xe9, 0x0d, 0xff]).ljust(16, b"\xf4"))
        self.log = open(self.folder.name + "/log", "w+b")
        arguments = [BINARY, "-display", "none", "-nodefaults", "-smp", "2", "-m", "16", "-bios", "bios", "-serial",
                     "null", "-chardev", "ringbuf,id=ring", "-D", "log2", option, "unix:socket,server=on,wait=off", *more]
        self.process = subprocess.Popen(arguments, cwd=self.folder.name, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, restore_signals=False, env={**os.environ, **SANITIZERS},
                                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                              (64 << 20, 64 << 20)))
        self.connect()

    def connect(self):
        end = time.monotonic() + PATIENCE_S
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(self.folder.name + "/socket")
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failure(f"nobody listens: {self.said()}") from None
                time.sleep(0.02)
        self.socket.setblocking(False)
        self.received = b""

    def exchange(self, data, until=None, seconds=0.0):
        """Sends all of it while taking what comes; then waits for `until`."""
        end = time.monotonic() + PATIENCE_S
        stop = time.monotonic() + seconds
        while data or (until and until not in self.received) or time.monotonic() < stop:
            if time.monotonic() > end:
                raise Failure(f"no answer in {PATIENCE_S} s")
            readable, writable, _ = select.select([self.socket], [self.socket] if data else [], [], 0.05)
            try:
                if readable:
                    got = self.socket.recv(1 << 20)
                    if not got:
                        return False
                    self.received = (self.received + got)[-(1 << 20):]
                if writable:
                    data = data[self.socket.send(data):]
            except (ConnectionResetError, BrokenPipeError):
                return False
        return True

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def ended(self, allowed=(0, 1, 3)):
        """Whether it ended, as it may if it was told to."""
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failure("the connection ended, the program did not") from None
        if status not in allowed:
            raise Failure(f"ended with status {status}")
        self.close()
        return True

    def close(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def said(self):
        """The end of its log, or a sanitizer's complaint from its beginning."""
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        complaint = re.search("^.*(runtime error|ERROR: )", text, re.M)
        return text[complaint.start():][:6000] if complaint else text[-3000:]


class Words:
    """Random values; texts have no '/' in them, so that files stay in the program's folder."""

    LETTERS = "abcxyz0189-_.:,=*+$%\\\"' \t\u00e4\u4e2d{}[]()<>#@!"

    def __init__(self, source):
        self.source = source

    def text(self):
        pick = self.source.random()
        if pick < 0.5:
            return self.source.choice(["", "ring", "a", "ide", "none", "null", "memory-backend-ram", "secret",
                                       "isa-serial", "rip", "on", "off", "file", "help", "*", "x" * 300, "memory",
                                       "gdb", "serial0"])
        return "".join(self.source.choice(self.LETTERS) for _ in range(self.source.randrange(20)))

    def number(self):
        return self.source.choice([0, 1, -1, 2, 7, 16, 255, 4096, 0xfffffff0, 1 << 31, 1 << 32, (1 << 63) - 1,
                                   -(1 << 63), (1 << 64) - 1, self.source.randrange(1 << 20)])

    def path(self):
        return self.source.choice(["/machine", "/objects", "/chardevs/ring", "/machine/unattached/device[0]", "/",
                                   "/machine/board", "//", "machine", self.text()])

    def any(self, depth=0):
        kind = self.source.randrange(8 if depth < 3 else 5)
        if kind == 0:
            return self.number()
        if kind == 1:
            return self.source.choice([True, False, None])
        if kind == 2:
            return self.source.choice([0.5, -1e300, 1e19])
        if kind in (3, 4):
            return self.source.choice([self.text, self.path])()
        if kind == 5:
            return [self.any(depth + 1) for _ in range(self.source.randrange(4))]
        return {self.text(): self.any(depth + 1) for _ in range(self.source.randrange(4))}


class QmpFuzzer:
    option = "-qmp"
    farewell = b'{"execute":"quit"}\n'
    # What only ends the program, or makes it wait for a name server.
    left_out = {"quit"}

    def __init__(self, source):
        self.source, self.words, self.schema, self.count = source, Words(source), None, 0

    def greet(self, program):
        program.exchange(b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":"hello"}\n', b'"hello"')
        if self.schema is None:
            program.received = b""
            # What is asked next is answered next: then the whole schema is here.
            program.exchange(b'{"execute":"query-qmp-schema","id":"schema"}{"execute":"query-status","id":"behind"}\n',
                             b'"behind"')
            line = next(line for line in program.received.split(b"\n") if b'"id": "schema"' in line)
            entities = json.loads(line)["return"]
            self.schema = {entity["name"]: entity for entity in entities}
            self.commands = [e["name"] for e in entities
                             if e["meta-type"] == "command" and e["name"] not in self.left_out]

    def value(self, name, depth=0):
        entity = self.schema.get(name, {"meta-type": "builtin", "json-type": "value"})
        if self.source.random() < 0.08 or depth > 5:
            return self.words.any()
        kind = entity["meta-type"]
        if kind == "builtin":
            return {"string": lambda: self.source.choice([self.words.text, self.words.path])(),
                    "int": self.words.number, "boolean": lambda: self.source.random() < 0.5,
                    "number": lambda: self.source.choice([0, 1.5, -1])}.get(
                        entity["json-type"], self.words.any)()
        if kind == "enum":
            return self.source.choice([value["name"] if isinstance(value, dict) else value for value in
                                       entity.get("members", entity.get("values", ["x"])) or ["x"]])
        if kind == "array":
            return [self.value(entity["element-type"], depth + 1) for _ in range(self.source.randrange(3))]
        if kind == "alternate":
            return self.value(self.source.choice(entity["members"])["type"], depth + 1)
        return self.members(entity, depth)

    def members(self, entity, depth):
        made = {}
        for member in entity["members"]:
            if "default" in member and self.source.random() < 0.6 or self.source.random() < 0.03:
                continue
            made[member["name"]] = self.value(member["type"], depth + 1)
            if member["name"] in ("host", "hostname"):
                made[member["name"]] = "127.0.0.1"
        for variant in entity.get("variants", []):
            if variant["case"] == made.get(entity["tag"]) and self.source.random() < 0.95:
                made.update(self.members(self.schema[variant["type"]], depth + 1))
        if self.source.random() < 0.03:
            made[self.words.text()] = self.words.any()
        return made

    def batch(self):
        lines = []
        for _ in range(40):
            command = self.source.choice(self.commands)
            message = {self.source.choice(["execute"] * 9 + ["exec-oob"]): command,
                       "arguments": self.value(self.schema[command]["arg-type"]), "id": self.words.any()}
            if "wait" in json.dumps(message):  # a socket that waits for its client is meant to hold everything up
                continue
            line = json.dumps(message, ensure_ascii=self.source.random() < 0.5).encode()
            if self.source.random() < 0.1:
                line = bytearray(line)
                for _ in range(self.source.randrange(1, 5)):
                    line[self.source.randrange(len(line))] = self.source.choice(b'"{}[]:,\\0x \xff\x80\x01')
                line = bytes(line).replace(b"/", b"_")
            lines.append(line)
        # Whatever is still open is closed by a byte that no JSON has.
        return b"\n".join(lines) + b"\n\xff\n"

    def question(self):
        self.count += 1
        name = f"alive-{self.count}"
        return json.dumps({"execute": "query-status", "id": name}).encode() + b"\n", f'"{name}"'.encode()


class HmpFuzzer:
    option = "-monitor"
    farewell = b"quit\n"

    def __init__(self, source):
        self.source, self.words, self.commands, self.count = source, Words(source), None, 0

    def greet(self, program):
        program.exchange(b"", b"(qemu) ")
        if self.commands is None:
            self.commands = []
            for topic in ("help", "help info"):
                program.received = b""
                program.exchange(topic.encode() + b"\nprint 4711\n", b"0x1267\r\n")
                for line in program.received.decode().splitlines():
                    if " -- " in line:
                        words = line.split()
                        self.commands.append(" ".join(words[:2]) if words[0] == "info" else words[0].split("|")[0])
            self.commands.remove("quit")

    def batch(self):
        text = []
        for _ in range(40):
            words = [self.source.choice(self.commands)]
            if words[0] in ("x", "xp", "print"):
                words[0] += self.source.choice(["", "/10i", "/4xg", "/s", "/3c", "/99999999999x", "/zz", "/-1d", "/i"])
            for _ in range(self.source.randrange(4)):
                words.append(self.source.choice([
                    self.words.text, self.words.path, lambda: str(self.words.number()),
                    lambda: self.source.choice(["$rip", "$rsp + 4*2", "(((1", "1/0", "-d", "-a", "-f", "$", "~0", "'a'",
                                                "0xfffffff0", "on", "off", "ctrl-alt-f1", "null,id=n", "\"a b\""])])())
            line = " ".join(words)
            if "wait" in line:
                continue
            text.append(line + self.source.choice(["\n"] * 20 + ["\t\n", "\x1b[A\n", "\x15\n", "\x01\x0b\n",
                                                                 "\x17\x08\x7f\n",
                                                                "\x03", "\x1b[3~\x1b[H\x1b[F\n", "\0\n", "\x0c\n"]))
        return "".join(text).encode(errors="replace") + b"\x03\n"

    def question(self):
        self.count += 1
        return f"print 0x5eed0000+{self.count}\n".encode(), f"{0x5eed0000 + self.count:#x}\r\n".encode()


class GdbFuzzer:
    option = "-gdb"
    farewell = b"$vKill;1#6e"
    PACKETS = ["?", "g", "G00", "p0", "p10", "p99", "P0=0100000000000000", "m1000,10", "m0,ffffffff",
               "mffffffffffffffff,8", "M1000,4:01020304", "X1000,4:abcd", "X1000,0:", "Z0,fff00,1", "z0,fff00,1",
               "Z1,fff02,1", "Z2,1000,2", "z2,1000,2", "Z3,1000,8", "Z4,1000,4", "Z9,0,0", "vCont?",
               "vCont;s:p1.1;c:p1.-1", "vCont;c", "vCont;s", "c", "s", "C05", "S05",
               "Hgp1.1", "Hgp0.0", "Hcp1.2", "Hc-1", "Tp1.2", "Tp1.99", "qSupported:multiprocess+;swbreak+;hwbreak+",
               "qC", "qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,p1.1", "qAttached:1",
               "qXfer:features:read:target.xml:0,ffb", "qXfer:features:read:x:0,1",
               "qXfer:features:read:target.xml:fffff,1", "qXfer:memory-map:read::0,ffb",
               "qRcmd,696e666f20737461747573", "qRcmd,zz",
               "qqemu.PhyMemMode", "Qqemu.PhyMemMode:1", "qqemu.sstepbits", "qqemu.sstep", "Qqemu.sstep=7", "D;1",
               "vMustReplyEmpty", "QStartNoAckMode", "qTStatus", "!", "R00", "i", "vAttach;1", "qOffsets",
               "QThreadEvents:1", "vRun;", "vStopped"]

    def __init__(self, source):
        self.source = source

    def greet(self, program):
        pass

    def batch(self):
        stream = b""
        for _ in range(40):
            packet = bytearray(self.source.choice(self.PACKETS).encode())
            if self.source.random() < 0.5:
                for _ in range(self.source.randrange(1, 4)):
                    change = self.source.randrange(3)
                    at = self.source.randrange(len(packet) + 1)
                    if change == 0 and at < len(packet):
                        packet[at] = self.source.choice(b"0123456789abcdefgGmMpPZz,:;-.+*}?=\xff\x00 ")
                    elif change == 1:
                        more = range(self.source.randrange(1, 40))
                        packet[at:at] = bytes(self.source.choice(b"0fF,:;*}\x80") for _ in more)
                    else:
                        del packet[at:at + self.source.randrange(1, 4)]
            if packet[:1] == b"k" or packet[:5] == b"vKill":
                continue
            data = bytes(packet).replace(b"$", b"_").replace(b"#", b"_")
            check = sum(data) & 255
            if self.source.random() < 0.05:
                check ^= self.source.randrange(256)
            stream += b"$" + data + b"#%02x" % check
            stream += self.source.choice([b"+"] * 12 + [b"-", b"\x03", b"", b"$#", b"#00", b"++",
                                                        self.source.randbytes(3).replace(b"$", b"")])
        return stream + b"#00"

    def question(self):
        return None


class ReverseFuzzer(GdbFuzzer):
    """A machine that can go back."""
    more = ["-icount", "shift=3,sleep=off", "-seed", "1", "-rtc", "clock=vm"]
    PACKETS = GdbFuzzer.PACKETS + ["bs", "bc", "bs", "bc", "bs", "vCont;s:p1.1", "s", "qRcmd,696e666f207265706c6179"] * 3


def run_gdb(program, fuzzer):
    """Each batch has a connection of its own, and a good debugger comes after it."""
    alive = program.exchange(fuzzer.batch(), seconds=0.1)
    program.socket.close()
    if program.process.poll() is not None:
        return False
    program.connect()
    program.exchange(b"$?#3f", b"$T")
    program.exchange(b"+$D;1#b0", b"$OK#9a")
    program.socket.close()
    program.connect()
    return alive or program.process.poll() is None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("language", choices=["qmp", "hmp", "gdb", "reverse"])
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", 600)))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000)
    arguments = parser.parse_args()
    print(f"fuzzing {arguments.language}, --seed {arguments.seed}", flush=True)
    source = random.Random(arguments.seed)
    fuzzer = {"qmp": QmpFuzzer, "hmp": HmpFuzzer, "gdb": GdbFuzzer, "reverse": ReverseFuzzer}[arguments.language](source)
    end, batches, starts, program, sent = time.monotonic() + arguments.seconds, 0, 0, None, b""
    first_kib = None
    try:
        while time.monotonic() < end:
            if program is None:
                program, starts, first_kib = Program(fuzzer.option, getattr(fuzzer, "more", ())), starts + 1, None
                fuzzer.greet(program)
            batches += 1
            if isinstance(fuzzer, GdbFuzzer):
                alive = run_gdb(program, fuzzer)
            else:
                sent = fuzzer.batch()
                alive = program.exchange(sent)
                program.received = b""
                if alive:
                    question, answer = fuzzer.question()
                    alive = program.exchange(question, answer)
            if not alive and program.ended():
                program = None
                continue
            if batches % 20 == 0:
                first_kib = first_kib or program.memory_kib()
                if program.memory_kib() > first_kib + MOST_GROWTH_KIB:
                    raise Failure(f"memory grew from {first_kib} to {program.memory_kib()} KiB")
        if program:  # ended in good order, so that leaks are looked for
            program.exchange(fuzzer.farewell, seconds=0.5)
            program.ended(allowed=(0,))
    except (Failure, OSError) as failure:
        print(f"FAILED after {batches} batches: {failure}; status {program.process.poll() if program else None}\n"
              f"last sent: {sent[-6000:]!r}\nlast received: {program.received[-2000:] if program else None!r}\n"
              f"it said: {program.said() if program else None}")
        sys.exit(1)
    print(f"{batches} batches of 40, {starts} starts: no crash, no hang")


main()
