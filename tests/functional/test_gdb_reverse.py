# SPDX-License-Identifier: Apache-2.0
"""Going back: reverse steps and reverse continue, by packets and with Debian's gdb, on small guests and on Linux."""
import re
import socket
import subprocess
import time

import pytest

import emu
import kernel_symbols
from qmp import Client
from test_ci import POWER_OFF, Q35
from test_gdb import GUEST, LINUX, Debuggee, smp_guest
from test_icount import SLEEPS, SPINS

REPEATABLE = ["-icount", "shift=3,sleep=off", "-seed", "1", "-rtc", "base=2024-02-29T12:30:00,clock=vm", "-nic", "none"]
CODE = {"spins": SPINS, "sleeps": SLEEPS}
# Where the timer's interrupt is handled, beginning with RDTSC: a linear address in the ROM's copy below 1 MiB.
HANDLER = {name: 0xfe000 + code.rindex(b"\x0f\x31") for name, code in CODE.items()}
STEP, ONE = "vCont;s:p1.1", "T05thread:01;"
BEGIN = "T05thread:01;replaylog:begin;"


@pytest.fixture(name="small")
def make_small(tmp_path):
    """The guests of test_icount.py, stopped, and the file that they write."""
    def small(name, *options, repeatable=tuple(REPEATABLE)):
        image = bytearray(b"\xf4" * 0x10000)
        code = CODE[name] + POWER_OFF
        image[0xe000:0xe000 + len(code)] = code
        image[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0xe0])
        (tmp_path / "bios").write_bytes(image)
        written = tmp_path / "written"
        return Debuggee("-bios", str(tmp_path / "bios"), *Q35, "-m", "16", "-nodefaults", "-debugcon",
                        f"file:{written}", *repeatable, *options), written
    return small


def moment(remote):
    """All registers."""
    remote.ask("Hg1")
    return remote.ask("g")


def go_on(remote):
    """Off the breakpoint, and to the next."""
    assert remote.ask(STEP).startswith("T05")
    return remote.ask("vCont;c")


def connect(guest):
    remote = guest.remote()
    assert ";ReverseStep+;ReverseContinue+" in remote.ask("qSupported:swbreak+;hwbreak+")
    return remote


@pytest.mark.parametrize("name", ["spins", "sleeps"])
@pytest.mark.parametrize("interrupts", ["deferred", "taken"])
def test_steps_are_taken_back(small, name, interrupts):
    guest, _ = small(name)
    with guest:
        remote = connect(guest)
        if interrupts == "taken":
            remote.ask("Qqemu.sstep=1")
        assert remote.ask("bs") == BEGIN, "nothing has run yet"
        seen = [moment(remote)]
        for _ in range(400):
            assert remote.ask(STEP).startswith("T05")
            seen.append(moment(remote))
        assert len(set(seen)) > 100
        for there in reversed(seen[:-1]):
            assert remote.ask("bs") == ONE
            assert moment(remote) == there
        assert remote.ask("bs") == BEGIN
        assert moment(remote) == seen[0]
        for there in seen[1:]:
            assert remote.ask(STEP) == ONE
            assert moment(remote) == there


@pytest.mark.parametrize("name", ["spins", "sleeps"])
def test_breakpoints_are_met_again_on_the_way_back(small, name):
    guest, written = small(name)
    with guest:
        remote = connect(guest)
        assert remote.ask(f"Z0,{HANDLER[name]:x},1") == "OK"
        seen = [moment(remote)]
        for _ in range(30):
            assert go_on(remote) == "T05thread:01;swbreak:;"
            seen.append(moment(remote))
        assert len(set(seen)) == 31
        sent = written.read_bytes()
        for there in reversed(seen[1:-1]):
            assert remote.ask("bc") == "T05thread:01;swbreak:;"
            assert moment(remote) == there
        assert remote.ask("bc") == BEGIN
        assert moment(remote) == seen[0]
        for there in seen[1:]:
            assert go_on(remote) == "T05thread:01;swbreak:;"
            assert moment(remote) == there
        assert written.read_bytes() == sent, "what was done again is written once"
        # From the middle of the past to the end.
        for _ in range(5):
            remote.ask("bc")
        assert remote.ask(f"z0,{HANDLER[name]:x},1") == "OK"
        remote.send("vCont;c")
        guest.process.wait(60)
        gone_back = written.read_bytes()
    guest, written = small(name)
    with guest:
        guest.remote().send("vCont;c")
        guest.process.wait(60)
        assert written.read_bytes() == gone_back, "the run is the one that it would have been"



def test_how_long_it_slept_in_the_hosts_time_is_recorded(small):
    guest, _ = small("sleeps", repeatable=["-icount", "shift=0,sleep=on", *REPEATABLE[2:]])
    with guest:
        remote = connect(guest)
        assert remote.ask(f"Z0,{HANDLER['sleeps']:x},1") == "OK"
        seen = []
        for _ in range(20):
            assert go_on(remote) == "T05thread:01;swbreak:;"
            for _ in range(3):  # past RDTSC
                assert remote.ask(STEP) == ONE
            seen.append(moment(remote))
        for _ in range(20):
            assert remote.ask("bc") == "T05thread:01;swbreak:;"
        for there in seen:
            for _ in range(3):
                assert remote.ask(STEP) == ONE
            assert moment(remote) == there, "the same time stamp"
            go_on(remote)


def test_changes_of_the_past_begin_another_future(small):
    guest, written = small("spins")
    with guest:
        remote = connect(guest)
        handler = HANDLER["spins"]
        assert remote.ask(f"Z0,{handler:x},1") == "OK"
        for _ in range(10):
            go_on(remote)
        for _ in range(5):
            assert remote.ask("bc") == "T05thread:01;swbreak:;"
        assert remote.ask("P2=1400000000000000") == "OK", "so many ticks are left"
        assert remote.ask("bc") == BEGIN, "what was recorded does not lead here any more"
        assert go_on(remote) == "T05thread:01;swbreak:;"
        there = moment(remote)
        assert go_on(remote).startswith("T05")
        assert remote.ask("bc") == "T05thread:01;swbreak:;" and moment(remote) == there
        assert remote.ask(f"z0,{handler:x},1") == "OK"
        remote.send("vCont;c")
        guest.process.wait(60)
        # Five ticks, the twenty, and those between that were written before and after the change.
        assert 4 * 20 < len(written.read_bytes()) < 4 * 40


def test_the_way_back_leads_from_the_end_too(small):
    guest, written = small("sleeps", "-no-shutdown")
    with guest:
        remote = connect(guest)
        assert remote.ask("vCont;c") == "T03thread:01;", "it powers off"
        everything = written.read_bytes()
        end = moment(remote)
        assert remote.ask(f"Z0,{HANDLER['sleeps']:x},1") == "OK"
        for _ in range(3):
            assert remote.ask("bc") == "T05thread:01;swbreak:;"
        assert remote.ask(f"z0,{HANDLER['sleeps']:x},1") == "OK"
        assert remote.ask("vCont;c") == "T05thread:01;replaylog:end;"
        assert moment(remote) == end
        assert remote.ask("vCont;c") == "E22"
        assert remote.ask("bs") == ONE
        assert remote.ask("P0=0000000000000000") == "OK", "another future"
        remote.send("vCont;c")
        remote.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            remote.read()
        assert written.read_bytes() == everything


@pytest.mark.parametrize("without, says", [
    ("-icount", "-icount shift=N"), ("-seed", "-seed NUMBER"), ("-rtc", "-rtc clock=vm"), ("-nic", "'e1000'")])
def test_what_stands_in_the_way_is_named(without, says):
    at = REPEATABLE.index(without)
    options = REPEATABLE[:at] + REPEATABLE[at + 2:]
    with Debuggee("-m", "16", "-serial", "none", *options) as guest:
        remote = guest.remote()
        assert "Reverse" not in remote.ask("qSupported")
        assert remote.ask("bs") == ""
        assert remote.ask("bc") == ""
        said = Client.connect(guest.qmp).command("human-monitor-command", command_line="info replay")
        assert says in said


@pytest.mark.parametrize("icount", ["shift=auto", "shift=3,align=on,sleep=on"])
def test_time_of_the_host_stands_in_the_way(icount):
    with Debuggee("-m", "16", "-serial", "none", *REPEATABLE[2:], "-icount", icount) as guest:
        assert "Reverse" not in guest.remote().ask("qSupported")


def test_info_replay_says_what_is_recorded(small):
    guest, _ = small("spins")
    with guest:
        client = Client.connect(guest.qmp)

        def say():
            return client.command("human-monitor-command", command_line="info replay")

        assert "no debugger" in say()
        remote = connect(guest)
        assert "when the machine runs next" in say()
        for _ in range(10):
            remote.ask(STEP)
        assert re.match(r"Instructions 0 to 10 are recorded, in 1 checkpoints; the machine is at 10", say())
        remote.ask("bs")
        assert "Instructions 0 to 10 are recorded" in say() and "the machine is at 9" in say()
        remote.ask(STEP)


def test_bytes_on_a_serial_line_end_the_history(small, tmp_path):
    guest, _ = small("spins", "-serial", f"unix:{tmp_path / 'serial'},server=on,wait=off")
    with guest:
        remote = connect(guest)

        def wait_for_new_history():
            end = time.monotonic() + 30
            while b"when the machine runs next".hex() not in run(remote, "info replay"):
                assert time.monotonic() < end
            assert remote.ask("bs") == BEGIN

        remote.ask(STEP)
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(tmp_path / "serial"))
        wait_for_new_history()
        for _ in range(3):
            remote.ask(STEP)
        assert remote.ask("bs") == ONE
        line.sendall(b"x")
        wait_for_new_history()
        remote.ask(STEP)
        assert remote.ask("bs") == ONE
        line.close()


def run(remote, line):
    """A line of the monitor; gives what it said, in hexadecimal."""
    said, answer = "", remote.ask("qRcmd," + line.encode().hex())
    while answer != "OK":
        said += answer[1:]
        answer = remote.read()
    return said


def test_commands_that_change_the_guest_end_the_history(small):
    guest, _ = small("spins")
    with guest:
        remote = connect(guest)
        for _ in range(10):
            remote.ask(STEP)
        assert b"EAX=".hex() in run(remote, "info registers")
        assert remote.ask("bs") == ONE
        assert run(remote, "nmi") == ""
        assert remote.ask("bs") == BEGIN


def reversible_smp_guest(*options):
    return smp_guest(*REPEATABLE, "-no-shutdown", *options)


def test_gdb_goes_back_to_breakpoints_and_watched_writes():
    with reversible_smp_guest() as guest:
        text = guest.script("hbreak start_other", "continue", "watch wakes", "continue", "p wakes", "continue",
                            "p wakes", "reverse-continue", "p wakes", "x/i $pc", "reverse-continue", "p wakes",
                            "stepi", "p wakes", "reverse-continue", "p $pc == start_other",
                            "reverse-continue")
        values = re.findall(r"\$\d+ = (\d+)", text)
        assert values == ["1", "2", "1", "0", "1", "1"], text
        assert "No more reverse-execution history" in text


def test_gdb_steps_back_out_of_and_over_calls():
    with reversible_smp_guest() as guest:
        text = guest.script("hbreak start_other", "continue", "p/x $pc", "p/x $sp", "reverse-finish", "stepi",
                            "p/x $pc", "p/x $sp", "finish", "reverse-next", "bt 1", "reverse-step", "bt 1")
        values = re.findall(r"\$\d+ = (\w+)", text)
        assert values[:2] == values[2:], text
        assert re.search(r"main \(\) at .*\n\d+\s+start_other\(\);\n.*Breakpoint 1, start_other .*"
                         r"main \(\) at .*\n\d+\s+wake_other\(\);\n.*#0 .* in start_other \(\)", text, re.S), text


def test_each_of_two_cpus_is_stepped_back():
    def both(remote):
        seen = []
        for thread in (1, 2):
            remote.ask(f"Hg{thread}")
            seen.append(remote.ask("g"))
        return seen

    with reversible_smp_guest() as guest:
        remote = connect(guest)
        there = symbol_table()["other_main"]
        assert remote.ask(f"Z0,{there:x},1") == "OK"
        assert remote.ask("vCont;c") == "T05thread:02;swbreak:;"
        assert remote.ask(f"z0,{there:x},1") == "OK"
        seen = []
        for turn in range(60):
            thread = 1 + turn % 3 // 2  # twice the first CPU, once the other, while the one that is not meant is held
            seen.append((thread, both(remote)))
            assert remote.ask(f"vCont;s:{thread}") == f"T05thread:0{thread};"
        for thread, registers in reversed(seen):
            assert remote.ask(f"Hc{thread}") == "OK"
            assert remote.ask("bs") == f"T05thread:0{thread};"
            assert both(remote) == registers
        # The other one, which ran before, is taken back past what this one did since.
        assert remote.ask("Hc1") == "OK"
        assert remote.ask("bs") == "T05thread:01;"


def test_a_step_of_a_cpu_that_does_not_run_comes_to_the_present(tmp_path):
    """Not one instruction at a time: tens of millions of the other CPU's lie between."""
    (tmp_path / "bios").write_bytes((b"\xf4" * 0xfff0 + b"\xeb\xfe").ljust(0x10000, b"\xf4"))  # jmp to itself
    with Debuggee("-bios", str(tmp_path / "bios"), "-m", "16", "-nodefaults", "-smp", "2", *REPEATABLE) as guest:
        remote = connect(guest)
        remote.send("vCont;c")
        time.sleep(0.5)
        remote.interrupt()
        assert remote.ask("bc") == BEGIN
        remote.send("vCont;s:2")
        assert remote.interrupt().startswith("T02"), "it stands in the present and waits for its start"
        assert remote.ask("bs") == ONE


def test_what_is_watched_all_the_time_is_found_near(tmp_path):
    """The guest writes there in each round of its loop, some ten million times before it is stopped."""
    loop = bytes([0x40, 0xa3, 0, 0x10, 0xeb, 0xfa])  # inc ax; mov [0x1000],ax
    image = (b"\xf4" * 0xff00 + loop).ljust(0xfff0, b"\xf4") + b"\xe9\x0d\xff"
    (tmp_path / "bios").write_bytes(image.ljust(0x10000, b"\xf4"))
    with Debuggee("-bios", str(tmp_path / "bios"), "-m", "16", "-nodefaults", *REPEATABLE) as guest:
        remote = connect(guest)
        remote.send("vCont;c")
        time.sleep(0.3)
        remote.interrupt()
        assert remote.ask("Z2,1000,2") == "OK"
        written = int.from_bytes(bytes.fromhex(remote.ask("m1000,2")), "little")
        for before in range(1, 4):
            assert remote.ask("bc") == "T05thread:01;watch:1000;"
            now = int.from_bytes(bytes.fromhex(remote.ask("m1000,2")), "little")
            assert now == (written - before) & 0xffff, "before the instruction that writes"


def symbol_table():
    """Of the bare-metal guest."""
    lines = subprocess.run(["nm", str(GUEST)], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return {name: int(value, 16) for value, _, name in (line.split() for line in lines if len(line.split()) == 3)}


@pytest.fixture(name="symbols", scope="module")
def make_symbols(tmp_path_factory):
    if not (LINUX / "vmlinuz").exists():
        pytest.skip("build/guest was not made")
    path = tmp_path_factory.mktemp("symbols") / "vmlinux"
    kernel_symbols.make(LINUX / "vmlinuz", path)
    return path


# Steps into interrupts, and back: how many moments were not the same.
THERE_AND_BACK = ["python",
                  "def registers(): return gdb.execute('info registers general', to_string=True)",
                  "seen = [registers()]",
                  "for i in range(40):",
                  "    gdb.execute('stepi', to_string=True)",
                  "    seen.append(registers())",
                  "differences = 0",
                  "for there in reversed(seen[:-1]):",
                  "    gdb.execute('reverse-stepi', to_string=True)",
                  "    differences += registers() != there",
                  "print('differences:', differences, 'of', len(set(seen)))",
                  "end"]


@pytest.mark.parametrize("cpus", [1, 2])
def test_gdb_goes_back_in_linux(symbols, tmp_path, cpus):
    console = tmp_path / "console"
    with Debuggee("-m", "128", "-smp", str(cpus), "-kernel", str(LINUX / "vmlinuz"), "-append",
                  "console=ttyS0 nokaslr panic=-1", "-serial", f"file:{console}", *REPEATABLE) as guest:
        text = guest.script(
            "hbreak start_kernel", "continue", "set $first = $sp", "delete",
            "watch *(int*)&system_state", "continue", "p *(int*)&system_state", "reverse-continue",
            "p *(int*)&system_state", "stepi", "p *(int*)&system_state", "delete",
            "break driver_init", "continue", "set $there = $sp", "maint packet Qqemu.sstep=1",
            *THERE_AND_BACK, "p $sp == $there",
            "delete", "hbreak start_kernel", "reverse-continue", "p $sp == $first", "delete",
            "break driver_init", "continue", "p $sp == $there", "monitor info replay", "delete", "detach",
            symbols=symbols, timeout=400)
        assert re.findall(r"\$\d+ = (\d+)", text) == ["1", "0", "1", "1", "1", "1"], text
        assert "differences: 0 of" in text
        assert guest.process.wait(200) == 0
    before = console.read_bytes()
    assert b"VFS: Unable to mount root fs" in before
    console.unlink()
    undisturbed = emu.run("-m", "128", "-smp", str(cpus), "-kernel", str(LINUX / "vmlinuz"), "-append",
                          "console=ttyS0 nokaslr panic=-1", "-serial", f"file:{console}", "-display", "none",
                          "-monitor", "none", "-no-reboot", *REPEATABLE, timeout=200)
    assert undisturbed.returncode == 0
    assert console.read_bytes().splitlines()[:100] == before.splitlines()[:100]


@pytest.mark.parametrize("cpus", [1, 2])
def test_gdb_goes_back_through_programs(symbols, cpus):
    """Page faults, system calls and task switches of the first programs: to where they ended, and forward again."""
    with Debuggee("-m", "192", "-smp", str(cpus), "-kernel", str(LINUX / "vmlinuz"), "-initrd",
                  str(LINUX / "initrd.cpio"), "-append", "console=ttyS0 nokaslr panic=-1 inventory", "-serial", "null",
                  *REPEATABLE) as guest:
        there = ["p $rsp", "p $rdi", "p $rbx"]
        text = guest.script("hbreak run_init_process", "continue", "delete", "break do_exit",
                            "continue", *there, "continue", *there, "continue", *there, "monitor info replay",
                            "reverse-continue", *there, "reverse-continue", *there, "reverse-stepi", "stepi", *there,
                            "continue", *there, "delete", "hbreak run_init_process", "reverse-continue", "bt 1",
                            symbols=symbols, timeout=200)
        values = [value.split(" = ")[1] for value in re.findall(r"^\$\d+ = .*", text, re.MULTILINE)]
        first, second, third = values[0:3], values[3:6], values[6:9]
        assert first != second != third
        assert values[9:] == second + first + first + second, text
        assert re.search(r"#0 .*run_init_process \(\)\n[^\n]*\Z", text.rstrip()), text
