# SPDX-License-Identifier: Apache-2.0
"""Pairs of network cards in a Debian guest, each pair joined by another kind of back end: files go through each, both
ways, unchanged. Ctest label debian."""
import pathlib
import socket
import sys

import pytest

import emu
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def pairs(folder):
    """(name, back end of the first card, of the second)."""
    tcp, first_udp, second_udp, group = debian_guest.free_port(), free_udp_port(), free_udp_port(), free_udp_port()
    unix = folder / "stream"
    one, two = folder / "one", folder / "two"
    inet = ("dgram,local.type=inet,local.host=127.0.0.1,local.port={},"
            "remote.type=inet,remote.host=127.0.0.1,remote.port={}")
    local = "dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}"
    return [
        ("socket", f"socket,listen=127.0.0.1:{tcp}", f"socket,connect=127.0.0.1:{tcp}"),
        ("mcast", *[f"socket,mcast=230.0.0.1:{group},localaddr=127.0.0.1"] * 2),
        ("stream", f"stream,server=on,addr.type=unix,addr.path={unix}",
         f"stream,server=off,addr.type=unix,addr.path={unix}"),
        ("dgram-inet", inet.format(first_udp, second_udp), inet.format(second_udp, first_udp)),
        ("dgram-unix", local.format(one, two), local.format(two, one)),
        ("hub", "hubport,hubid=3", "hubport,hubid=3"),
    ]


CARDS = ["virtio-net-pci", "e1000", "e1000e", "rtl8139", "virtio-net-pci,packed=on,mrg_rxbuf=off",
         "virtio-net-pci,mq=on,vectors=4"]


def arguments(joined):
    lines = []
    for number, (_, *ends) in enumerate(joined):
        for side, backend in enumerate(ends):
            card = CARDS[(number + side) % len(CARDS)]
            kind, _, rest = backend.partition(",")
            lines += ["-netdev", f"{kind},id=n{number}{side},{rest}",
                      "-device", f"{card},netdev=n{number}{side},mac={address(number, side)}"]
    return lines


def address(number, side):
    return f"52:54:00:00:{number:02x}:{side:02x}"


def test_each_kind_carries_files_both_ways(tmp_path):
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    joined = pairs(tmp_path)
    system = [*debian_guest.direct_kernel(), *debian_guest.disk(debian_guest.overlay(tmp_path), "virtio-blk")]
    with debian_guest.Console(emu.BINARY, tmp_path, "-machine", "q35", "-cpu", "max", "-smp", "2", *system,
                              *arguments(joined)) as guest:
        guest.login(600)
        guest.run("systemctl stop systemd-networkd.socket systemd-networkd; mkdir -p /srv/p && "
                  "head -c 3000000 /dev/urandom >/srv/p/file && sha256sum </srv/p/file >/srv/sum")
        for number, (name, *_) in enumerate(joined):
            for side in (0, 1):
                space = f"p{number}{side}"
                guest.run(f"ip netns add {space} && d=$(basename $(dirname $(grep -l {address(number, side)} "
                          f"/sys/class/net/*/address))) && ip link set $d netns {space} && "
                          f"ip -n {space} addr add 10.9.{number}.{side + 1}/24 dev $d && ip -n {space} link set $d up")
            for side in (0, 1):
                here, there = f"p{number}{side}", f"p{number}{1 - side}"
                other = f"10.9.{number}.{2 - side}"
                ping = f"ip netns exec {here} busybox ping -c 1 -s 1400 {other}"
                guest.run(f": {name}; for i in $(seq 20); do {ping} -W 1 >/dev/null && break; done; {ping} -W 5", 120)
                guest.run(f"(ip netns exec {there} busybox httpd -p 80 -h /srv/p) && "
                          f"ip netns exec {here} wget -q -T 60 -O /tmp/got http://{other}/file && "
                          "sha256sum </tmp/got | cmp - /srv/sum", 200)
        guest.power_off()
