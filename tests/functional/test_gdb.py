# SPDX-License-Identifier: Apache-2.0
"""Debuggers: Debian's gdb-multiarch on a bare-metal guest with symbols and on a Linux kernel, and single packets."""
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

import emu
from gdb_remote import Remote
from qmp import Client

GUEST = pathlib.Path(emu.BINARY).parent / "tests/guests/baremetal/smp-debug-pvh.elf"
LINUX = emu.SOURCE / "build/guest"
PASSED = 67  # of the bare-metal guests, as isa-debug-exit reports it


class Debuggee:
    """The program, stopped, with a socket for debuggers."""

    def __init__(self, *arguments, start=False):
        self.folder = tempfile.TemporaryDirectory()
        self.gdb = os.path.join(self.folder.name, "gdb")
        self.qmp = os.path.join(self.folder.name, "qmp")
        self.arguments = [*arguments, "-display", "none", "-no-reboot", "-monitor", "none", "-gdb", f"unix:{self.gdb}",
                          "-qmp", f"unix:{self.qmp},server=on,wait=off", *([] if start else ["-S"])]

    def __enter__(self):
        self.process = subprocess.Popen([emu.BINARY, *self.arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()

    def remote(self):
        return Remote(self.gdb)

    def script(self, *lines, symbols=GUEST, timeout=120):
        """Runs gdb's commands once connected, and gives what it said."""
        gdb = shutil.which("gdb-multiarch")
        if gdb is None:
            pytest.skip("gdb-multiarch is not installed")
        path = os.path.join(self.folder.name, "script")
        Remote(self.gdb).close()  # it listens
        with open(path, "w") as file:
            file.write("\n".join(["set confirm off", "set pagination off", "set width 0", "set height 0",
                                  f"target remote {self.gdb}", *lines, ""]))
        done = subprocess.run([gdb, "-nx", "-batch", "-x", path, *([str(symbols)] if symbols else [])],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        assert "Error in sourced command file" not in done.stdout, done.stdout
        return done.stdout


def smp_guest(*arguments):
    if not GUEST.exists():
        pytest.skip(f"{GUEST.name} was not built")
    return Debuggee(*arguments, "-smp", "2", "-kernel", str(GUEST), "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                    "-serial", "none")


def test_map_of_memory_covers_every_address():
    """gdb takes the map, and refuses no address by itself: the stub is asked for what is not mapped, too."""
    with smp_guest() as guest:
        text = guest.script("info mem", "x/2xb main", "set debug remote 1", "python", "try:",
                            "  gdb.execute('output *(char*)0xffffffff81000000')", "except gdb.MemoryError as error:",
                            "  print('refused:', error)", "end")
        assert "Using memory regions provided by the target" in text, text
        assert re.search(r"0x0000000000000000 0x8000000000000000 rw", text), text
        assert re.search(r"0x8000000000000000 0x10000000000000000 rw", text), text
        assert re.search(r"Sending packet: \$mffffffff81000000,1#.*Packet received: E14.*refused:", text, re.S), text


def test_breakpoints_backtraces_and_threads():
    with smp_guest() as guest:
        text = guest.script("hbreak start_other", "continue", "bt", "info threads", "break on_wake", "continue", "bt",
                            "info threads", "thread 1", "p $_thread", "thread 2", "p $_thread", "tbreak other_main",
                            "delete", "detach")
        assert re.search(r"Breakpoint 1, start_other .*#0 +start_other .*#1 .* in main ", text, re.S), text
        assert "CPU#1 [waits for startup]" in text
        assert re.search(r"Thread 2 hit Breakpoint 2, on_wake .*#0 +on_wake .*#1 .* in trap ", text, re.S), text
        assert "$1 = 1" in text and "$2 = 2" in text
        assert "detached" in text
        assert guest.process.wait(60) == PASSED


def test_breakpoint_in_hot_code_stops_and_leaves_no_trace():
    with smp_guest() as guest:
        text = guest.script("break contend", "continue", "p $_hit_bpnum", "finish", "delete", "detach", timeout=180)
        assert "contend ()" in text
        assert guest.process.wait(60) == PASSED


def test_watchpoints_show_old_and_new_values():
    with smp_guest() as guest:
        text = guest.script("watch wakes", "continue", "continue", "delete", "rwatch go", "continue", "p $_thread",
                            "delete",
                            "awatch protected_counter", "continue", "delete", "detach")
        values = re.findall(r"Old value = (\d+)\nNew value = (\d+)", text)
        assert values[:2] == [("0", "1"), ("1", "2")], text
        assert "Hardware read watchpoint 2: go" in text
        assert "Hardware access (read/write) watchpoint 3: protected_counter" in text
        assert guest.process.wait(60) == PASSED


def test_watched_memory_that_an_interrupt_pushes_to_stops_at_the_handler():
    """The watchpoint is met by IRET first, which reads what was pushed, and then by the next interrupt."""
    with smp_guest() as guest:
        text = guest.script("break on_wake", "continue", "awatch -l frame->ip", "delete 1", "continue", "info symbol $pc",
                            "continue", "info symbol $pc", "delete", "detach")
        after_iret, at_interrupt = re.findall(r"^(\S+)(?: \+ \d+)? in section", text, re.M)
        assert after_iret == "wait_for_interrupt", text
        assert at_interrupt == f"vector_entry_{0x50}" and f"vector_entry_{0x50} in section" in text, text
        assert guest.process.wait(60) == PASSED


def test_registers_and_memory_are_read_and_written():
    with smp_guest() as guest:
        text = guest.script("break wake_other", "continue", "set $r15=0x123456789abcdef0", "p/x $r15",
                            "set $xmm3.v2_int64[1]=77", "p $xmm3.v2_int64[1]", "set $st0=1.5", "p $st0",
                            "set var ping=0x1234", "p/x ping", "set var ping=0",
                            "info registers cs cr0 efer fs_base mxcsr",
                            "maint packet qqemu.PhyMemMode", "maint packet Qqemu.PhyMemMode:1", "x/2bx wake_other",
                            "maint packet Qqemu.PhyMemMode:0", "x/2bx wake_other", "set $xmm3.v2_int64[1]=0", "delete",
                            "detach")
        assert "$1 = 0x123456789abcdef0" in text
        assert "$2 = 77" in text and "$3 = 1.5" in text and "$4 = 0x1234" in text
        assert re.search(r"cr0 .*\[ .*PG.* PE |cr0 .*\[ PE .*PG", text), text
        assert re.search(r"efer .*LMA LME", text), text
        assert 'received: "0"' in text and text.count('received: "OK"') == 2
        bytes_seen = re.findall(r"<wake_other>:\s+(0x\w+\s+0x\w+)", text)
        assert len(bytes_seen) == 2 and bytes_seen[0] == bytes_seen[1], "identity-mapped"
        assert guest.process.wait(60) == PASSED


def test_a_step_is_one_round_of_a_repeated_instruction(tmp_path):
    code = bytes.fromhex("31ff be00ff b90400 8cc8 8ed8 31c0 8ec0 bf0010 f3a4 f4")  # ... rep movsb; hlt
    image = (b"\xf4" * 0xff00 + code).ljust(0xfff0, b"\xf4") + bytes.fromhex("e90dff")
    (tmp_path / "bios").write_bytes(image.ljust(0x10000, b"\xf4"))
    with Debuggee("-bios", str(tmp_path / "bios"), "-nodefaults") as guest:
        remote = guest.remote()

        def step():
            assert remote.ask("vCont;s:p1.1").startswith("T05")
            return tuple(int.from_bytes(bytes.fromhex(remote.ask(f"p{number:x}")), "little") for number in (16, 2, 5))

        steps = [step() for _ in range(13)]
        assert steps[8] == (0xff13, 4, 0x1000), steps
        assert steps[9:] == [(0xff13, 3, 0x1001), (0xff13, 2, 0x1002), (0xff13, 1, 0x1003), (0xff15, 0, 0x1004)]
        assert bytes.fromhex(remote.ask("m1000,4")) == code[:4]


def test_wide_vectors_masks_and_keys_are_shown():
    with smp_guest("-cpu", "max") as guest:
        model = Client.connect(guest.qmp).command("query-cpu-model-expansion", type="full",
                                                  model={"name": "max"})["model"]
        if not model["props"]["avx512f"]:
            pytest.skip("cannot run here: this processor has no AVX-512, and so no guest has")
        text = guest.script("hbreak start_other", "continue", "set $xmm3.v2_int64[0]=77", "p $zmm3.v8_int64", "p $k1",
                            "p $pkru",
                            "p $ymm31.v4_int64", "info registers k7", "set $xmm3.v2_int64[0]=0",
                            "monitor info registers",
                            "delete", "detach")
        assert "$1 = {77, 0, 0, 0, 0, 0, 0, 0}" in text, text
        assert "$2 = 0" in text and "$3 = " in text and "$4 = {0, 0, 0, 0}" in text
        assert "k7 " in text and "XMM15=" in text, text
        assert guest.process.wait(60) == PASSED


def test_steps_pass_over_interrupts_and_can_enter_them():
    with smp_guest() as guest:
        # The other CPU's wake-up is pending for this one the whole time.
        text = guest.script("break other_main", "continue", "break wake_other", "continue", "thread 2", "delete",
                            *["stepi"] * 30, "p $_thread", "bt 1", "maint packet qqemu.sstepbits",
                            "maint packet qqemu.sstep",
                            "maint packet Qqemu.sstep=1", "maint packet qqemu.sstep", "detach")
        assert "on_wake" not in text.split("qqemu.sstepbits")[0]
        assert 'received: "ENABLE=1,NOIRQ=2,NOTIMER=4"' in text
        assert 'received: "0x7"' in text and 'received: "0x1"' in text
        assert guest.process.wait(60) == PASSED


def test_monitor_commands_answer():
    with smp_guest() as guest:
        text = guest.script("monitor info status", "monitor nonsense", "detach")
        assert "VM status: paused" in text
        assert "nonsense" in text


def test_interrupt_and_detach_of_a_running_guest():
    with Debuggee("-m", "64", start=True) as guest, guest_socket(guest) as remote:
        assert remote.ask("qSupported:multiprocess+").count("PacketSize=")
        assert remote.ask("?") == "T05thread:p01.01;"
        qmp = Client.connect(guest.qmp)
        assert qmp.command("query-status")["status"] == "paused", "a debugger's arrival stops the machine"
        for _ in range(20):
            remote.send("vCont;c:p1.-1")
            assert remote.interrupt() == "T02thread:p01.01;"
        remote.send("vCont;c")
        while not qmp.command("query-status")["running"]:
            pass  # another connection
        qmp.command("stop")
        assert remote.read() == "T02thread:p01.01;", "somebody else stopped it"
        assert remote.ask("D;1") == "OK"
        assert qmp.command("query-status")["running"]


def test_steps_hit_breakpoints_of_the_reset_code():
    with Debuggee("-m", "64", "-bios", "/usr/share/seabios/bios-256k.bin") as guest, guest_socket(guest) as remote:
        if not os.path.exists("/usr/share/seabios/bios-256k.bin"):
            pytest.skip("seabios is not installed")
        assert remote.ask("Z0,fffffff0,1") == "OK"
        remote.send("c")
        assert remote.read().startswith("T05")
        qmp = Client.connect(guest.qmp)
        assert qmp.command("query-status")["status"] == "debug"
        assert remote.ask("z0,fffffff0,1") == "OK"
        seen = set()
        for _ in range(50):
            remote.send("s")
            assert remote.read().startswith("T05")
            seen.add(remote.ask("p10"))
        assert len(seen) > 10


def test_kill_ends_the_program():
    with Debuggee("-m", "64") as guest, guest_socket(guest) as remote:
        assert remote.ask("vKill;1") == "OK"
        assert guest.process.wait(30) == 0


def test_lost_debugger_leaves_no_breakpoints():
    with smp_guest() as guest:
        remote = guest.remote()
        assert remote.ask("Z0,100000,1") == "OK"
        remote.send("c")
        assert remote.read().startswith("T05")
        remote.close()
        qmp = Client.connect(guest.qmp)
        while not any(c["filename"].startswith("disconnected:") for c in qmp.command("query-chardev")
                      if c["label"] == "gdb"):
            pass  # it is lost before the guest goes on
        qmp.command("cont")
        assert guest.process.wait(60) == PASSED


def test_noise_does_no_harm():
    noise = random.Random(5)
    with Debuggee("-m", "64") as guest:
        remote = guest.remote()
        for _ in range(2000):
            kind = noise.choice("?gGpPmMXZzHTvqQsc") + noise.choice(["", "Cont;s", "0,1000,1", "qemu.",
                                                                     "Xfer:features:read:", "Rcmd,"])
            remote.send(kind + "".join(chr(noise.randrange(32, 127))
                                       for _ in range(noise.randrange(30))).replace("#", "").replace("$", ""))
            remote.raw(bytes(noise.randrange(256) for _ in range(noise.randrange(4))))
        remote.raw(b"$" + b"m" * 200000 + b"#00")
        remote.close()
        again = guest.remote()
        assert again.ask("qC").startswith("QC")
        again.close()
        assert guest.process.poll() is None


def test_gdbserver_command_starts_and_ends_a_server():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        text = emu.monitor([f"gdbserver unix:{path}", "info chardev", "gdbserver none", "gdbserver nonsense:x"], "-m",
                           "64")
        assert "Waiting for gdb connection" in text and "Disabled gdbserver" in text


def test_a_debugger_may_come_over_tcp():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([emu.BINARY, "-S", "-display", "none", "-m", "64", "-gdb", f"tcp:127.0.0.1:{port}"])
    try:
        remote = Remote(("127.0.0.1", port))
        assert remote.ask("?") == "T05thread:01;"
        assert "xmlRegisters" not in remote.ask("qSupported:multiprocess+")
        remote.send("k")
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_generated_code_is_the_same_while_nothing_is_set(tmp_path):
    """Blocks and their sizes, as the log lists them: without a debugger, and with one that has removed its points."""
    guest = ["-kernel", str(GUEST.parent / "hello64.elf"), "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
             "-debugcon", "null"]

    def blocks(name):
        return [line for line in (tmp_path / name).read_text().splitlines() if line.startswith("out_asm: ")]

    assert emu.run("-display", "none", "-d", "out_asm", "-D", str(tmp_path / "alone"), *guest).returncode == PASSED
    with Debuggee("-d", "out_asm", "-D", str(tmp_path / "debugged"), *guest) as debuggee:
        remote = debuggee.remote()
        for point in ("0,100000,1", "1,100000,1", "2,200000,8", "4,200000,8"):
            assert remote.ask("Z" + point) == "OK" and remote.ask("z" + point) == "OK"
        remote.send("c")
        assert debuggee.process.wait(60) == PASSED
    assert len(blocks("alone")) > 5
    assert blocks("debugged") == blocks("alone")


def test_s_is_short_for_port_1234():
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 1234)) == 0:
            pytest.skip("somebody else is at port 1234")
    process = subprocess.Popen([emu.BINARY, "-s", "-S", "-display", "none", "-m", "64"])
    try:
        remote = Remote(("127.0.0.1", 1234))
        assert remote.ask("?") == "T05thread:01;"
        remote.send("k")
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_gdbserver_leaves_streams_of_others_alone():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        text = emu.monitor([f"gdbserver unix:{path}", "gdbserver chardev:gdb", "info chardev", "gdbserver none",
                            "info chardev"],
                           "-m", "64", "-chardev", "ringbuf,id=gdb")
        assert "there is a chardev 'gdb' already: write chardev:gdb" in text
        assert text.count("gdb: filename=ringbuf") == 2, text
        again = emu.monitor(["gdbserver none", "info chardev"], "-m", "64", "-chardev", "null,id=gdb", "-gdb",
                            "chardev:gdb")
        assert "gdb: filename=null" in again
        own = emu.monitor(["gdbserver none", "info chardev"], "-m", "64", "-gdb", f"unix:{path}")
        assert "gdb: " not in own


def test_linux_kernel_is_interrupted_stepped_and_goes_on():
    if not (LINUX / "vmlinuz").exists():
        pytest.skip("build/guest was not made")
    with Debuggee("-smp", "2", "-m", "512", "-kernel", str(LINUX / "vmlinuz"), "-initrd", str(LINUX / "initrd.cpio"),
                  "-append", "console=ttyS0 nokaslr panic=-1", "-serial", "stdio") as guest:
        text = guest.script("hbreak *0x1000000", "continue", "x/2i $pc", "info registers rip cr3", "delete",
                            *["stepi"] * 20, "p/x $pc", "hbreak *$pc", "delete", "info threads", "detach", symbols=None)
        assert "Breakpoint 1, 0x0000000001000000" in text, text
        assert "CPU#1 [waits for startup]" in text
        output = ""
        while "Linux version" not in output:
            line = guest.process.stdout.readline()
            assert line, output
            output += line


class guest_socket:
    """A connection that is closed with the block."""

    def __init__(self, guest):
        self.guest = guest

    def __enter__(self):
        self.remote = self.guest.remote()
        return self.remote

    def __exit__(self, *_):
        self.remote.close()
