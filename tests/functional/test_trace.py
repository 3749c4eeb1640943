# SPDX-License-Identifier: Apache-2.0
"""Trace events: chosen by pattern, file and monitor, and written where asked."""
import os
import re
import subprocess

import pytest

import emu
from qmp import Machine

NONE = ("-display", "none", "-machine", "none", "-monitor", "stdio")


def events():
    return emu.run("-trace", "help").stdout.split()


def test_help_lists_each_event_once():
    names = events()
    assert names == sorted(set(names))
    assert {"memory_region_ops_read", "timer_fire", "translate_block", "vcpu_halt", "chr_write",
            "monitor_qmp_cmd"} <= set(names)
    assert emu.run("-d", "trace:help").stdout.split() == names


def test_nothing_is_written_while_all_are_off(tmp_path):
    log = tmp_path / "log"
    emu.monitor(["info status"], "-D", str(log), "-d", "guest_errors")
    assert log.read_text() == ""


def test_patterns_choose(tmp_path):
    log = tmp_path / "log"
    emu.monitor(["system_reset", "cont"], "-trace", f"enable=*,file={log}", "-trace", "-chr_*")
    seen = {line.split()[0] for line in log.read_text().splitlines()}
    assert {"runstate_set", "system_reset"} <= seen
    assert seen <= set(events()) and not any(name.startswith("chr_") for name in seen)


def test_patterns_come_from_a_file(tmp_path):
    (tmp_path / "events").write_text("# comment\n\n system_reset \nrunstate_*\n-runstate_set\n")
    log = tmp_path / "log"
    emu.monitor(["cont"], "-trace", f"events={tmp_path}/events", "-D", str(log))
    assert {line.split()[0] for line in log.read_text().splitlines()} == {"system_reset"}


def test_logged_items_may_name_events(tmp_path):
    log = tmp_path / "log"
    emu.monitor(["cont"], "-d", "guest_errors,trace:runstate_set", "-D", str(log))
    assert "runstate_set from prelaunch to running" in log.read_text()


def test_an_unknown_event_is_a_warning_and_help_comes_with_it():
    result = emu.run(*NONE, "-trace", "timer_fir", stdin="quit\n")
    assert result.returncode == 0
    assert "trace event 'timer_fir' does not exist" in result.stderr and "timer_fire" in result.stderr


def test_wrong_options_are_refused():
    assert "no/such" in emu.refused("-trace", "events=/no/such/file", *NONE)
    assert "there are log, ftrace and usdt" in emu.refused("-trace", "to=paper", *NONE)
    assert "colour" in emu.refused("-trace", "colour=red", *NONE)


def test_people_switch_events():
    text = emu.monitor(["info trace-events timer_fire", "trace-event timer_* on", "info trace-events timer_fire",
                        "trace-event nonsense on", "trace-event timer_fire maybe", "info trace-events nonsense"],
                       "-machine", "none", "-D", os.devnull)
    assert text.index("timer_fire : state 0") < text.index("timer_fire : state 1")
    assert text.count('unknown event "nonsense"') == 2
    assert "'on' or 'off'" in text


def test_programs_switch_events(tmp_path):
    log = tmp_path / "log"
    with Machine("-machine", "none", "-D", str(log)) as qmp:
        off = {"name": "monitor_qmp_cmd", "state": "disabled", "vcpu": False}
        assert qmp.command("trace-event-get-state", name="monitor_qmp_cmd") == [off]
        qmp.command("trace-event-set-state", name="monitor_*", enable=True)
        assert qmp.command("trace-event-get-state", name="monitor_qmp_c*") == [{**off, "state": "enabled"}]
        qmp.command("query-status")
        qmp.command("trace-event-set-state", name="*", enable=False)
        qmp.command("query-name")
        assert qmp.refused("trace-event-get-state", name="x")["desc"] == 'unknown event "x"'
        assert qmp.refused("trace-event-set-state", name="x", enable=True)["desc"] == 'unknown event "x"'
        assert "vCPU" in qmp.refused("trace-event-get-state", name="vcpu_halt", vcpu=0)["desc"]
        assert qmp.command("trace-event-get-state", name="no*thing") == []
    text = log.read_text()
    assert "command query-status" in text and "query-name" not in text


def test_devices_and_cpus_are_seen(tmp_path):
    """A guest that writes a port and halts shows in the trace."""
    log = tmp_path / "log"
    guest = os.path.join(os.path.dirname(emu.BINARY), "tests/guests/baremetal/hello64.elf")
    result = emu.run("-display", "none", "-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                     "-kernel",
                     guest, "-trace", f"*,file={log}")
    assert result.returncode == 67
    text = log.read_text()
    assert re.search(r"^memory_region_ops_write region debugcon offset 0x0 size 1 value 0x", text, re.M)
    assert re.search(r"^translate_block vcpu 0 pc 0x[0-9a-f]+ ", text, re.M)
    assert re.search(r"^chr_write id debugcon ", text, re.M)


def test_the_kernels_trace_takes_events_or_is_missed():
    markers = ("/sys/kernel/tracing/trace_marker", "/sys/kernel/debug/tracing/trace_marker")
    marker = next((path for path in markers if os.path.exists(path)), markers[0])
    result = emu.run(*NONE, "-trace", "enable=system_reset,to=ftrace", stdin="quit\n")
    if os.access(marker, os.W_OK):
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1 and "trace_marker" in result.stderr


def test_the_static_probe_is_in_the_program():
    if not os.path.exists("/usr/include/x86_64-linux-gnu/sys/sdt.h"):
        pytest.skip("systemtap-sdt-dev is not installed")
    notes = subprocess.run(["readelf", "-n", emu.BINARY], capture_output=True, text=True).stdout
    assert "system_emu" in notes and "Name: event" in notes
    assert emu.run(*NONE, "-trace", "enable=*,to=usdt", stdin="quit\n").returncode == 0
