# SPDX-License-Identifier: Apache-2.0
"""Runs one libFuzzer target on its corpus for a while: no crash, no hang, nothing that sanitizers complain of.

    run.py TARGET [--seconds 60] [--device NAME] [--keep FOLDER]

Targets: devices (each in turn, for its share of the time), virtqueues (the same for devices with rings), states (both,
whose saved states are damaged), scsi, qcow2, options. --keep gathers what was found worth keeping in FOLDER; the corpus
itself is not changed.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
FUZZERS = pathlib.Path(os.environ.get("EMU_FUZZERS", "build/fuzz/tests/fuzz")).absolute()
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
               "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
HANG_S = 30
MOST_MEMORY_MB = 3000
LONGEST = {"devices": 1024, "virtqueues": 1024, "states": 512, "scsi": 512, "qcow2": 16384, "options": 512}


def devices(target):
    listed = subprocess.run([FUZZERS / "fuzz_devices", "--list"], check=True, capture_output=True, text=True).stdout
    if target == "states":
        return listed.split()
    return [name for name in listed.split() if name.startswith("virt") == (target == "virtqueues")]


def run(target, device, seconds, keep):
    """(whether it went well, how many inputs were tried)"""
    binary = FUZZERS / ("fuzz_devices" if device else f"fuzz_{target}")
    name = device or target
    corpora = [CORPUS / kind / (device or "") for kind in
               (("devices", "virtqueues", "states") if target == "states" else (target,))]
    chosen = {"FUZZ_DEVICE": device} if device else {}
    if target == "states":
        chosen["FUZZ_STATES"] = "1"
    artifacts = pathlib.Path(tempfile.gettempdir()) / f"fuzz-{target}-{name}-"
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(keep) / target / (device or "") if keep else pathlib.Path(folder)
        found.mkdir(parents=True, exist_ok=True)
        command = [binary, f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANG_S}",
                   f"-rss_limit_mb={MOST_MEMORY_MB}", f"-max_len={LONGEST[target]}", f"-artifact_prefix={artifacts}",
                   "-print_final_stats=1", found.absolute(), *[known for known in corpora if known.is_dir()]]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**ENVIRONMENT, **chosen})
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    if done.returncode != 0:
        print(f"{name}: status {done.returncode}\n{done.stderr[-6000:]}")
        print("again:", *(f"{key}={value}" for key, value in chosen.items()), binary, "THE-FILE-ABOVE")
    return done.returncode == 0, int(count[1]) if count else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=list(LONGEST))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "60")))
    parser.add_argument("--device")
    parser.add_argument("--keep")
    arguments = parser.parse_args()
    todo = [None]
    if arguments.target in ("devices", "virtqueues", "states"):
        todo = [arguments.device] if arguments.device else devices(arguments.target)
    well, total = True, 0
    for device in todo:
        good, count = run(arguments.target, device, arguments.seconds / len(todo), arguments.keep)
        well = well and good
        total += count
        if device:
            print(f"{device}: {count} inputs", flush=True)
    print(f"{arguments.target}: {total} inputs in {arguments.seconds:.0f} s, {'nothing found' if well else 'FAILED'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
