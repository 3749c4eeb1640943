# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear sentence, the nearest valid spelling, exit status 1."""
import struct

import pytest

from emu import refused

QUIET = ["-display", "none"]


@pytest.mark.parametrize("arguments, expected", [
    (["-kernal", "x"], "did you mean '-kernel'?"),
    (["-drive", "if=none,file=/nowhere/x"], "Could not open '/nowhere/x': No such file or directory"),
    (["-drive", "if=idee"], "unsupported bus type"),
    (["-drive", "if=none,file=x,cache=writebck"], "did you mean 'writeback'?"),
    (["-drive", "if=none,file=x,werror=maybe"], "invalid write error action"),
    (["-drive", "if=none,file.driver=null-co,format=raw,fromat=raw"], "fromat"),
    (["-blockdev", "driver=file,filename=/nowhere/x,node-name=n"], "No such file or directory"),
    (["-blockdev", "driver=file,filename=x"], "'node-name' must be specified"),
    (["-blockdev", "driver=fiel,filename=x,node-name=n"], "does not accept value 'fiel'"),
    (["-blockdev", '{"driver":"raw","node-name":"n","file":"nobody"}'], "nobody"),
    (["-fda", "x"], "there is no floppy drive"),
    (["-netdev", "user"], "'id=' is missing"),
    (["-netdev", "usr,id=n"], "did you mean 'user'?"),
    (["-netdev", "user,id=n,hostfw=tcp::1-:2"], "did you mean 'hostfwd'?"),
    (["-netdev", "vhost-user,id=n"], "'chardev' is missing"),
    (["-chardev", "null,id=c", "-device", "vhost-user-blk-pci,chardev=c"],
     "another process would write to the guest's pages"),
    (["-device", "vhost-user-gpu-pci,chardev=c"], "not supported"),
    (["-virtfs", "local,path=/nowhere,mount_tag=t,security_model=none"], "path=/nowhere: No such file or directory"),
    (["-virtfs", "local,path=/tmp,security_model=none"], "'mount_tag=' is missing"),
    (["-fsdev", "local,path=/tmp,id=f,security_model=mapd"], "security_model"),
    (["-fsdev", "local,path=/tmp,id=f"], "'security_model=' is missing"),
    (["-fsdev", "local,path=/tmp,id=f,security_model=mapped-file"], "use mapped-xattr"),
    (["-fsdev", "local,path=/tmp,id=f,security_model=none,throttling.bps-total=1"], "cannot be throttled"),
    (["-fsdev", "synth,id=f"], "there is local"),
    (["-device", "virtio-9p-pci,fsdev=nobody,mount_tag=t"], "nobody"),
    (["-device", "virtio-9p-pci,mount_tag=t"], "'fsdev' is missing"),
    (["-nic", "user,model=e100"], "did you mean 'e1000'?"),
    (["-nic", "user,mac=1:2"], "is not an Ethernet address"),
    (["-m"], "its argument is missing"),
    (["-m", "1"], "at least 2 MiB"),
    (["-m", "lots"], "lots"),
    (["-smp", "0"], "at least one"),
    (["-smp", "300"], "at most 255"),
    (["-smp", "3,cores=2"], "is not the number of CPUs (3)"),
    (["-machine", "pcc"], "did you mean 'pc'?"),
    (["-machine", "pc,hpt=off"], "did you mean 'hpet'?"),
    (["-machine", "pc,usb=on"], "usb=on is not supported yet"),
    (["-cpu", "qemu46"], "did you mean 'qemu64'?"),
    (["-cpu", "qemu64,+ssse4"], "ssse4"),
    (["-cpu", "zen"], "unknown CPU model 'zen'\n'-cpu help' lists the models"),
    (["-gdb", "tcp::99999"], "'99999' in 'tcp:localhost:99999' is not a port: 65535 is the last"),
    (["-netdev", "socket,id=n,listen=:70000"], "is not a port: 65535 is the last"),
    (["-machine", "none", "-device", "scsi-hd"],
     "No 'SCSI' bus found for device 'scsi-hd'\n-device virtio-scsi-pci before it brings one"),
    (["-machine", "pc", "-device", "pcie-root-port"], "-machine q35 has one, pc has not"),
    (["-accel", "tgc"], "did you mean 'tcg'?"),
    (["-accel", "tcg,without=lnks"], "did you mean 'links'?"),
    (["-accel", "hvf"], "-accel hvf: this program does not have it"),
    (["-accel", "kvm,dirty-ring-size=1000"], "dirty-ring-size=1000: a power of two from 1024 to 65536"),
    (["-accel", "kvm", "-machine", "kernel-irqchip=maybe"], "off, split or on"),
    (["-device", "isa-seral"], "did you mean 'isa-serial'?"),
    (["-device", "isa-serial,indx=1"], "did you mean 'index'?"),
    (["-device", "isa-serial,bus=isa.7"], "no bus 'isa.7'"),
    (["-device", "isa-debugcon,id=a", "-device", "isa-debugcon,id=a"], "'a' is given twice"),
    (["-chardev", "null,id=a", "-chardev", "null,id=a"], "'a' is given twice"),
    (["-serial", "chardev:nobody"], "no chardev 'nobody'"),
    (["-global", "isa-seral.index=1"], "isa-seral"),
    (["-bios", "/nonexistent/bios"], "/nonexistent/bios"),
    (["-kernel", "/nonexistent/kernel"], "/nonexistent/kernel"),
    (["-initrd", "/dev/null"], "-kernel"),
    (["-pidfile", "/nonexistent/pid"], "/nonexistent/pid"),
    (["-machine", "pc,memory-backend=ram"], "memory-backend=ram"),
    (["-daemonize", "-serial", "stdio"], "-daemonize"),
    (["-uuid", "x"], "not a UUID"),
    (["-boot", "order=x"], "'x' is no drive letter"),
    (["-boot", "acdn"], "at most three drives"),
    (["-boot", "mneu=on"], "did you mean 'menu'?"),
    (["-boot", "splash=picture.bmp"], "pictures are not supported yet"),
    (["-boot", "splash-time=70000"], "at most 65535"),
    (["-boot", "once=d", "-kernel", "/bin/true"], "there is no firmware that would heed it"),
    (["-machine", "firmware=on", "-kernel", "/bin/true"], "is no bzImage"),
    (["-machine", "firmware=off"], "firmware=off needs a kernel"),
    (["-machine", "none", "-boot", "menu=on"], "machine 'none'"),
])
def test_is_refused(arguments, expected):
    assert expected in refused(*QUIET, *arguments)


def test_foreign_and_truncated_kernels(tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 183, 1) + bytes(40))
    assert str(kernel) in refused(*QUIET, "-kernel", str(kernel))
    kernel.write_bytes(b"hello")
    assert str(kernel) in refused(*QUIET, "-kernel", str(kernel))
    header = bytearray(1024)
    header[0x1f1] = 30
    header[0x1fe:0x200] = b"\x55\xaa"
    header[0x202:0x206] = b"HdrS"
    header[0x206:0x208] = struct.pack("<H", 0x20c)
    header[0x211] = 1
    kernel.write_bytes(header)
    assert str(kernel) in refused(*QUIET, "-kernel", str(kernel))


def test_an_initrd_larger_than_memory(tmp_path):
    kernel = bytearray(1024 + 4096)
    kernel[0x1f1] = 1  # 512-byte sectors of the setup part behind the first
    struct.pack_into("<IHI", kernel, 0x1f4, 4096 // 16, 0, 0)
    kernel[0x1fe:0x200] = b"\x55\xaa"
    kernel[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", kernel, 0x206, 0x20f)
    kernel[0x211] = 1  # loaded at 1 MiB
    struct.pack_into("<II", kernel, 0x22c, 0x7fffffff, 0x200000)  # where an initrd may lie, alignment
    struct.pack_into("<QI", kernel, 0x258, 0x1000000, 0x100000)   # preferred address, memory to start in
    (tmp_path / "kernel").write_bytes(kernel)
    with open(tmp_path / "initrd", "wb") as initrd:
        initrd.truncate(64 << 20)
    line = ["-m", "32", "-kernel", str(tmp_path / "kernel"), "-initrd", str(tmp_path / "initrd")]
    message = refused(*QUIET, *line)
    assert str(tmp_path / "initrd") in message and "does not fit" in message, message
