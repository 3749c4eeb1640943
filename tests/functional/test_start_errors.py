# SPDX-License-Identifier: Apache-2.0
"""What cannot be opened at start is named in one sentence with what helps; a dry run says the same
without opening it."""
import os
import socket
import stat
import subprocess

import pytest

import emu

MACHINE = ("-machine", "none", "-display", "none")
IMG = os.path.join(os.path.dirname(os.path.abspath(emu.BINARY)), "system-emu-img")


def said_both_ways(*words, **popen):
    """What a start says, which a dry run must say word for word."""
    said = []
    for mode in ("--dry-run", "-S"):
        result = subprocess.run([emu.BINARY, mode, "--timeout", "20", "-display", "none", *words], capture_output=True,
                                text=True,
                                timeout=60, **popen)
        assert result.returncode == 1, (mode, result.returncode, result.stderr)
        assert result.stderr.startswith("system-emu: "), result.stderr
        assert len(result.stderr.strip().splitlines()) <= 2, result.stderr
        said.append(result.stderr)
    assert said[0] == said[1]
    return said[0]


def accepted_dry(*words):
    result = emu.run("--dry-run", *MACHINE, *words)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.fixture
def tcp_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


SERVERS = [
    "-qmp tcp:127.0.0.1:{port},server=on,wait=off", "-monitor tcp:127.0.0.1:{port},server=on,wait=off",
    "-gdb tcp:127.0.0.1:{port}",
    "-serial telnet:127.0.0.1:{port},server=on,wait=off -machine pc",
    "-chardev socket,id=c,host=127.0.0.1,port={port},server=on,wait=off",
    "-qtest tcp:127.0.0.1:{port},server=on,wait=off",
    "-chardev socket,id=c,host=127.0.0.1,port={port},to={port},server=on,wait=off",
    "-netdev stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
    "-netdev socket,id=n,listen=127.0.0.1:{port}",
    "-netdev user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22", "-nic user,hostfwd=tcp:127.0.0.1:{port}-:22 -machine pc",
    "-netdev user,id=n,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:{port},,server=on,,wait=off",
]


@pytest.mark.parametrize("line", SERVERS)
def test_a_port_in_use_is_named(line, tcp_port):
    words = line.format(port=tcp_port).split()
    text = said_both_ways(*([] if "-machine" in words else ["-machine", "none"]), *words)
    assert "in use" in text and str(tcp_port) in text, text


def test_who_asked_for_a_stream_is_named(tmp_path, tcp_port):
    taken = f"tcp:127.0.0.1:{tcp_port},server=on,wait=off"
    for option in ("-qmp", "-monitor", "-gdb", "-qtest"):
        assert f"system-emu: {option}: " in said_both_ways("-machine", "none", option, taken)
    assert "system-emu: -serial: " in said_both_ways("-machine", "pc", "-serial", taken)
    assert "system-emu: -chardev: chardev 'c': " in said_both_ways(
        "-machine", "none", "-chardev", f"socket,id=c,host=127.0.0.1,port={tcp_port},server=on")
    text = said_both_ways("-machine", "none", "-pidfile", str(tmp_path / "absent/pid"))
    assert text == f"system-emu: -pidfile: cannot open '{tmp_path}/absent/pid': No such file or directory\n"


@pytest.mark.parametrize("line", [
    "-chardev udp,id=c,host=127.0.0.1,port=9,localaddr=127.0.0.1,localport={port}",
    "-netdev socket,id=n,udp=127.0.0.1:9,localaddr=127.0.0.1:{port}",
    "-netdev dgram,id=n,remote.type=inet,remote.host=127.0.0.1,remote.port=9,"
    "local.type=inet,local.host=127.0.0.1,local.port={port}",
    "-netdev user,id=n,hostfwd=udp:127.0.0.1:{port}-:53"])
def test_a_udp_port_in_use_is_named(line, udp_port):
    text = said_both_ways("-machine", "none", *line.format(port=udp_port).split())
    assert "in use" in text and str(udp_port) in text, text


def test_two_options_that_want_one_address_are_found(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = f"tcp:127.0.0.1:{port},server=on,wait=off"
    assert str(port) in said_both_ways("-machine", "none", "-qmp", where, "-monitor", where)
    assert str(port) in said_both_ways("-machine", "none", "-qmp", where, "-netdev",
                                       f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22")
    assert "in use" in said_both_ways("-machine", "none", "-chardev", "stdio,id=a", "-chardev", "stdio,id=b")
    abstract = f"socket,path=emu-test-{os.getpid()},abstract=on,server=on,wait=off"
    assert "in use" in said_both_ways("-machine", "none", "-chardev", abstract + ",id=a", "-chardev",
                                      abstract + ",id=b")


def test_a_free_port_stays_free(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for _ in range(2):
        accepted_dry("-qmp", f"tcp:127.0.0.1:{port},server=on")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_dry_run_is_no_client(tmp_path):
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        port = tcp.getsockname()[1]
        accepted_dry("-chardev", f"socket,id=a,path={tmp_path}/s", "-chardev",
                     f"socket,id=b,host=127.0.0.1,port={port}", "-netdev",
                     f"stream,id=n,addr.type=unix,addr.path={tmp_path}/s", "-netdev",
                     f"socket,id=m,connect=127.0.0.1:{port}")
        for listener in (unix, tcp):
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert stat.S_ISSOCK(os.stat(tmp_path / "s").st_mode)


@pytest.mark.parametrize("line", ["-chardev socket,id=c,path={path}",
                                  "-netdev stream,id=n,addr.type=unix,addr.path={path}",
                                  "-qmp unix:{path}"])
@pytest.mark.parametrize("left", [False, True])
def test_a_unix_socket_without_a_listener_is_named(line, left, tmp_path):
    path = tmp_path / "s"
    if left:
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(str(path))
    text = said_both_ways("-machine", "none", *line.format(path=path).split())
    assert str(path) in text and ("refused" if left else "No such file") in text, text


@pytest.mark.parametrize("line", [
    "-qmp unix:{path},server=on,wait=off", "-netdev stream,id=n,server=on,addr.type=unix,addr.path={path}",
    "-netdev dgram,id=n,local.type=unix,local.path={path},remote.type=unix,remote.path=/tmp/x"])
def test_a_unix_socket_that_cannot_be_made_is_named(line, tmp_path):
    path = tmp_path / "absent/s"
    text = said_both_ways("-machine", "none", *line.format(path=path).split())
    assert str(path) in text and "No such file" in text, text
    assert os.listdir(tmp_path) == []


def test_a_dry_run_makes_no_sockets(tmp_path):
    accepted_dry("-qmp", f"unix:{tmp_path}/q,server=on", "-netdev",
                 f"stream,id=n,server=on,addr.type=unix,addr.path={tmp_path}/n",
                 "-netdev",
                 f"dgram,id=d,local.type=unix,local.path={tmp_path}/l,remote.type=unix,remote.path={tmp_path}/r")
    assert os.listdir(tmp_path) == []


# TAP ------------------------------------------------------------------------------------------------------------------

def interfaces():
    return sorted(os.listdir("/sys/class/net"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root, which it needs to have")
def test_tap_without_the_right_to_it_is_named():
    text = said_both_ways("-machine", "none", "-netdev", "tap,id=n,ifname=emutest0,script=no,downscript=no", user=65534)
    assert "tap 'n': cannot" in text and ("/dev/net/tun" in text or "'emutest0'" in text), text
    assert "-netdev user" in text, text


@pytest.mark.parametrize("line, thing", [
    ("tap,id=n,script={absent}", "absent"), ("tap,id=n,script=no,downscript={absent}", "absent"),
    ("tap,id=n,ifname=much-too-long-a-name,script=no", "much-too-long"), ("tap,id=n,helper={absent}", "absent"),
    ("tap,id=n,fd=77", "fd 77"), ("tap,id=n,fd=0", "fd 0"), ("bridge,id=n,helper={absent}", "absent")])
def test_what_tap_needs_is_named(line, thing, tmp_path):
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK) and "much" in line:
        pytest.skip("no /dev/net/tun")
    before = interfaces()
    text = said_both_ways("-machine", "none", "-netdev", line.format(absent=tmp_path / "absent"),
                          stdin=subprocess.DEVNULL)
    assert thing in text, text
    assert interfaces() == before


def test_a_dry_run_runs_no_script_and_leaves_no_interface(tmp_path):
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no /dev/net/tun")
    script = tmp_path / "up"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    before = interfaces()
    accepted_dry("-netdev", f"tap,id=n,ifname=emutest0,script={script},downscript={script}")
    assert interfaces() == before
    assert not (tmp_path / "ran").exists()


SERVED = [("-device", "vhost-user-blk-pci,chardev=c,num-queues=2"), ("-device", "vhost-user-fs-pci,chardev=c,tag=x"),
          ("-netdev", "vhost-user,id=n,chardev=c", "-device", "virtio-net-pci,netdev=n")]


@pytest.mark.parametrize("words", SERVED)
def test_a_back_end_of_another_program_is_not_asked(words, tmp_path):
    line = ("-machine", "pc,memory-backend=m", "-object", "memory-backend-memfd,id=m,size=64M", "-chardev",
            f"socket,id=c,path={tmp_path}/s", *words)
    with socket.socket(socket.AF_UNIX) as back_end:
        back_end.bind(str(tmp_path / "s"))
        back_end.listen()
        assert "must stay checked" in said_both_ways("-accel", "tcg", *line)
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            result = emu.run("--dry-run", "-display", "none", "-accel", "kvm", *line)
            assert result.returncode == 0, result.stderr
    for wrong in (line[:-1] + (line[-1] + ",nonsense=1",), line[:4] + line[6:]):
        assert emu.refused("--dry-run", "-display", "none", "-accel", "kvm", "-accel", "tcg", *wrong)


# The user network -----------------------------------------------------------------------------------------------------

LONG = "x" * 70


@pytest.mark.parametrize("options, thing", [
    ("tftp={absent}", "absent"), ("tftp={file}", "not a folder"), ("hostname=" + LONG, "hostname"),
    ("domainname=" + LONG * 4, "DHCP"),
    ("dnssearch=" + LONG, "63"), ("dnssearch=a..b", "empty"), ("bootfile=" + LONG * 2, "bootfile"),
    ("smb={absent}", "absent"), ("smb={file}", "not a folder"), ("smbserver=10.0.2.4", "goes with 'smb'"),
    ("smb=/,smbserver=10.0.3.4", "10.0.3.4"),
    ("dhcpstart=10.0.2.3", "dhcpstart"), ("host=10.0.2.255", "10.0.2.255"), ("dns=10.0.3.1", "10.0.3.1"),
    ("ipv6-host=fec1::9", "fec1::9"), ("ipv6-dns=fec0::2", "ipv6-dns"), ("ipv4=off,net=10.1.0.0/16", "net"),
    ("ipv6=off,ipv6-dns=fec0::7", "ipv6-dns"), ("ipv4=off,tftp=/", "tftp"),
    ("guestfwd=tcp:10.0.2.100:80-cmd:{absent}", "absent"), ("guestfwd=tcp:10.0.3.100:80-cmd:cat", "10.0.3.100"),
    ("guestfwd=tcp:10.0.2.100:80-cmd:'", "no command"), ("guestfwd=tcp:10.0.2.100:80-unix:{absent}", "absent"),
    ("hostfwd=tcp::99999-:22", "99999"),
    ("domainname=" + LONG * 2 + ",dnssearch=" + "y" * 60 + ",dnssearch=" + "z" * 60, "together")])
def test_values_that_the_user_network_cannot_keep_are_refused(options, thing, tmp_path):
    (tmp_path / "file").write_text("")
    text = said_both_ways("-machine", "none", "-netdev",
                          "user,id=n," + options.format(absent=tmp_path / "absent", file=tmp_path / "file"))
    assert thing in text, text


def test_a_tftp_folder_that_is_there_is_taken(tmp_path):
    accepted_dry("-netdev",
                 f"user,id=n,tftp={tmp_path},bootfile=pxelinux.0,hostname=guest,dnssearch=a.example,"
                 "dnssearch=b.example.")


# Images ---------------------------------------------------------------------------------------------------------------

def image(path, *options, size="1M"):
    result = subprocess.run([IMG, "create", "-q", *options, str(path), *([size] if size else [])], capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    return path


def drive(path, form="qcow2"):
    return ("-machine", "none", "-drive", f"if=none,id=d,format={form},file={path}")


def test_an_image_that_is_not_there_is_named(tmp_path):
    for words in (drive(tmp_path / "absent"), ("-machine", "pc", "-hda", str(tmp_path / "absent")),
                  ("-machine", "none", "-blockdev", f"file,node-name=n,filename={tmp_path}/absent")):
        text = said_both_ways(*words)
        assert f"'{tmp_path}/absent'" in text and "No such file" in text, text


@pytest.mark.skipif(os.geteuid() != 0, reason="root may open everything, and gives that up here")
def test_an_image_without_the_right_to_it_is_named(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(1 << 20))
    path.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    text = said_both_ways(*drive(path, "raw"), user=65534)
    assert str(path) in text and "Permission denied" in text, text


def test_an_image_of_another_format_is_named(tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(1 << 20))
    text = said_both_ways(*drive(raw))
    assert str(raw) in text and "qcow2" in text, text
    text = said_both_ways(*drive(raw, "nonsense"))
    assert "nonsense" in text, text


def test_a_damaged_image_is_named(tmp_path):
    path = image(tmp_path / "image", "-f", "qcow2")
    path.write_bytes(path.read_bytes()[:64])
    text = said_both_ways(*drive(path))
    assert str(path) in text, text


def test_who_has_locked_an_image_is_named(tmp_path):
    path = image(tmp_path / "image", "-f", "qcow2")
    line = ("-machine", "pc", "-drive", f"if=virtio,format=qcow2,file={path}")
    holder = subprocess.Popen([emu.BINARY, "-display", "none", "-S", "-monitor", "stdio", *line],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert b"monitor (" in holder.stdout.readline()
        before = path.read_bytes()
        text = said_both_ways(*line)
        assert str(path) in text and "lock" in text and f"process {holder.pid} (system-emu)" in text, text
        assert path.read_bytes() == before
    finally:
        holder.kill()
        holder.wait()


def test_a_backing_file_that_is_not_there_is_named(tmp_path):
    path = image(tmp_path / "top", "-u", "-f", "qcow2", "-b", str(tmp_path / "base"), "-F", "raw")
    text = said_both_ways(*drive(path))
    assert str(path) in text and f"'{tmp_path}/base'" in text and "No such file" in text, text


def test_backing_files_in_a_ring_are_named(tmp_path):
    image(tmp_path / "a", "-u", "-f", "qcow2", "-b", str(tmp_path / "b"), "-F", "qcow2")
    image(tmp_path / "b", "-u", "-f", "qcow2", "-b", str(tmp_path / "a"), "-F", "qcow2")
    text = said_both_ways(*drive(tmp_path / "a"))
    assert str(tmp_path / "a") in text and ("loop" in text or "itself" in text), text


def test_a_dry_run_changes_no_image(tmp_path):
    path = image(tmp_path / "image", "-f", "qcow2", "-o", "lazy_refcounts=on")
    before = path.read_bytes(), path.stat().st_mtime_ns
    accepted_dry("-drive", f"if=none,id=d,format=qcow2,file={path}", "-drive", "if=none,id=e,file=" + str(image(
        tmp_path / "raw", "-f", "raw")) + ",format=raw,snapshot=on")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert sorted(os.listdir(tmp_path)) == ["image", "raw"]
