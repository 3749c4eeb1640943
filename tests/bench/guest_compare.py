# SPDX-License-Identifier: Apache-2.0
"""What storage-compare and net-compare share: options, the two programs in turn, the table and its requirements."""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "guests"))
import debian_guest  # noqa: E402


def options(description, extra):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--a", default="qemu-system-x86_64 -accel tcg -cpu max", help="the program to compare with")
    parser.add_argument("--b", default="build/release/system-emu -accel tcg -cpu max", help="the program under test")
    parser.add_argument("--disk", type=pathlib.Path, help="folder that make-debian-disk filled",
                        default=debian_guest.DISK_FOLDER)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--machine", default="pc")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the images; the default is a temporary one")
    parser.add_argument("--require", default="", help="NAME=RATIO,...: exit 1 below these; NAME may be 'all'")
    parser.add_argument("--json", type=pathlib.Path)
    extra(parser)
    chosen = parser.parse_args()
    debian_guest.DISK_FOLDER = chosen.disk
    reason = debian_guest.needs()
    if reason:
        sys.exit(f"{parser.prog}: {reason}")
    return chosen


def requirements(text):
    wanted = {}
    for item in filter(None, text.split(",")):
        name, _, ratio = item.partition("=")
        wanted[name] = float(ratio)
    return wanted


def compare(chosen, measure):
    """Measures A and B in turn. measure(command) gives {row: (figure, unit, more is better)}."""
    results = {"a": [], "b": []}
    for _ in range(chosen.runs):
        for side in ("a", "b"):
            results[side].append(measure(getattr(chosen, side)))
    return report(chosen, results)


def report(chosen, results):
    """Prints the table; a ratio above 1 says that B is better. Gives the exit status."""
    wanted = requirements(chosen.require)
    failed = []
    rows = []
    print(f"{'':34} {'A':>12} {'B':>12} {'B better by':>12}")
    for name, (_, unit, more) in results["a"][0].items():
        a, b = (statistics.median(run[name][0] for run in results[side]) for side in ("a", "b"))
        good, bad = (b, a) if more else (a, b)
        ratio = good / bad if bad else float("inf")
        rows.append({"name": name, "unit": unit, "a": a, "b": b, "ratio": ratio})
        print(f"{name + ' ' + unit:34} {a:12.1f} {b:12.1f} {ratio:12.2f}")
        least = wanted.pop(name, wanted.get("all"))
        if least is not None and ratio < least:
            failed.append(f"{name}: {ratio:.2f} is below {least}")
    wanted.pop("all", None)
    failed += [f"nothing is called {name}" for name in wanted]
    if chosen.json:
        chosen.json.write_text(json.dumps({"a": chosen.a, "b": chosen.b, "rows": rows}, indent=1) + "\n",
                               encoding="utf-8")
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0
