# SPDX-License-Identifier: Apache-2.0
"""A Debian that make-debian-disk made, started under a program and driven over its serial line."""
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import time

DISK_FOLDER = pathlib.Path(os.environ.get("EMU_DEBIAN_DISK", "build/debian-disk"))
OVMF = pathlib.Path("/usr/share/ovmf/OVMF.fd")
OVMF_FLASH = [pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")]
HOST = "10.0.2.2"  # the host as the guest sees it behind user networking

CONTROLLERS = {  # what puts the disk of the drive "NAME" on the machine; the devices that it takes
    "virtio-blk": (["virtio-blk-pci"], ["-device", "virtio-blk-pci,drive=NAME"]),
    "virtio-scsi": (["virtio-scsi-pci", "scsi-hd"], ["-device", "virtio-scsi-pci,id=NAMEc", "-device",
                                                     "scsi-hd,drive=NAME,bus=NAMEc.0"]),
    "ahci": (["ich9-ahci", "ide-hd"], ["-device", "ich9-ahci,id=NAMEc", "-device", "ide-hd,drive=NAME,bus=NAMEc.0"]),
    "ide": (["ide-hd"], ["-device", "ide-hd,drive=NAME"]),
}


class GuestFailed(AssertionError):
    """The guest or the program did something else than expected."""


def missing(binary, devices):
    """The first of the devices that the program does not have, or None."""
    for device in devices:
        answer = subprocess.run([binary, "-device", f"{device},help"], capture_output=True, text=True,
                                timeout=60, check=False)
        if answer.returncode != 0:
            return device
    return None


def needs():
    """Why no guest can be made here, or None."""
    if not (DISK_FOLDER / "disk.raw").exists():
        return f"no Debian disk in {DISK_FOLDER}: tests/guests/make-debian-disk {DISK_FOLDER}"
    if shutil.which("qemu-img") is None:
        return "no qemu-img"
    return None


def copy_disk(folder, image_format="qcow2"):
    """A copy of the disk that may be written."""
    path = pathlib.Path(folder) / f"system.{image_format}"
    source = (DISK_FOLDER / "disk.raw").resolve()
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", image_format, str(source), str(path)], check=True)
    return path


def overlay(folder, name="system"):
    """A new image over the disk: made at once, for runs that measure something else."""
    path = pathlib.Path(folder) / f"{name}.qcow2"
    source = (DISK_FOLDER / "disk.raw").resolve()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(source), "-F", "raw", str(path)], check=True)
    return path


def disk(path, controller, name="system", image_format="qcow2", options=""):
    """Arguments for one disk."""
    return ["-drive", f"file={path},format={image_format},if=none,id={name}{options}",
            *(part.replace("NAME", name) for part in CONTROLLERS[controller][1])]


def direct_kernel():
    """Arguments that enter the disk's kernel at once, for tests of something else than starting. Whoever runs many
    things on the host beside it need not fear that the kernel finds its timer late, and gives up."""
    return ["-kernel", DISK_FOLDER / "vmlinuz", "-initrd", DISK_FOLDER / "initrd.img", "-append",
            "root=LABEL=system ro console=ttyS0 no_timer_check"]


def ovmf_flash(folder):
    """Arguments that start OVMF in flash memory, with variables of its own."""
    variables = pathlib.Path(folder) / "vars.fd"
    if not variables.exists():
        shutil.copy(OVMF_FLASH[1], variables)
    return ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_FLASH[0]}",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]


def has_flash(binary, machine):
    """Whether the machine takes firmware in flash memory."""
    answer = subprocess.run([binary, "-S", "-display", "none", "-nodefaults", "-monitor", "stdio", "-machine", machine,
                             "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_FLASH[0]}"],
                            input="quit\n", capture_output=True, text=True, timeout=60, check=False)
    return answer.returncode == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Console:
    """A program with its serial port on a socket; ended with the block."""

    def __init__(self, binary, folder, *arguments, memory=1024, qmp=False):
        self.folder = pathlib.Path(folder)
        self.path = self.folder / "serial"
        self.path.unlink(missing_ok=True)
        self.arguments = [binary, "-display", "none", "-nodefaults", "-no-reboot", "-m", str(memory),
                          "-serial", f"unix:{self.path},server=on,wait=off", *map(str, arguments)]
        if qmp:
            self.qmp_path = self.folder / "qmp"
            self.qmp_path.unlink(missing_ok=True)
            self.arguments += ["-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        self.text = ""
        self.log = ""
        self.commands = 0

    def __enter__(self):
        self.errors = open(self.folder / "stderr", "w", encoding="utf-8")
        self.record = open(self.folder / "console.log", "a", encoding="utf-8")
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=self.errors,
                                        stderr=self.errors)
        try:
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()
        self.record.close()

    def failure(self, what):
        said = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")
        return GuestFailed(f"{what}\ncommand: {' '.join(self.arguments)}\nstatus: {self.process.poll()}\n"
                           f"the program said: {said[-1500:]}\nthe console's end: {self.log[-2500:]}")

    def connect(self, timeout=30):
        end = time.monotonic() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(self.path))
                return
            except OSError:
                self.socket.close()
                if time.monotonic() > end or self.process.poll() is not None:
                    raise self.failure("no serial port") from None
                time.sleep(0.02)

    def wait_for(self, pattern, timeout=300):
        """Waits until a regular expression matches what has come; what matched and what came before it are consumed."""
        end = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match
            left = end - time.monotonic()
            if left <= 0:
                raise self.failure(f"no {pattern!r} in {timeout} s")
            if select.select([self.socket], [], [], left)[0]:
                data = self.socket.recv(65536)
                if not data:
                    raise self.failure(f"the program ended before {pattern!r}")
                self.text += self.keep(data)

    def keep(self, data):
        """Notes what came, in a file at once: for whoever waits or interrupts."""
        text = data.decode(errors="replace").replace("\r", "")
        self.log += text
        self.record.write(text)
        self.record.flush()
        return text

    def type(self, text):
        self.socket.sendall(text.encode())

    def login(self, timeout=300):
        self.wait_for("login: ", timeout)
        self.type("root\n")
        self.wait_for(r"# ", timeout)
        self.type("stty -echo; dmesg -n 1; exec sh\n")  # a shell without line editing
        self.type("PS1=; PS2=; echo rea''dy\n")
        self.wait_for("ready\n", timeout)

    def start(self, command):
        """Starts a shell command; finish() takes the answer."""
        self.commands += 1
        self.type(f"{{ {command}\n}} 2>&1; echo \"status=$? of {self.commands}.\"\n")

    def finish(self, timeout=300):
        match = self.wait_for(rf"(?s)(.*)status=(\d+) of {self.commands}\.\n", timeout)
        return int(match[2]), match[1].strip()

    def run(self, command, timeout=300):
        """Runs a shell command that must succeed, and gives its output."""
        self.start(command)
        status, output = self.finish(timeout)
        if status != 0:
            raise self.failure(f"{command!r} ended with {status}: {output}")
        return output

    def end(self, timeout=180):
        """Waits for the program's own end, which must be a good one."""
        self.collect(timeout)
        if self.process.returncode != 0:
            raise self.failure("the program ended badly")

    def collect(self, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if select.select([self.socket], [], [], 0.5)[0]:
                data = self.socket.recv(65536)
                if not data:
                    break
                self.keep(data)
        try:
            self.process.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self.failure(f"no end in {timeout} s") from None

    def power_off(self, timeout=180):
        self.type("poweroff\n")
        self.end(timeout)

    def cpu_seconds(self):
        """What the program has used of the host's processors."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
