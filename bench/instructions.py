#!/usr/bin/python3
"""Instructions for each thing that a micro benchmark does (a lookup, a rule built, a command's round, a body, a reply), counted by callgrind:
the same number for the same program, however busy the machine. Needs the bench build (deploy/build.sh bench) and valgrind.

usage: bench/instructions.py [PROGRAM [REGEX]]      default: all of reply, smtp and route, whose 10 million rules are left out
"""

import pathlib
import re
import subprocess
import sys
import tempfile

MICRO = pathlib.Path(__file__).resolve().parents[1] / "build-bench/bench/micro"
PROGRAMS = {"reply": ".*", "smtp": ".*", "worker": ".*", "route": "/(1000|1000000)/"}


def names(program, pattern):
    listed = subprocess.run([program, "--benchmark_list_tests"], capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in listed if name and re.search(pattern, name)]


def count(program, name):
    """The last that the benchmark wrote out, which is its longest run: instructions and things done."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={folder}/out", program,
                        f"--benchmark_filter=^{re.escape(name)}$", "--benchmark_min_time=0.01"],
                       capture_output=True, check=True, timeout=600)
        last = None
        for file in pathlib.Path(folder).iterdir():
            text = file.read_text()
            trigger = re.search(r"^desc: Trigger: Client Request: ([0-9.]+)$", text, re.M)
            if trigger:
                number = int(re.search(r"^part: (\d+)$", text, re.M)[1])
                spent = int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1])
                last = max(last or (0, 0, 0), (number, spent, float(trigger[1])))
        if last is None or not last[2]:
            raise SystemExit(f"instructions.py: {name} wrote no count out")
        return last[1] / last[2]


def main():
    wanted = {sys.argv[1]: sys.argv[2] if len(sys.argv) > 2 else PROGRAMS.get(sys.argv[1], ".*")} if len(sys.argv) > 1 else PROGRAMS
    for room, pattern in wanted.items():
        program = MICRO / f"bench-{room}"
        if not program.exists():
            raise SystemExit(f"instructions.py: {program} is not there: deploy/build.sh bench")
        for name in names(program, pattern):
            print(f"{room + ' ' + re.sub('/manual_time$', '', name):48} {count(program, name):12,.1f}", flush=True)


if __name__ == "__main__":
    main()
