# SPDX-License-Identifier: Apache-2.0
"""A whole Debian on each disk controller, network card and firmware: ctest label debian."""
import functools
import hashlib
import http.server
import os
import pathlib
import subprocess
import sys
import threading
import urllib.request

import pytest

import emu
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

CASES = {  # machine, controller, network card, firmware, CPUs
    "virtio_blk": ("pc", "virtio-blk", "e1000", "seabios", 1),
    "virtio_scsi": ("q35", "virtio-scsi", "e1000", "seabios", 1),
    "ahci": ("q35", "ahci", "e1000e", "seabios", 1),
    "ide": ("pc", "ide", "rtl8139", "seabios", 1),
    "virtio_net": ("pc", "virtio-blk", "virtio-net-pci", "seabios", 1),
    "ovmf_virtio_blk": ("q35", "virtio-blk", "e1000e", "ovmf", 1),
    "ovmf_ahci_smp4": ("q35", "ahci", "rtl8139", "ovmf", 4),
    "ovmf_flash": ("q35", "virtio-blk", "e1000", "ovmf-flash", 1),
    "smp4": ("pc", "virtio-blk", "e1000", "seabios", 4),
}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def exchange(guest, server, payload, port):
    """A file goes into the guest and comes back; both hashes are those of the host's file."""
    wanted = hashlib.sha256(payload).hexdigest()
    guest.run("for i in $(seq 60); do ip -4 addr show | grep -q 'inet 10[.]0[.]2' && break; sleep 1; done; "
              "ip -4 addr show | grep 'inet 10[.]0[.]2'")
    guest.run(f"mkdir -p /srv/www && wget -q -O /srv/www/file http://{debian_guest.HOST}:{server.server_port}/payload")
    assert wanted in guest.run("sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /srv/www/file")
    guest.run("busybox httpd -p 8080 -h /srv/www")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=120) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == wanted
    return wanted


def check(image):
    result = subprocess.run(["qemu-img", "check", str(image)], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0 and "No errors were found" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES)
def test_debian(case, tmp_path):
    machine, controller, card, firmware, cpus = CASES[case]
    if debian_guest.needs():
        pytest.skip(debian_guest.needs())
    absent = debian_guest.missing(emu.BINARY, [*debian_guest.CONTROLLERS[controller][0], card])
    if absent:
        pytest.xfail(f"the program has no device {absent}")
    if firmware.startswith("ovmf") and not debian_guest.OVMF.exists():
        pytest.skip("no OVMF: apt-get install ovmf")
    if firmware == "ovmf-flash" and not debian_guest.has_flash(emu.BINARY, machine):
        pytest.xfail(f"the program's {machine} has no flash memory")
    image = debian_guest.copy_disk(tmp_path)
    payload = os.urandom(8 << 20)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "payload").write_bytes(payload)
    server = serve(tmp_path / "www")
    arguments = ["-machine", machine, "-cpu", "max", "-smp", str(cpus)]
    # q35 has an AHCI of its own, where -device ide-hd would sit; the case names one, as a user adds it.
    arguments += debian_guest.disk(image, controller)
    if firmware == "ovmf":
        arguments += ["-bios", debian_guest.OVMF]
    elif firmware == "ovmf-flash":
        arguments += debian_guest.ovmf_flash(tmp_path)
    try:
        for boot in range(2):
            port = debian_guest.free_port()
            network = ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:8080", "-device", f"{card},netdev=n0"]
            with debian_guest.Console(emu.BINARY, tmp_path, *arguments, *network) as guest:
                guest.login(600)
                assert guest.run("nproc") == str(cpus)
                guest.run("systemctl is-system-running --wait || true")
                failed = guest.run("systemctl --failed --no-legend --plain")
                assert failed == "", failed
                if boot == 0:
                    wanted = exchange(guest, server, payload, port)
                else:
                    assert wanted in guest.run("sha256sum /srv/www/file")
                guest.power_off()
            check(image)
    finally:
        server.shutdown()
