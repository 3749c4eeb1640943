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
    return pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]])


sys.exit(main())
