# SPDX-License-Identifier: Apache-2.0
"""-netdev user,smb=FOLDER: Samba's client, at a TAP interface on the same hub, plays the guest."""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import emu
from qmp import Machine

NEEDS_SAMBA = pytest.mark.skipif(
    not (shutil.which("smbclient") and os.access("/usr/sbin/smbd", os.X_OK) and shutil.which("unshare")
         and shutil.which("ip") and os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)),
    reason="needs root, /dev/net/tun, unshare, ip, and the packages samba and smbclient")

# What the guest's side runs: in a network of its own, whose only way out is the interface.
AS_GUEST = r"""
ip link set lo up
"$EMU" -display none -machine none -S -monitor none -qmp "unix:$WORK/qmp,server=on,wait=off" $OPTIONS \
  -netdev "user,id=u,smb=$SHARED$MORE" -netdev tap,id=t,ifname=guest0,script=no,downscript=no \
  -netdev hubport,id=a,hubid=0,netdev=u -netdev hubport,id=b,hubid=0,netdev=t &
emu=$!
trap 'kill $emu; wait $emu' EXIT
until [ -S "$WORK/qmp" ]; do kill -0 $emu || exit 9; sleep 0.05; done
ip addr add 10.0.2.15/24 dev guest0 && ip link set guest0 up
$BEFORE || exit 8
smbclient "//${SERVER:-10.0.2.4}/qemu" -N -p "${PORT:-445}" -c "$COMMANDS"
status=$?
ls "$TMPDIR" >"$WORK/temporary"
exit $status
"""


def as_guest(tmp_path, commands, **settings):
    """Runs smbclient's commands in the guest's place and gives what it said; the share is tmp_path/shared."""
    for name in ("shared", "tmp", "guest"):
        (tmp_path / name).mkdir(exist_ok=True)
    environment = {**os.environ, "EMU": os.path.abspath(emu.BINARY), "WORK": str(tmp_path), "COMMANDS": commands,
                   "SHARED": str(tmp_path / "shared"), "TMPDIR": str(tmp_path / "tmp"), "MORE": "",
                   "OPTIONS": "", "BEFORE": "true", **settings}
    result = subprocess.run(["unshare", "-n", "sh", "-c", AS_GUEST], cwd=tmp_path / "guest", env=environment,
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result
    return result.stdout


def states(tmp_path):
    """smbd's private folders."""
    return [name for name in os.listdir(tmp_path / "tmp") if name.startswith("system-emu-smb.")]


def processes():
    """The command lines of all that run."""
    lines = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            pass
    return lines


@NEEDS_SAMBA
@pytest.mark.parametrize("port", ["445", "139"])
def test_a_guest_reads_and_writes_the_folder(tmp_path, port):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/hello").write_text("from the host\n" * 9999)
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest/answer").write_text("from the guest\n" * 9999)
    said = as_guest(tmp_path, "ls; get hello; put answer; mkdir new; del hello", PORT=port)
    assert "hello" in said
    assert (tmp_path / "guest/hello").read_text() == "from the host\n" * 9999
    assert (tmp_path / "shared/answer").read_text() == "from the guest\n" * 9999
    assert sorted(os.listdir(tmp_path / "shared")) == ["answer", "new"]
    assert (tmp_path / "shared/answer").stat().st_uid == os.geteuid()
    assert "system-emu-smb." in (tmp_path / "temporary").read_text()
    assert states(tmp_path) == []


@NEEDS_SAMBA
def test_what_smbd_started_to_list_the_shares_ends_with_it(tmp_path):
    as_guest(tmp_path, "ls", BEFORE="smbclient -L //10.0.2.4 -N")
    assert states(tmp_path) == []
    deadline = time.monotonic() + 20
    while running := [line for line in processes() if str(tmp_path / "tmp") in line]:
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


@NEEDS_SAMBA
def test_the_servers_address_can_be_chosen(tmp_path):
    as_guest(tmp_path, "ls", SERVER="10.0.2.77", MORE=",smbserver=10.0.2.77")


@NEEDS_SAMBA
def test_a_guest_is_served_inside_a_sandbox(tmp_path):
    as_guest(tmp_path, "mkdir new; ls", OPTIONS="-sandbox on,elevateprivileges=children,resourcecontrol=deny")
    assert os.listdir(tmp_path / "shared") == ["new"]


@pytest.mark.parametrize("sandbox, word", [("spawn=deny", "spawn"), ("elevateprivileges=deny", "elevateprivileges")])
def test_a_sandbox_that_would_end_smbd_is_named(tmp_path, sandbox, word):
    for mode in (["--dry-run"], ["--timeout", "20"]):
        said = emu.refused(*mode, "-display", "none", "-machine", "none", "-sandbox", f"on,{sandbox}", "-netdev",
                           f"user,id=u,smb={tmp_path}")
        assert f"-sandbox {word}=deny" in said and "smb" in said, said


@pytest.fixture
def fake_smbd(tmp_path, monkeypatch):
    """Something by smbd's name in PATH, and a folder for temporary files."""
    for name in ("bin", "tmp", "shared"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/smbd").write_text("#!/bin/sh\n")
    (tmp_path / "bin/smbd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


@pytest.mark.parametrize("mode", [["--dry-run"], ["-S", "--timeout", "1"], ["-S", "-monitor", "stdio"]])
def test_nothing_stays_behind(fake_smbd, mode):
    result = emu.run(*mode, "-display", "none", "-machine", "pc", "-nic", f"user,smb={fake_smbd}/shared",
                     stdin="quit\n")
    assert "smb" not in result.stderr, result.stderr
    assert states(fake_smbd) == []


def test_a_monitor_adds_and_removes_it(fake_smbd):
    with Machine("-machine", "none") as qmp:
        qmp.command("netdev_add", type="user", id="u", smb=str(fake_smbd / "shared"))
        assert len(states(fake_smbd)) == 1
        qmp.command("netdev_del", id="u")
        assert states(fake_smbd) == []
