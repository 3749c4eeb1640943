# SPDX-License-Identifier: Apache-2.0
"""quickstart names problem and fix when it cannot go on. Each problem is provoked with programs of ours
first in PATH."""
import os
import shutil
import subprocess

import pytest

from emu import SOURCE

BASH = shutil.which("bash")


@pytest.fixture
def quickstart(tmp_path):
    """Runs `quickstart build` (or another command) with fake programs, of which dpkg-query says that no
    package is installed."""

    def run(programs=None, hidden=(), command=("build",), **environment):
        tools = tmp_path / "tools"
        tools.mkdir()
        for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
            for name in os.listdir(folder):
                if name not in hidden and not (tools / name).exists():
                    (tools / name).symlink_to(f"{folder}/{name}")
        for name, script in {"dpkg-query": "exit 1", "ninja": "exit 0", **(programs or {})}.items():
            (tools / name).unlink(missing_ok=True)
            (tools / name).write_text(f"#!{BASH}\n{script}\n")
            (tools / name).chmod(0o755)
        return subprocess.run([BASH, str(SOURCE / "quickstart"), *command], capture_output=True, text=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL,
                              env={**os.environ, "PATH": str(tools), **environment})

    return run


def expect_problem(result, problem, fix):
    assert result.returncode == 1, result
    lines = result.stderr.strip().splitlines()
    assert problem in lines[-2], result.stderr
    assert fix in lines[-1], result.stderr


def debian(tmp_path, text):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text(text)
    return str(tmp_path / "root")


DEBIAN12 = "ID=debian\nVERSION_ID=12\n"
# What dpkg-query prints for each package asked for, behind the options -W -f FORMAT.
INSTALLED = 'shift 3; for p; do echo -n "install ok installed $p "; done'


def test_other_distribution(quickstart, tmp_path):
    root = debian(tmp_path, "ID=fedora\nVERSION_ID=40\nPRETTY_NAME='Fedora Linux 40'\n")
    expect_problem(quickstart(PREFLIGHT_ROOT=root), "this machine runs Fedora Linux 40",
                   "Run it in a Debian 12 machine")


def test_neither_root_nor_sudo(quickstart, tmp_path):
    result = quickstart({"id": "echo 1000"}, hidden=["sudo"], PREFLIGHT_ROOT=debian(tmp_path, DEBIAN12))
    expect_problem(result, "needs root, and sudo cannot be used here", "Run this as root once")


def test_sudo_that_asks_without_a_terminal(quickstart, tmp_path):
    result = quickstart({"id": "echo 1000", "sudo": "exit 1"}, PREFLIGHT_ROOT=debian(tmp_path, DEBIAN12))
    expect_problem(result, "needs root, and sudo cannot be used here", "Run this as root once")


def test_no_network(quickstart, tmp_path):
    result = quickstart({"id": "echo 0", "apt-get": "exit 100"}, PREFLIGHT_ROOT=debian(tmp_path, DEBIAN12))
    expect_problem(result, "package servers cannot be reached", "Check the network")


def test_too_little_disk(quickstart):
    full = 'echo "Filesystem 1M-blocks Used Available Use% Mounted"; echo "/dev/x 100 93 7 93% /"'
    result = quickstart({"dpkg-query": INSTALLED, "df": full})
    expect_problem(result, "has 7 MiB free", "Make room there")


def test_old_processor(quickstart, tmp_path):
    flags = "fpu sse4_2 ssse3 popcnt cx16 lahf_lm movbe xsave abm bmi1 f16c fma avx"
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    result = quickstart(PREFLIGHT_CPUINFO=str(tmp_path / "cpuinfo"))
    expect_problem(result, "this processor is not x86-64-v3: it lacks avx2 bmi2", "Use an Intel Haswell")


def test_other_architecture(quickstart):
    expect_problem(quickstart({"uname": "echo aarch64"}), "this machine is aarch64", "Use an x86_64 machine")


def test_fuzzers_run_for_as_long_as_told_on_builds_with_sanitizers(quickstart):
    programs = {"dpkg-query": INSTALLED, "cmake": "echo cmake $*", "ninja": "echo ninja $*",
                "ctest": "echo $FUZZ_SECONDS: $*"}
    result = quickstart(programs, command=("fuzz", "7"))
    assert result.returncode == 0, result
    for line in ("ninja -C build/asan system-emu\n", "7: --test-dir build/asan -L ^fuzz$",
                 "ninja -C build/fuzz fuzz_devices fuzz_scsi fuzz_qcow2 fuzz_options\n",
                 "7: --test-dir build/fuzz -L ^fuzz$"):
        assert line in result.stdout, line


def test_unknown_command_is_explained():
    result = subprocess.run([BASH, str(SOURCE / "quickstart"), "bot"], capture_output=True, text=True, timeout=60,
                            check=False)
    assert result.returncode == 2
    assert "usage: quickstart build" in result.stderr


GTEST_LOG = """\
[ RUN      ] Avx512State.XsaveRoundTrip
{file}:192: Skipped
{reason}

[  SKIPPED ] Avx512State.XsaveRoundTrip (0 ms)
[ RUN      ] Other.Test
[       OK ] Other.Test (1 ms)
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] Avx512State.XsaveRoundTrip
"""


@pytest.fixture
def report_skips(tmp_path):
    def run(log):
        (tmp_path / "log").write_text(log)
        return subprocess.run([BASH, "-euc", f". '{SOURCE}/tests/report-skips.sh'; report_skips '{tmp_path}/log'"],
                              capture_output=True, text=True, timeout=60, check=False)

    return run


def test_nothing_skipped_is_nothing_said(report_skips):
    result = report_skips("[ RUN      ] A.B\n[       OK ] A.B (0 ms)\n....  [100%]\n4 passed in 0.1s\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_the_machine_lacks_may_be_skipped(report_skips):
    result = report_skips(GTEST_LOG.format(file="evex_test.cpp",
                                           reason="cannot run here: this processor has no AVX-512"))
    assert result.returncode == 0, result
    assert result.stderr == ("quickstart: skipped, because they cannot run on this machine:\n"
                             "Avx512State.XsaveRoundTrip: cannot run here: this processor has no AVX-512\n")


def test_what_could_have_been_made_may_not(report_skips):
    result = report_skips(GTEST_LOG.format(file="x.cpp", reason="cannot run here: this processor has no AVX-512") +
                          GTEST_LOG.format(file="tables_test.cpp",
                                           reason="iasl is not installed").replace("Avx512State", "Tables") +
                          "SKIPPED: test_gdb.py::test_steps: Skipped: gdb-multiarch is not installed\n"
                          "SKIPPED: test_gdb.py::test_x: Skipped: cannot run here: one processor\n")
    assert result.returncode == 1, result
    cannot, could = result.stderr.split("quickstart: skipped, though they could run here:\n")
    assert "Avx512State.XsaveRoundTrip: cannot run here" in cannot and "test_x" in cannot
    assert could == ("Tables.XsaveRoundTrip: iasl is not installed\n"
                     "test_gdb.py::test_steps: gdb-multiarch is not installed\n")


def test_quickstart_reads_the_log_that_ctest_writes():
    text = (SOURCE / "quickstart").read_text()
    assert ". tests/report-skips.sh\n" in text
    assert "report_skips build/release/Testing/Temporary/LastTest.log || status=1" in text
