# SPDX-License-Identifier: Apache-2.0
"""Runs one file of functional tests with pytest; says SKIPPED with the reason when something it needs is missing."""
import os
import sys


def main():
    binary = os.environ.get("EMU_BINARY", "build/release/system-emu")
    if not os.access(binary, os.X_OK):
        print(f"SKIPPED: {binary} was not built")
        return 0
    try:
        import pytest
    except ImportError:
        print("SKIPPED: python3-pytest is not installed")
        return 0

    class Skips:
        """A case that skipped must not pass for one that ran."""
        reasons = []

        def pytest_runtest_logreport(self, report):
            if report.skipped and hasattr(report, "wasxfail"):
                self.reasons.append(f"{report.nodeid}: expected to fail: {report.wasxfail.removeprefix('reason: ')}")
            elif report.skipped and isinstance(report.longrepr, tuple):
                self.reasons.append(f"{report.nodeid}: {report.longrepr[2]}")

    skips = Skips()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[skips])
    if status == 0:  # ctest takes this word for a skip, whatever else there is
        for reason in skips.reasons:
            print(f"SKIPPED: {reason}")
    return status


sys.exit(main())
