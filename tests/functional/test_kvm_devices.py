# SPDX-License-Identifier: Apache-2.0
"""-accel kvm: guests reach the same devices in the same order as under translation, whoever has the interrupt chips;
CD-ROMs boot; nothing is lost over a thousand starts and stops; and what is said where there is no KVM."""
import hashlib
import os
import re
import select
import shutil
import subprocess
import time

import pytest

import emu
from qmp import Machine
from test_kvm import CHIPS, CPU, GUESTS, PASSED, emu_wait, needs_kvm

DISK = 1 << 20
# Regions of the chips that the kernel may have, and that our own code has otherwise.
CHIP_REGIONS = {"apic", "apic-msi", "ioapic", "master", "slave", "elcr", "pit"}
ACCESS = re.compile(r"memory_region_ops_(\w+) region (.*) offset (\w+) size (\d) value (\w+)")


def guest(name):
    elf = GUESTS / f"{name}.elf"
    if not elf.exists():
        pytest.skip(f"cannot run here: {elf.name} was not built")
    return ["-kernel", str(elf), "-cpu", CPU, "-display", "none", "-no-reboot", "-nic", "none", "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "none"]


def disk(folder, *properties):
    """The arguments of a virtio disk; each run begins with zeros."""
    path = folder / "disk"
    path.write_bytes(bytes(DISK))
    device = ",".join(["virtio-blk-pci,drive=d,disable-legacy=on", *properties])
    return ["-drive", f"file={path},format=raw,if=none,id=d", "-device", device]


def boot(folder, name, *arguments, binary=emu.BINARY):
    """Runs a guest to its end; gives the status and what it wrote to its console."""
    console = folder / "console"
    done = subprocess.run([binary, *guest(name), "-monitor", "none", "-debugcon", f"file:{console}", *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=240)
    return done.returncode, console.read_text()


def accesses(folder, name, *arguments):
    """What a guest asked of devices other than interrupt chips, in order. How often it polls is a matter of time: what
    is asked several times in a row counts once."""
    log = folder / "trace"
    assert boot(folder, name, "-trace", "memory_region_ops_*", "-D", str(log), *arguments)[0] == PASSED
    found = []
    for line in log.read_text().splitlines():
        access = ACCESS.fullmatch(line)
        if access is None or access[2] in CHIP_REGIONS:
            continue
        if not found or found[-1] != access.groups():
            found.append(access.groups())
    return found


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
@pytest.mark.parametrize("name", ["hello64", "lapic64", "pit64", "ioapic64", "smc64", "rom64", "virtio_blk64"])
def test_guests_reach_devices_in_the_same_order(tmp_path, name, chips):
    extra = disk(tmp_path, "ioeventfd=off") if name == "virtio_blk64" else []
    expected = accesses(tmp_path, name, "-accel", "tcg", *extra)
    assert len(expected) > 3
    if extra:
        disk(tmp_path)
    assert accesses(tmp_path, name, "-accel", f"kvm,kernel-irqchip={chips}", *extra) == expected


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
@pytest.mark.parametrize("thread", ["main loop", "iothread"])
def test_virtio_disk_polled_and_by_interrupts_with_doorbells_in_the_kernel(tmp_path, chips, thread):
    where = ["-object", "iothread,id=t"] if thread == "iothread" else []
    extra = disk(tmp_path, *(["iothread=t"] if where else []))
    assert boot(tmp_path, "virtio_blk64", "-accel", f"kvm,kernel-irqchip={chips}", *where, *extra) == (
        PASSED, "polling\ninterrupts\nPASS\n")


@needs_kvm
@pytest.mark.parametrize("name", ["ioapic64", "rom64", "virtio_blk64"])
def test_new_guests_say_what_they_say_in_qemu(tmp_path, name):
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("cannot run here: qemu-system-x86_64 is not installed")
    extra = disk(tmp_path) if name == "virtio_blk64" else []
    ours = boot(tmp_path, name, "-accel", "kvm", *extra)
    assert ours[0] == PASSED
    if extra:
        disk(tmp_path)
    assert boot(tmp_path, name, "-accel", "kvm", *extra, binary=qemu) == ours


def pictures(folder, *arguments):
    """What the screen shows after each of the two times the guest draws."""
    console = folder / "console"
    console.write_text("")
    fifo = folder / "serial"
    fifo.unlink(missing_ok=True)
    shown = []
    with Machine("-vga", "std", "-debugcon", f"file:{console}", *guest("draw64"), "-chardev",
                 f"socket,id=s,path={fifo},server=on,wait=off", "-device", "isa-serial,chardev=s", *arguments) as qmp:
        import socket
        line = socket.socket(socket.AF_UNIX)
        emu_wait(fifo.exists, 30)
        line.connect(str(fifo))
        for count in (1, 2):
            emu_wait(lambda: console.read_text().count("drawn") >= count, 120)
            picture = folder / f"{count}.ppm"
            qmp.command("screendump", filename=str(picture))
            shown.append(hashlib.sha256(picture.read_bytes()).hexdigest())
            line.send(b"x")
        line.close()
    return shown


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
def test_what_a_guest_draws_is_seen(tmp_path, chips):
    expected = pictures(tmp_path, "-accel", "tcg")
    assert expected[0] != expected[1]
    assert pictures(tmp_path, "-accel", f"kvm,kernel-irqchip={chips}") == expected


@needs_kvm
def test_a_dirty_ring_says_the_same_as_bitmaps(tmp_path):
    lacks = "no dirty ring" in emu.run("-accel", "kvm,dirty-ring-size=4096", "-S", "-display", "none", "-monitor",
                                       "stdio", stdin="quit\n").stderr
    if lacks:
        pytest.skip("cannot run here: this host's KVM has no dirty ring")
    assert pictures(tmp_path, "-accel", "kvm,dirty-ring-size=4096") == pictures(tmp_path, "-accel", "kvm")


def test_a_dirty_ring_of_another_size_is_refused():
    said = emu.refused("-accel", "kvm,dirty-ring-size=1000")
    assert "dirty-ring-size=1000: a power of two from 1024 to 65536" in said


# --- GRUB from CD-ROM ---

@pytest.fixture(name="disc", scope="module")
def make_disc(tmp_path_factory):
    """Boots to GRUB's rescue shell on the serial line: its other parts are nowhere."""
    for tool in ("grub-mkimage", "xorriso"):
        if shutil.which(tool) is None:
            pytest.skip(f"cannot run here: {tool} is not installed")
    folder = tmp_path_factory.mktemp("grub")
    root = folder / "root"
    (root / "boot").mkdir(parents=True)
    (root / "hello.txt").write_text("a file\n")
    early = folder / "early.cfg"
    early.write_text("serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n")
    made = subprocess.run(["grub-mkimage", "-O", "i386-pc-eltorito", "-p", "(nowhere)/boot/grub", "-c", str(early),
                           "-o", str(root / "boot/image"), "biosdisk", "iso9660", "serial", "terminal"],
                          capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"cannot run here: {made.stderr.strip()}")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-b", "boot/image", "-no-emul-boot", "-boot-load-size", "4",
                    "-boot-info-table", "-o", str(folder / "disc.iso"), str(root)], check=True, capture_output=True)
    return folder / "disc.iso"


def rescue_shell(disc, *arguments, binary=emu.BINARY):
    """What the shell says to two commands."""
    process = subprocess.Popen([binary, "-cdrom", str(disc), "-boot", "d", "-display", "none", "-nic", "none",
                                "-serial", "stdio", "-monitor", "none", *arguments], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    text = b""
    try:
        for command in (b"ls\r", b"ls (cd)/\r", b""):
            prompts = text.count(b"grub rescue> ")
            end = time.monotonic() + 300
            while text.count(b"grub rescue> ") == prompts:
                assert select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0], text
                piece = os.read(process.stdout.fileno(), 4096)
                assert piece, text
                text += piece
            process.stdin.write(command)
            process.stdin.flush()
    finally:
        process.kill()
        process.wait()
    return text


@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
def test_grub_comes_to_its_rescue_shell_from_a_disc(disc, chips):
    said = rescue_shell(disc, "-accel", f"kvm,kernel-irqchip={chips}", "-cpu", CPU)
    assert b"hello.txt" in said
    assert said == rescue_shell(disc, "-accel", "tcg", "-cpu", CPU)


# --- Starts and stops ---

@needs_kvm
def test_a_thousand_starts_and_stops_leak_nothing():
    arguments = [word for word in guest("hello64")[2:] if word != "-no-reboot"]  # resets are part of it
    machine = Machine("-accel", "kvm", *arguments, "-debugcon", "null")
    with machine as qmp:
        def state():
            text = qmp.command("human-monitor-command", command_line="info jit")
            counted = re.findall(r"^(memory slots \d+|doorbells \d+)$", text.replace("\r", ""), re.M)
            return len(os.listdir(f"/proc/{machine.process.pid}/fd")), counted
        qmp.command("stop")
        before = state()
        assert before[1]
        for round in range(1000):
            qmp.command("cont")
            if round % 10 == 0:
                qmp.command("system_reset")
            qmp.command("stop")
        assert state() == before


# --- What programs hear of it ---

@needs_kvm
@pytest.mark.parametrize("chips", CHIPS)
def test_programs_hear_of_a_vcpu_that_halts(tmp_path, chips):
    """The kernel answers few questions about a vCPU in KVM_RUN, and one that halts there stays."""
    log = tmp_path / "bios"
    with Machine("-accel", f"kvm,kernel-irqchip={chips}", "-cpu", "host", "-boot", "menu=on,splash-time=60000",
                 "-chardev", f"file,id=d,path={log}", "-device", "isa-debugcon,iobase=0x402,chardev=d") as qmp:
        assert qmp.command("query-kvm") == {"enabled": True, "present": True}
        emu_wait(lambda: log.exists() and "Press ESC for boot menu" in log.read_text(errors="replace"), 120)
        for target in ("vm", "vcpu") * 5:
            (stats,) = qmp.command("query-stats", target=target)
            assert stats["provider"] == "kvm" and stats["stats"]
            time.sleep(0.1)


# --- Where there is none ---

def without_node(*arguments):
    """Runs in a mount namespace of its own, where /dev/kvm cannot be used: a plain file takes its place."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or not os.path.exists("/dev/kvm"):
        pytest.skip("cannot run here: wants root, unshare and a /dev/kvm to hide")
    script = 'mkdir /tmp/.nodev.$$ && mount -t tmpfs none /tmp/.nodev.$$ && for n in null zero urandom ptmx tty; do ' \
             'touch /tmp/.nodev.$$/$n && mount --bind /dev/$n /tmp/.nodev.$$/$n 2>/dev/null; done; ' \
             'mount --move /tmp/.nodev.$$ /dev && rmdir /tmp/.nodev.$$; exec "$0" "$@"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, os.path.abspath(emu.BINARY), *arguments],
                          input="quit\n", capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"cannot run here: {done.stderr.strip()}")
    return done


MONITOR = ("-S", "-display", "none", "-nodefaults", "-monitor", "stdio")


def test_without_the_node_one_sentence_says_what_to_do():
    done = without_node("-accel", "kvm", *MONITOR)
    assert done.returncode == 1
    assert "-accel kvm: no KVM on this host: /dev/kvm: No such file or directory" in done.stderr
    assert "load the kvm_intel or kvm_amd module" in done.stderr and "-accel tcg" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr


@pytest.mark.parametrize("choice",
                         [("-machine", "accel=kvm:tcg"), ("-accel", "kvm", "-accel", "tcg"), ("-accel", "kvm:tcg")])
def test_without_the_node_translation_stands_in_and_one_line_says_so(choice):
    done = without_node(*choice, *MONITOR)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "kvm" in line.lower()]
    assert lines == ["system-emu: info: -accel kvm: no KVM on this host: /dev/kvm: No such file or directory; "
                     "using tcg"], lines


@needs_kvm
@pytest.mark.parametrize("choice, status", [(("-accel", "kvm"), 1), (("-accel", "kvm", "-accel", "tcg"), 0)])
def test_without_rights_one_sentence_says_what_to_do(tmp_path, choice, status):
    if os.geteuid() != 0 or shutil.which("setpriv") is None or os.stat("/dev/kvm").st_mode & 0o006:
        pytest.skip("cannot run here: wants root, setpriv and a /dev/kvm that is not everybody's")
    binary = tmp_path / "system-emu"
    shutil.copy(emu.BINARY, binary)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(folder, 0o755)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(binary), *choice,
                           *MONITOR],
                          input="quit\n", capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == status, done.stderr
    assert "-accel kvm: no rights to use /dev/kvm" in done.stderr
    if status:
        assert "group that owns it (kvm)" in done.stderr
    else:
        assert "using tcg" in done.stderr
