# SPDX-License-Identifier: Apache-2.0
"""An ISO that grub-mkrescue made, on pc and q35, through SeaBIOS and OVMF: ctest label debian."""
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

import emu
from qmp import Client
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402

MENU = """serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=-1
menuentry "First entry" { echo "the first was chosen" ; sleep 600 }
menuentry "Second entry" { echo "the second was chosen" ; sleep 600 }
"""


@pytest.fixture(name="iso", scope="module")
def make_iso(tmp_path_factory):
    for program in ("grub-mkrescue", "xorriso", "mformat"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install grub-common grub-pc-bin grub-efi-amd64-bin xorriso mtools")
    folder = tmp_path_factory.mktemp("iso")
    (folder / "tree/boot/grub").mkdir(parents=True)
    (folder / "tree/boot/grub/grub.cfg").write_text(MENU, encoding="ascii")
    path = folder / "menu.iso"
    subprocess.run(["grub-mkrescue", "-o", str(path), str(folder / "tree")], check=True, capture_output=True,
                   timeout=120)
    return path


def colours(picture):
    """How many colours a binary PPM has."""
    header, _, pixels = picture.partition(b"\n255\n")
    assert header.startswith(b"P6")
    return header.split()[-2:], len({pixels[at:at + 3] for at in range(0, len(pixels), 3)})


DRIVES = {
    "ide": lambda iso: ["-cdrom", iso, "-boot", "d"],
    "virtio-scsi": lambda iso: ["-drive", f"if=none,id=cd,media=cdrom,file={iso}", "-device", "virtio-scsi-pci,id=s",
                                "-device", "scsi-cd,drive=cd,bus=s.0,bootindex=0"],
}


@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("firmware", ["seabios", "ovmf"])
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_menu_of_an_iso(iso, machine, firmware, drive, tmp_path):
    arguments = ["-machine", machine, "-cpu", "max", "-vga", "std", *DRIVES[drive](iso)]
    if firmware == "ovmf":
        if not debian_guest.OVMF.exists():
            pytest.skip("no OVMF: apt-get install ovmf")
        arguments += ["-bios", debian_guest.OVMF]
    with debian_guest.Console(emu.BINARY, tmp_path, *arguments, memory=512, qmp=True) as guest:
        guest.wait_for("First entry", 200)
        guest.wait_for("Second entry", 30)
        client = Client.connect(str(guest.qmp_path))
        end = time.monotonic() + 30
        number = 0
        while number < 2 and time.monotonic() < end:  # the serial line is written before the screen
            client.command("screendump", filename=str(tmp_path / "menu.ppm"))
            size, number = colours((tmp_path / "menu.ppm").read_bytes())
        assert int(size[0]) >= 640 and number >= 2, (size, number)  # the menu's letters on its ground
        guest.type("\x1b[B")
        guest.type("\r")
        guest.wait_for("the second was chosen", 60)
        client.command("quit")
        guest.end()
