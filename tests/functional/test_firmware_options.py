# SPDX-License-Identifier: Apache-2.0
"""Options about firmware, configuration files and serial cards, as the program takes them."""
import pathlib
import shutil
import subprocess
import time

import pytest

import emu

OVMF = [pathlib.Path(f"/usr/share/OVMF/OVMF_{name}_4M.fd") for name in ("CODE", "VARS")]


def accepted(*words):
    result = emu.run("--dry-run", *words)
    assert result.returncode == 0, result.stderr


def test_config_file_and_set(tmp_path):
    config = tmp_path / "vm.cfg"
    config.write_text('[machine]\ntype = "q35"\n\n[chardev "c0"]\nbackend = "null"\n\n'
                      '[device "s0"]\ndriver = "pci-serial"\nchardev = "c0"\n')
    text = emu.monitor(["info qtree"], "-readconfig", str(config), "-set", "device.s0.addr=9")
    assert 'dev: pci-serial, id "s0"' in text
    assert "09.0" in text
    config.write_text('[device "x"]\ndriver = "no-such"\n')
    assert "no-such" in emu.refused("-readconfig", str(config))
    config.write_text('[device "x"]\n\ndriver = edu\n')
    assert f"{config}:3: the value of 'driver' is not in quotes" in emu.refused("-readconfig", str(config))
    assert "-writeconfig: not supported yet" in emu.refused("-writeconfig", str(config))


def test_serial_cards_of_all_sizes():
    accepted("-device", "pci-serial-2x", "-device", "pci-serial-4x", "-serial", "none")
    streams = [word for i in range(1, 5) for word in ("-chardev", f"ringbuf,id=c{i}")]
    accepted(*streams, "-device", "pci-serial-4x,chardev1=c1,chardev2=c2,chardev3=c3,chardev4=c4")


def test_firmware_data_is_accepted_and_refused_in_a_sentence(tmp_path):
    body = tmp_path / "table"
    body.write_bytes(b"contents")
    accepted("-fw_cfg", "opt/x,string=y", "-smbios", "type=1,serial=S1", "-acpitable", f"sig=TEST,data={body}")
    accepted("-fw_cfg", "opt/x,string=y", "-kernel", "build/guest/vmlinuz", "-append", "x") \
        if pathlib.Path("build/guest/vmlinuz").exists() else None
    assert "the machine has a file of that name" in emu.refused("-fw_cfg", "etc/e820,string=x")
    assert "-acpitable: the machine has no ACPI" in emu.refused("-acpitable", f"sig=TEST,data={body}", "-machine",
                                                                "acpi=off")
    assert "machine 'none'" in emu.refused("-machine", "none", "-fw_cfg", "opt/x,string=y")


def test_loader_puts_values_into_memory(tmp_path):
    blob = tmp_path / "blob"
    blob.write_bytes(bytes([1, 2, 3, 4]))
    text = emu.monitor(["xp /1xw 0x100000", "xp /1xw 0x200000"],
                       "-device", "loader,addr=0x100000,data=0x12345678,data-len=4",
                       "-device", f"loader,addr=0x200000,file={blob}")
    assert "0x12345678" in text and "0x04030201" in text
    assert "either data= with data-len=, or file=" in emu.refused("-device", "loader,addr=1")
    assert "cpu-num= is not supported" in emu.refused("-device", f"loader,cpu-num=0,file={blob}")


def boot_ovmf(flash, path, seconds=90):
    """Until the shell or the boot manager shows on the serial line, or the time is over."""
    code = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF[0]}"]
    process = subprocess.Popen([emu.BINARY, "-machine", "q35", "-m", "256", "-display", "none", "-monitor", "none",
                                "-net", "none",
                                "-serial", f"file:{path}", *code, *flash], stderr=subprocess.PIPE)
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        text = path.read_bytes() if path.exists() else b""
        if b"Shell>" in text or b"UEFI Interactive Shell" in text or b"BdsDxe: " in text:
            break
        time.sleep(0.5)
    process.terminate()
    _, complaint = process.communicate(timeout=30)
    return path.read_bytes(), complaint


@pytest.mark.skipif(not all(file.exists() for file in OVMF), reason="OVMF is not installed")
def test_ovmf_keeps_its_variables(tmp_path):
    variables = tmp_path / "vars.fd"
    shutil.copy(OVMF[1], variables)
    flash = ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    text, complaint = boot_ovmf(flash, tmp_path / "first")
    assert b"BdsDxe" in text or b"Shell" in text, (text[-500:], complaint)
    first = variables.read_bytes()
    name = "BootOrder".encode("utf-16-le")
    assert name not in OVMF[1].read_bytes() and name in first
    assert len(first) == OVMF[1].stat().st_size
    # The second run finds them: it adds no further BootOrder, whose old copies would still be seen in the flash.
    text, complaint = boot_ovmf(flash, tmp_path / "second")
    assert b"BdsDxe" in text or b"Shell" in text, (text[-500:], complaint)
    assert variables.read_bytes().count(name) == first.count(name)
