# SPDX-License-Identifier: Apache-2.0
"""stress-ng, fio and iperf3 at once on four CPUs of a Debian guest: ctest label debian. EMU_STRESS_SECONDS: 600."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

import emu
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

SECONDS = int(os.environ.get("EMU_STRESS_SECONDS", "600"))
MIB = 1 << 20
GROWTH = 16 * MIB  # after the first minute
TROUBLE = r"BUG:|WARNING:|Oops|Call Trace|I/O error|soft lockup|hung task|NETDEV WATCHDOG|rcu_.*stall|Out of memory"

# The guest's own memory is all there from the start, so that growth is the program's.
MEMORY = ["-object", "memory-backend-ram,id=ram,size=1G,prealloc=on", "-machine", "q35,memory-backend=ram"]
STRESS = (f"stress-ng --cpu 2 --vm 1 --vm-bytes 96M --switch 1 --fork 1 --verify --metrics-brief --timeout {SECONDS}s "
          ">/tmp/stress 2>&1; echo $? >/tmp/stress.status")
FIO = ("fio --name=mix --filename=/dev/vdb --direct=1 --ioengine=libaio --rw=randrw --bsrange=4k-64k --iodepth=32 "
       f"--numjobs=2 --size=96m --offset_increment=128m --time_based --runtime={SECONDS} "
       "--verify=crc32c --verify_fatal=1 --minimal "
       ">/tmp/fio 2>&1; echo $? >/tmp/fio.status")


def iperf(port):
    return (f"iperf3 -c {debian_guest.HOST} -p {port} --bidir -t {SECONDS} >/tmp/iperf 2>&1; "
            "echo $? >/tmp/iperf.status")


def resident(pid):
    """Bytes of the process's own share of memory."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"Pss:\s+(\d+) kB", text)[1]) << 10


def watch(guest):
    """The program's memory after a minute, and the most of it later, until the load ends."""
    begin = time.monotonic()
    first, most = 0, 0
    while time.monotonic() < begin + SECONDS:
        time.sleep(5)
        now = resident(guest.process.pid)
        if time.monotonic() < begin + 60:
            first = max(first, now)
        most = max(most, now)
    return first, most


def test_everything_at_once(tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    if shutil.which("iperf3") is None:
        pytest.skip("no iperf3: apt-get install iperf3")
    data = tmp_path / "data"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=full", str(data), "256M"],
                   check=True)
    port = debian_guest.free_port()
    arguments = [*MEMORY, "-cpu", "max", "-smp", "4", *debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk"),
                 *debian_guest.disk(data, "virtio-blk", "data", "qcow2"),
                 "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"]
    with subprocess.Popen(["iperf3", "-s", "-p", str(port)], stdout=subprocess.DEVNULL) as server, \
            debian_guest.Console(emu.BINARY, tmp_path, *arguments) as guest:
        try:
            guest.login(900)
            guest.run("systemctl is-system-running --wait || true", 600)
            guest.run("for i in $(seq 60); do ip -4 addr show | grep -q 'inet 10[.]0[.]2' && break; sleep 1; done")
            guest.run("dmesg -C")
            for command in (STRESS, FIO, iperf(port)):
                guest.run(f"sh -c '({command}) </dev/null >/dev/null 2>&1 &'")
            first, most = watch(guest)
            guest.run("for i in $(seq 240); do [ $(ls /tmp/*.status | wc -l) = 3 ] && break; sleep 1; done", 600)
            for name in ("stress", "fio", "iperf"):
                assert guest.run(f"cat /tmp/{name}.status") == "0", name + ": " + guest.run(f"tail -n 20 /tmp/{name}")
            assert "fail" not in guest.run("cat /tmp/stress")
            trouble = [line for line in guest.run("dmesg").splitlines() if re.search(TROUBLE, line)]
            assert not trouble, trouble
            assert guest.run("systemctl --failed --no-legend --plain") == ""
            guest.power_off(600)
        finally:
            server.kill()
    print(f"memory after the first minute {first / MIB:.1f} MiB, at most {most / MIB:.1f} MiB")
    if SECONDS > 60:
        assert most - first < GROWTH, f"{(most - first) / MIB:.1f} MiB more than in the first minute"
