# SPDX-License-Identifier: Apache-2.0
"""The distribution's libvirt, unmodified, with our program as <emulator>: probe, define, start,
suspend, resume, destroy.

The daemon runs in mount and network namespaces of its own, so that nothing of the host's libvirt is touched."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

import emu

GUEST = emu.SOURCE / "build/guest"
DAEMON = "/usr/sbin/libvirtd"

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <video><model type='none'/></video>
    <serial type='file'><source path='{log}'/><target port='0'/></serial>
    <console type='file'><source path='{log}'/><target type='serial' port='0'/></console>
  </devices>
</domain>
"""

# Runs inside the namespaces: puts empty folders over the daemon's own, starts it, and runs the commands given.
INSIDE = r"""
set -e
for folder in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
  mkdir -p "$folder"; mount -t tmpfs none "$folder"
done
ip link set lo up 2>/dev/null || true
mkdir -p /run/libvirt /var/lib/libvirt/qemu /var/log/libvirt/qemu
cat > /etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
END
"$DAEMON" --timeout 300 > "$WORK/libvirtd.log" 2>&1 &
daemon=$!
for _ in $(seq 200); do [ -S /run/libvirt/libvirt-sock ] && break; sleep 0.1; done
status=0
( . "$WORK/steps" ) || status=$?
kill $daemon; wait $daemon || true
cp /var/log/libvirt/qemu/*.log "$WORK/" 2>/dev/null || true
exit $status
"""


def skip_reason():
    if not os.access(DAEMON, os.X_OK) or shutil.which("virsh") is None:
        return "libvirt is not installed (libvirt-daemon-system, libvirt-clients)"
    if os.geteuid() != 0:
        return "libvirt's system daemon needs root"
    if subprocess.run(["unshare", "-m", "-n", "true"], capture_output=True).returncode != 0:
        return "no namespaces of our own here"
    return None


def find_guest():
    kernel = next((p for p in sorted(GUEST.glob("**/vmlinuz*"))), None)
    initrd = next((p for p in sorted(GUEST.glob("**/initrd*")) + sorted(GUEST.glob("**/*.cpio*"))), None)
    return kernel, initrd


def run_steps(work, steps):
    (work / "steps").write_text(steps)
    result = subprocess.run(["unshare", "-m", "-n", "sh", "-c", INSIDE], capture_output=True, text=True, timeout=280,
                            env={**os.environ, "WORK": str(work), "DAEMON": DAEMON, "LC_ALL": "C"})
    logs = "".join(f"\n---- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in work.glob("*.log"))
    assert result.returncode == 0, result.stdout + result.stderr + logs
    return result.stdout


@pytest.mark.skipif(skip_reason() is not None, reason=skip_reason() or "")
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_libvirt_runs_a_domain(machine):
    kernel, initrd = find_guest()
    if kernel is None or initrd is None:
        pytest.skip("the guest is not made; ./quickstart test makes it")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        emulator = work / "qemu-system-x86_64"
        emulator.symlink_to(pathlib.Path(emu.BINARY).resolve())
        console = work / "console"
        (work / "domain.xml").write_text(DOMAIN.format(name="t1", machine=machine, kernel=kernel.resolve(),
                                                       initrd=initrd.resolve(), emulator=emulator, log=console))
        output = run_steps(work, f"""
            set -ex
            virsh domcapabilities --virttype qemu --emulatorbin {emulator} --machine {machine} > {work}/capabilities
            grep "<domain>qemu</domain>" {work}/capabilities
            virsh define {work}/domain.xml
            virsh start t1
            virsh domstate t1
            virsh suspend t1; virsh domstate t1
            virsh resume t1; virsh domstate t1
            virsh domstats t1 > {work}/stats
            virsh qemu-monitor-command t1 --hmp info status
            for i in $(seq 600); do grep -q . {console} && break; sleep 0.2; done
            virsh send-key t1 KEY_A
            virsh destroy t1; virsh domstate t1
            virsh undefine t1
        """)
        states = [line for line in output.splitlines() if line in ("running", "paused", "shut off")]
        assert states == ["running", "paused", "running", "shut off"], output
        assert "VM status: running" in output
        assert console.stat().st_size > 0
