# SPDX-License-Identifier: Apache-2.0
"""What a guest draws is in the picture that screendump writes."""
import pathlib
import shutil
import subprocess
import time

import pytest

from qmp import Machine

VGA_BIOS = pathlib.Path("/usr/share/seabios/vgabios-stdvga.bin")
LETTER_A = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")  # in every VGA's 8x16 font


def glyphs():
    """The BIOS's own font: which character a cell's sixteen rows are."""
    rom = VGA_BIOS.read_bytes()
    start = rom.index(LETTER_A) - 16 * ord("A")
    font = {rom[start + 16 * code:start + 16 * (code + 1)]: chr(code) for code in range(0x7e, 0x20, -1)}
    return {bytes(16): " ", **font}


def read_ppm(path):
    data = path.read_bytes()
    magic, size, depth, pixels = data.split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255")
    width, height = map(int, size.split())
    assert len(pixels) == width * height * 3
    return width, height, pixels


def text_of(path, font):
    """The rows of a text screen, light on dark."""
    width, height, pixels = read_ppm(path)
    cell = 9 if width == 720 else 8
    rows = []
    for top in range(0, height - 15, 16):
        row = ""
        for left in range(0, width, cell):
            lines = []
            for y in range(top, top + 16):
                at = (y * width + left) * 3
                lines.append(sum(0x80 >> x for x in range(8) if any(pixels[at + 3 * x:at + 3 * x + 3])))
            row += font.get(bytes(lines), "?")
        rows.append(row.rstrip())
    return rows


def wait_for_text(qmp, path, wanted):
    font = glyphs()
    end = time.monotonic() + 60
    while True:
        assert qmp.command("screendump", filename=str(path)) == {}
        rows = text_of(path, font)
        if any(wanted in row for row in rows):
            return rows
        assert time.monotonic() < end, "\n".join(rows)
        time.sleep(0.2)


@pytest.mark.parametrize("card", [["-vga", "std"], ["-vga", "none", "-device", "isa-vga"]], ids=["std", "isa"])
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_firmware_says_its_version_on_the_screen(machine, card, tmp_path):
    with Machine("-machine", machine, "-m", "64", "-nic", "none", *card) as qmp:
        rows = wait_for_text(qmp, tmp_path / "screen.ppm", "SeaBIOS (version ")
        wait_for_text(qmp, tmp_path / "screen.ppm", "No bootable device.")
    assert sum(row.count("?") for row in rows) <= 1, rows  # the cursor


def test_png_shows_the_same_as_ppm(tmp_path):
    png = tmp_path / "screen.png"
    with Machine("-machine", "pc", "-m", "64", "-vga", "std", "-nic", "none") as qmp:
        wait_for_text(qmp, tmp_path / "screen.ppm", "No bootable device.")
        qmp.command("stop")
        qmp.command("screendump", filename=str(tmp_path / "screen.ppm"))
        qmp.command("screendump", filename=str(png), format="png")
    data = png.read_bytes()
    width, height, _ = read_ppm(tmp_path / "screen.ppm")
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR"
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (width, height) == (720, 400)


def test_screen_before_a_mode_is_set_is_black(tmp_path):
    with Machine("-machine", "pc", "-m", "64", "-vga", "std", "-S") as qmp:
        qmp.command("screendump", filename=str(tmp_path / "screen.ppm"))
    width, height, pixels = read_ppm(tmp_path / "screen.ppm")
    assert (width, height) == (640, 480) and not any(pixels)


def test_machine_without_a_screen_says_so():
    with Machine("-machine", "pc", "-m", "64", "-S") as qmp:
        assert "no console" in qmp.refused("screendump", filename="screen.ppm")["desc"]


MENU = """
set timeout=-1
menuentry "Alpha entry" { true }
menuentry "Beta entry" { true }
"""
GRAPHICS = """
insmod all_video
insmod gfxterm
loadfont unicode
set gfxmode=1024x768x32
terminal_output gfxterm
"""


def make_iso(folder, config):
    (folder / "iso/boot/grub").mkdir(parents=True)
    (folder / "iso/boot/grub/grub.cfg").write_text(config)
    iso = folder / "menu.iso"
    subprocess.run(["grub-mkrescue", "-o", iso, folder / "iso"], check=True, capture_output=True)
    return str(iso)


needs_grub = pytest.mark.skipif(not all(map(shutil.which, ["grub-mkrescue", "xorriso", "mformat"])),
                                reason="packages grub-common, grub-pc-bin, xorriso and mtools make the ISO")


@needs_grub
def test_loader_shows_its_menu_as_text(tmp_path):
    iso = make_iso(tmp_path, MENU)
    with Machine("-machine", "pc", "-m", "128", "-vga", "std", "-cdrom", iso) as qmp:
        rows = wait_for_text(qmp, tmp_path / "screen.ppm", "Beta entry")
    assert any("GNU GRUB  version 2" in row for row in rows)


@needs_grub
def test_loader_shows_its_menu_in_a_vbe_mode(tmp_path):
    """The chosen entry is a bar as wide as the menu, of the colour of its frame, in a window of 1024x768."""
    iso = make_iso(tmp_path, GRAPHICS + MENU)
    screen = tmp_path / "screen.ppm"
    with Machine("-machine", "pc", "-m", "128", "-vga", "std", "-cdrom", iso) as qmp:
        end = time.monotonic() + 60
        while True:
            qmp.command("screendump", filename=str(screen))
            width, height, pixels = read_ppm(screen)
            lit = [sum(map(any, zip(*[iter(pixels[y * width * 3:(y + 1) * width * 3])] * 3))) for y in range(height)]
            if (width, height) == (1024, 768) and sum(count > 900 for count in lit) >= 16:
                break
            assert time.monotonic() < end, (width, height, max(lit))
            time.sleep(0.5)
