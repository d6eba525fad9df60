#!/usr/bin/env python3
"""Every C++ file is as .clang-format lays it out.

usage: tests/format.py [ROOT]      exit 0: all are; 1: the first lines that are not
"""

import pathlib
import subprocess
import sys

FOLDERS = ("include", "src", "bench", "tests")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    files = sorted(f for folder in FOLDERS for f in (root / folder).rglob("*") if f.suffix in {".cc", ".h"})
    run = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    print(run.stderr[:2000] if run.returncode else f"format: {len(files)} files are laid out")
    return 1 if run.returncode or not files else 0


if __name__ == "__main__":
    sys.exit(main())
