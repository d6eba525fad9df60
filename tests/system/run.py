#!/usr/bin/python3
"""Runs the system tests against the binaries in $POSTERN_BUILD (default: build/).

usage: tests/system/run.py [NAME ...]      NAME: a module, class or test, as unittest names them
Without a name all modules run, two at a time, since what they do most is wait; each says what it has to say when it is over.
The last line is 'N passed, N failed'; exit 1 if any failed.
"""

import concurrent.futures
import re
import subprocess
import sys
import time
import unittest

# The longest come first, so that none is left over at the end.
MODULES = ["real_mail", "queue_delivery", "hybrid_delivery", "hybrid_groups", "kills", "real_notifications", "limits", "smart_hosts", "reload", "senders",
           "hostile", "admin", "pools", "identity", "auth", "tls_to_hosts", "smuggling", "tls", "scripts",
           "peers_direct", "sync_delivery", "package", "named_hosts", "queue_tool", "migrate", "recipients", "contract",
           "allocations", "privileges", "cli"]


class Result(unittest.TextTestResult):
    """Counts what passed, and says how long each took."""

    passed = 0

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        self.passed += 1
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln(f"ok ({time.monotonic() - self.began:.1f} s)")


def run_module(name):
    """What it says, how many passed and failed; one that ends without its last line has failed."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed", (done.stdout.splitlines() or [""])[-1])
    passed, failed = (int(counts[1]), int(counts[2])) if counts else (0, 1)
    failed = max(failed, int(done.returncode != 0))
    print(f"{done.stdout}--- {name}: {time.monotonic() - began:.0f} s", flush=True)
    return passed, failed


def run_all():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(run_module, MODULES))
    passed, failed = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main():
    if not sys.argv[1:]:
        return run_all()
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
    # A failing subtest is a failure of its own.
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.passed} passed, {failed} failed")
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
