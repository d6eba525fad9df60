#!/usr/bin/python3
"""Instructions for each thing that a micro benchmark does (a lookup, a rule built, a command's round, a body, a reply, a message through
a whole worker), counted by callgrind: the same number for the same program, however busy the machine. Needs the bench build
(deploy/build.sh bench) and valgrind.

usage: bench/instructions.py [--check | --record] [PROGRAM [REGEX]]      default: all of reply, smtp, worker and route
  --check   against bench/instructions.json: fails where one differs by more than 5 %, either way, and says 'N passed, N failed' last.
            Worse is a loss to be mended; better is to be recorded, so that it is kept
  --record  writes that file. Without a PROGRAM, and in --check, route's large tables are left out: they say what the small ones say
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
MICRO = ROOT / "build-bench/bench/micro"
FIGURES = ROOT / "bench/instructions.json"
PROGRAMS = {"reply": ".*", "smtp": ".*", "worker": ".*", "route": "/1000/"}
TOLERANCE = 0.05
AGAIN = 3  # times that is counted what differs


def names(program, pattern):
    # Under valgrind, where benchmarks have names of their own: with the number of their iterations.
    listed = subprocess.run(["valgrind", "--tool=none", program, "--benchmark_list_tests"],
                            capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in listed if name and re.search(pattern, name)]


def count(program, name):
    """Instructions for each thing done, as the benchmark wrote them out."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={folder}/out", program,
                        f"--benchmark_filter=^{re.escape(name)}$"],
                       capture_output=True, check=True, timeout=600)
        for file in pathlib.Path(folder).iterdir():
            text = file.read_text()
            done = re.search(r"^desc: Trigger: Client Request: ([0-9.]+)$", text, re.M)
            if done and float(done[1]):
                return int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1]) / float(done[1])
        raise SystemExit(f"instructions.py: {name} wrote no count out")


def count_all(wanted):
    """(title, instructions, how to count again) of each, as they come to be known, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        counts = []
        for room, pattern in wanted.items():
            program = MICRO / f"bench-{room}"
            if not program.exists():
                raise SystemExit(f"instructions.py: {program} is not there: deploy/build.sh bench")
            for name in names(program, pattern):
                title = room + " " + re.sub("(/iterations:[0-9]+|/manual_time)+$", "", name)
                counts.append((title, program, name, pool.submit(count, program, name)))
        for title, program, name, counted in counts:
            yield title, counted.result(), lambda program=program, name=name: count(program, name)


def check(counts):
    """Says how each differs from the figure that is committed; the exit code."""
    committed = json.loads(FIGURES.read_text())
    bad = 0
    good = 0
    for title, counted, again in counts:
        was = committed.pop(title, None)
        # A few dozen instructions depend on where a run's memory comes to lie, next to a page's end or not.
        tries = AGAIN
        while was is not None and abs(counted / was - 1) > TOLERANCE and tries > 0:
            tries -= 1
            counted = min(counted, again(), key=lambda each, was=was: abs(each - was))
        if was is None:
            said = "not in instructions.json"
        elif abs(counted / was - 1) > TOLERANCE:
            said = f"{counted / was - 1:+.1%} against {was:,}: " + ("mend it" if counted > was else "record it (--record)")
        else:
            good += 1
            continue
        bad += 1
        print(f"FAIL  {title}: {counted:,.0f} instructions, {said}")
    for title in committed:
        bad += 1
        print(f"FAIL  {title}: in instructions.json, and no benchmark has that name")
    print(f"{good} passed, {bad} failed")
    return 1 if bad or not good else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="against the committed figures")
    what.add_argument("--record", action="store_true", help="makes these the committed figures")
    parser.add_argument("program", nargs="?", choices=PROGRAMS)
    parser.add_argument("regex", nargs="?", help="of the benchmark's name")
    options = parser.parse_args()
    if options.program and (options.check or options.record):
        parser.error("--check and --record take all programs")
    wanted = {options.program: options.regex or ".*"} if options.program else PROGRAMS
    counts = count_all(wanted)
    if options.check:
        return check(counts)
    recorded = {}
    for title, counted, _ in counts:
        recorded[title] = round(counted)
        print(f"{title:48} {counted:12,.1f}", flush=True)
    if options.record:
        FIGURES.write_text(json.dumps(recorded, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
