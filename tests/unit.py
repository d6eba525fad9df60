#!/usr/bin/python3
"""Runs the unit tests of a build folder through meson and counts their cases.

usage: tests/unit.py FOLDER       the last line is 'N passed, N failed'; exit 1 if any failed
"""

import json
import pathlib
import re
import subprocess
import sys


def cases(test):
    """(passed, failed) of one program: GoogleTest's own counts where it has printed them, else the program is one case."""
    output = test.get("stdout", "")
    passed = re.search(r"^\[  PASSED  \] (\d+) test", output, re.M)
    failed = re.search(r"^\[  FAILED  \] (\d+) test", output, re.M)
    good = test["result"] == "OK"
    if not passed and not failed:
        return (1, 0) if good else (0, 1)
    counts = int(passed[1]) if passed else 0, int(failed[1]) if failed else 0
    # Every case passed and the program failed all the same: a sanitizer or a crash at its end.
    return counts if good or counts[1] else (counts[0], 1)


def main():
    folder = pathlib.Path(sys.argv[1])
    log = folder / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", "10"])
    tests = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    counts = [cases(test) for test in tests]
    passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
