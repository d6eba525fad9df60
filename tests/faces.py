#!/usr/bin/env python3
"""Every header of include/ compiles alone.

usage: tests/faces.py [ROOT]
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys


def compiles(root, header):
    return subprocess.run(
        [os.environ.get("CXX", "g++"), "-std=c++20", "-D_GNU_SOURCE", "-DTOML_EXCEPTIONS=0", "-DFMT_EXCEPTIONS=0", "-Wall", "-Wextra",
         "-Werror", "-fsyntax-only", "-I", str(root / "include"), "-include", str(header), "-x", "c++", os.devnull],
        capture_output=True, text=True)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    headers = sorted((root / "include").rglob("*.h"))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, run in zip(headers, pool.map(lambda h: compiles(root, h), headers)):
            if run.returncode:
                failed += 1
                print(f"{header.relative_to(root)} does not compile alone:\n{run.stderr}")
    print(f"faces: {len(headers) - failed} of {len(headers)} headers compile alone")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
