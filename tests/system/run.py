#!/usr/bin/python3
"""Runs the system tests against the binaries in $POSTERN_BUILD (default: build/).

usage: tests/system/run.py [NAME ...]      NAME: a module, class or test, as unittest names them; default: all of them
The last line is 'N passed, N failed'; exit 1 if any failed.
"""

import sys
import time
import unittest

MODULES = ["peers_direct", "cli", "scripts", "sync_delivery", "smart_hosts", "recipients", "pools", "tls", "auth", "tls_to_hosts", "named_hosts", "senders", "identity", "hostile", "limits", "smuggling", "privileges", "allocations", "real_mail", "contract", "admin", "reload", "migrate", "package"]


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


def main():
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:] or MODULES)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
    # A failing subtest is a failure of its own.
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.passed} passed, {failed} failed")
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
