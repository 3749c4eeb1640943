# SPDX-License-Identifier: Apache-2.0
"""The monitor for programs, on the real program."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

import emu
from gdb_remote import Remote
from qmp import Client, Machine


def test_status_follows_stop_and_cont():
    with Machine("-S") as qmp:
        assert qmp.command("query-status") == {"running": False, "singlestep": False, "status": "prelaunch"}
        qmp.command("cont")
        qmp.wait_event("RESUME")
        qmp.command("stop")
        qmp.wait_event("STOP")
        assert qmp.command("query-status")["status"] == "paused"
        qmp.command("system_reset")
        assert qmp.wait_event("RESET")["data"] == {"guest": False, "reason": "host-qmp-system-reset"}


def test_quit_answers_then_tells_then_ends():
    machine = Machine("-S")
    with machine as qmp:
        qmp.send('{"execute":"quit","id":7}')
        assert qmp.read() == {"return": {}, "id": 7}
        event = qmp.read()
        assert event["event"] == "SHUTDOWN" and event["data"] == {"guest": False, "reason": "host-qmp-quit"}
        assert machine.process.wait(30) == 0


def test_a_signal_is_told_as_the_reason():
    machine = Machine("-S")
    with machine as qmp:
        machine.process.send_signal(signal.SIGTERM)
        assert qmp.wait_event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-signal"}
        assert machine.process.wait(30) == 0


def test_every_listed_command_is_in_the_schema_and_unknown_ones_are_not_found():
    with Machine("-machine", "none") as qmp:
        schema = {entity["name"]: entity for entity in qmp.command("query-qmp-schema")}
        for command in qmp.command("query-commands"):
            assert schema[command["name"]]["meta-type"] == "command"
        error = qmp.refused("migrate", uri="x")
        assert error == {"class": "CommandNotFound", "desc": "The command migrate has not been found"}


def test_oob_commands_are_answered_while_others_wait():
    with Machine("-S", enable=("oob",)) as qmp:
        qmp.send('{"exec-oob":"query-yank","id":1}')
        assert qmp.answer() == {"return": [{"type": "chardev", "id": "compat_monitor0"}], "id": 1}
        qmp.send('{"exec-oob":"query-status","id":2}')
        assert "does not support OOB" in qmp.answer()["error"]["desc"]


def test_descriptors_arrive_with_their_command():
    with Machine("-S") as qmp, tempfile.TemporaryFile() as file:
        assert "SCM_RIGHTS" in qmp.refused("getfd", fdname="x")["desc"]
        qmp.command("getfd", fds=[file.fileno()], fdname="x")
        qmp.command("dump-guest-memory", paging=False, protocol="fd:x")
        assert file.seek(0) == 0 and file.read(4) == b"\x7fELF"
        added = qmp.command("add-fd", fds=[file.fileno()], opaque="o")
        assert qmp.command("query-fdsets") == [
            {"fdset-id": added["fdset-id"], "fds": [{"fd": added["fd"], "opaque": "o"}]}]
        qmp.command("pmemsave", val=0, size=16, filename=f"/dev/fdset/{added['fdset-id']}")
        qmp.command("remove-fd", fdset_id=added["fdset-id"])


def test_an_inherited_descriptor_may_be_in_two_sets():
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        path, fd = os.path.join(folder, "qmp"), file.fileno()
        process = subprocess.Popen([emu.BINARY, "-S", "-display", "none", "-m", "16", "-qmp",
                                    f"unix:{path},server=on,wait=off",
                                    "-add-fd", f"fd={fd},set=1", "-add-fd", f"fd={fd},set=2,opaque=o"], pass_fds=[fd])
        qmp = Client.connect(path)
        first, second = qmp.command("query-fdsets")
        assert (first["fdset-id"], second["fdset-id"], second["fds"][0]["opaque"]) == (1, 2, "o")
        assert first["fds"][0]["fd"] != second["fds"][0]["fd"]
        qmp.command("remove-fd", fdset_id=1)
        qmp.command("pmemsave", val=0, size=16, filename="/dev/fdset/2")
        assert os.fstat(fd).st_size == 16
        qmp.command("quit")
        assert process.wait(30) == 0


def test_networks_announce_as_often_as_asked():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as switch:
        switch.bind(("127.0.0.1", 0))
        switch.settimeout(0.5)
        wire = "dgram,id=n,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=inet,remote.host=127.0.0.1"
        with Machine("-S", "-netdev", f"{wire},remote.port={switch.getsockname()[1]}", "-device",
                     "e1000,netdev=n") as qmp:
            for rounds in (0, 1, 2):
                qmp.command("announce-self", initial=10, max=10, rounds=rounds, step=0)
                for _ in range(rounds):
                    assert switch.recv(2000)[12:14] == b"\x80\x35"
                try:
                    assert not switch.recv(2000)
                except TimeoutError:
                    pass


def test_dump_is_an_elf_core_with_all_memory():
    with Machine("-S", "-m", "16") as qmp, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "core")
        qmp.command("dump-guest-memory", paging=False, protocol=f"file:{path}")
        with open(path, "rb") as core:
            data = core.read()
    kind, machine = struct.unpack_from("<HH", data, 16)
    count = struct.unpack_from("<H", data, 56)[0]
    assert (kind, machine) == (4, 62)
    loads = 0
    for i in range(count):
        p_type, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", data, 64 + 56 * i)
        assert offset + size <= len(data)
        loads += size if p_type == 1 else 0
    assert loads >= 15 << 20


def test_several_monitors_share_events():
    with tempfile.TemporaryDirectory() as folder:
        second = os.path.join(folder, "second")
        with Machine("-S", "-chardev", f"socket,id=m,path={second},server=on,wait=off", "-mon",
                     "chardev=m,mode=control") as qmp:
            other = Client.connect(second)
            qmp.command("cont")
            assert other.wait_event("RESUME")["timestamp"]["seconds"] > 0
            qmp.wait_event("RESUME")


def test_the_emulator_connects_as_client_too():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "listener")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen([emu.BINARY, "-display", "none", "-vga", "none", "-machine", "none", "-chardev",
                                    f"socket,id=mon,path={path}", "-mon", "chardev=mon,mode=control"])
        qmp = Client(listener.accept()[0])
        qmp.command("quit")
        assert process.wait(30) == 0


def test_a_listening_socket_may_be_inherited():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "inherited")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen([emu.BINARY, "-display", "none", "-machine", "none", "-chardev",
                                    f"socket,id=mon,fd={listener.fileno()},server=on,wait=off", "-mon",
                                    "chardev=mon,id=monitor,mode=control"], pass_fds=[listener.fileno()])
        qmp = Client.connect(path)
        qmp.command("quit")
        assert process.wait(30) == 0


def test_broken_input_does_not_end_the_session():
    with Machine("-machine", "none") as qmp:
        for broken in (b'{"execute":}\n', b"}}}\n", b"\xff\xff", b'{"a": "\n', b"[" * 5000 + b"\xff"):
            qmp.send(broken)
        qmp.send('{"execute":"query-status","id":"end"}')
        while qmp.answer().get("id") != "end":
            pass


def test_objects_chardevs_and_their_properties():
    with Machine("-S", "-object", "memory-backend-ram,id=ram,size=16M", "-machine", "pc,memory-backend=ram") as qmp:
        assert qmp.command("query-memdev")[0]["id"] == "ram"
        assert qmp.command("qom-get", path="/objects/ram", property="size") == 16 << 20
        qmp.command("object-add", qom_type="secret", id="s", data="password")
        assert qmp.command("qom-get", path="/objects/s", property="data") == ""
        qmp.command("object-del", id="s")
        pty = qmp.command("chardev-add", id="p", backend={"type": "pty", "data": {}})["pty"]
        assert {"label": "p", "filename": f"pty:{pty}", "frontend-open": False} in qmp.command("query-chardev")
        qmp.command("chardev-remove", id="p")
        assert "busy" in qmp.refused("chardev-remove", id="compat_monitor0")["desc"]


def test_cpus_have_objects_with_their_features():
    with Machine("-S", "-smp", "2", "-cpu", "qemu64,+avx512f") as qmp:
        cpus = qmp.command("query-cpus-fast")
        assert [cpu["cpu-index"] for cpu in cpus] == [0, 1]
        path = cpus[1]["qom-path"]
        names = {p["name"]: p["type"] for p in qmp.command("qom-list", path=path)}
        assert names["sse2"] == "bool"
        assert qmp.command("qom-get", path=path, property="sse2") is True
        assert qmp.command("qom-get", path=path, property="type") == "qemu64-x86_64-cpu"
        assert isinstance(qmp.command("qom-get", path=path, property="unavailable-features"), list)
        threads = [cpu["thread-id"] for cpu in cpus]
        assert len(set(threads)) == 2 and min(threads) > 0  # clients place them before they start the machine
        qmp.command("cont")
        qmp.command("stop")
        assert [cpu["thread-id"] for cpu in qmp.command("query-cpus-fast")] == threads


def test_preconfig_waits():
    with Machine("-preconfig") as qmp:
        assert "initialization" in qmp.refused("cont")["desc"]
        qmp.command("x-exit-preconfig")
        qmp.wait_event("RESUME")


def test_people_and_debuggers_wait_for_preconfig_too():
    with tempfile.TemporaryDirectory() as folder:
        people, debugger = os.path.join(folder, "m"), os.path.join(folder, "g")
        with Machine("-preconfig", "-monitor", f"unix:{people},server=on,wait=off", "-gdb", f"unix:{debugger}") as qmp:
            monitor = emu.Connection(people)
            monitor.wait_for("(qemu) ")
            monitor.type("cont\n")
            monitor.wait_for("not available with -preconfig")
            assert Remote(debugger).ask("vCont;c") == "E22"
            assert qmp.command("query-status")["status"] == "prelaunch"
            monitor.type("exit_preconfig\n")
            qmp.wait_event("RESUME")


def test_keys_nmi_and_actions():
    with Machine("-S") as qmp:
        qmp.command("send-key", keys=[{"type": "qcode", "data": "ctrl"}, {"type": "number", "data": 0xd3}], hold_time=1)
        assert "zzz" in qmp.refused("send-key", keys=[{"type": "qcode", "data": "zzz"}])["desc"]
        qmp.command("inject-nmi")
        qmp.command("set-action", reboot="shutdown")
        qmp.command("system_reset")
        assert qmp.wait_event("SHUTDOWN")["data"]["reason"] == "host-qmp-system-reset"


def test_libvirts_probe_as_it_types_it():
    """The line and the commands that libvirt 9.0 sends, in its order."""
    with tempfile.TemporaryDirectory() as folder:
        path, pidfile = os.path.join(folder, "s"), os.path.join(folder, "pid")
        started = subprocess.run([emu.BINARY, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
                                  "none,accel=kvm:tcg", "-qmp", f"unix:{path},server=on,wait=off", "-pidfile", pidfile,
                                  "-daemonize"], capture_output=True, text=True, timeout=30)
        assert started.returncode == 0, started.stderr
        with open(pidfile) as file:
            pid = int(file.read())
        try:
            qmp = Client.connect(path)
            assert qmp.command("query-version")["qemu"]["major"] == 7
            assert qmp.command("query-target") == {"arch": "x86_64"}
            commands = {command["name"] for command in qmp.command("query-commands")}
            assert qmp.command("query-kvm") == {"enabled": os.access("/dev/kvm", os.W_OK), "present": True}
            types = {entry["name"] for entry in qmp.command("qom-list-types")}
            assert "tcg-accel" in types and "sev-guest" not in types and "sgx-epc" not in types
            assert qmp.refused("device-list-properties", typename="vfio-pci")["class"] == "DeviceNotFound"
            assert any(p["name"] == "chardev" for p in qmp.command("device-list-properties", typename="isa-serial"))
            qmp.command("qom-list-properties", typename="max-x86_64-cpu")
            machines = {machine["name"]: machine for machine in qmp.command("query-machines")}
            assert machines["pc-i440fx-7.2"]["default-ram-id"] == "pc.ram" and machines["pc-i440fx-7.2"]["is-default"]
            assert machines["pc-q35-7.2"]["default-cpu-type"] == "qemu64-x86_64-cpu"
            qmp.command("qom-list-properties", typename="none-machine")
            for command in ("query-cpu-definitions", "query-tpm-models", "query-tpm-types",
                            "query-command-line-options", "query-migrate-capabilities"):
                qmp.command(command)
            assert "query-sev-capabilities" not in commands
            model = {"name": "max", "props": {"migratable": False}}
            assert qmp.command("query-cpu-model-expansion", type="static",
                               model=model)["model"]["props"]["sse2"] is True
            if os.access("/dev/kvm", os.R_OK | os.W_OK):
                host = qmp.command("query-cpu-model-expansion", type="static", model={"name": "host"})["model"]
                assert host["props"]["sse2"] is True
            else:
                assert "host" in qmp.refused("query-cpu-model-expansion", type="static", model={"name": "host"})["desc"]
        finally:
            os.kill(pid, signal.SIGTERM)
            for _ in range(500):
                if not os.path.exists(pidfile):
                    break
                time.sleep(0.02)
        assert not os.path.exists(pidfile)


def test_pretty_monitor_spreads_its_answers():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "p")
        process = subprocess.Popen([emu.BINARY, "-display", "none", "-machine", "none", "-qmp-pretty",
                                    f"unix:{path},server=on,wait=off"])
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                connection.connect(path)
                break
            except OSError:
                time.sleep(0.02)
        text = b""
        while not text.endswith(b"\n}\r\n"):
            text += connection.recv(4096)
        assert json.loads(text)["QMP"] and b'\n    "QMP": {' in text
        process.terminate()
        assert process.wait(30) == 0


def test_manual_lists_exactly_the_commands_and_events_there_are():
    commands, events = (emu.SOURCE / "docs/user/qmp.md").read_text().split("## Commands")[1].split("## Events")
    listed = [line[3:-1] for line in commands.splitlines() if line.startswith("- `")]
    with Machine("-machine", "none") as qmp:
        assert listed == sorted(command["name"] for command in qmp.command("query-commands"))
        told = {entity["name"] for entity in qmp.command("query-qmp-schema") if entity["meta-type"] == "event"}
    assert set(re.findall(r"`([A-Z_]{3,})`", events)) == told
