#!/usr/bin/python3
"""The measurements of bench/, each of its parts once and short: that they run, and that no mail was lost, doubled, damaged or refused
meanwhile, which their exit codes tell. Figures decide nothing here. Needs root, haproxy, the corpus (tests/corpus.py) and the release
build.

usage: tests/system/run.py measurements      (not in the run without a name; tests/run.sh --all has it)
"""

import json
import pathlib
import subprocess
import tempfile
import unittest

from harness import ROOT


class Measurements(unittest.TestCase):
    def run_quickly(self, script, *options):
        """Its output, for what is asserted of it."""
        done = subprocess.run([ROOT / "bench" / script, "--quick", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])
        return done.stdout

    def rows_of(self, script):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "rows.json"
            output = self.run_quickly(script, "--json", file)
            rows = json.loads(file.read_text())["rows"]
        self.assertTrue(rows, output)
        return {row["part"] for row in rows}

    def results_of(self, script, file, *options):
        """Workloads' systems and memory, none of them failed."""
        with tempfile.TemporaryDirectory() as folder:
            output = self.run_quickly(script, *options, "--out", folder)
            result = json.loads((pathlib.Path(folder) / file).read_text())
        measured = {name: each.get("systems", each) for name, each in result["workloads"].items()} | {"idle": result["idle"]}
        for name, systems in measured.items():
            self.assertTrue(systems, f"{name}: {output}")
            for system, figures in systems.items():
                self.assertNotIn("failed", figures, f"{name}, {system}")
        return set(measured)

    def test_targets(self):
        parts = {"mail", "store", "slow_host", "latency", "rules", "senders", "idle", "workers"}
        self.assertEqual(parts, self.rows_of("targets.py"))

    def test_spool(self):
        self.assertEqual({"flushes", "healthy", "away", "recovery"}, self.rows_of("spool.py"))

    def test_attacks(self):
        self.assertEqual({"slow", "addresses"}, self.rows_of("attack.py"))

    def test_tls(self):
        self.assertEqual({"W2", "idle"}, self.results_of("tls.py", "tls.json", "--only", "plain", "postern", "implicit", "haproxy"))

    def test_compare(self):
        workloads = {"W1", "W2", "W3", "W4", "W5", "plain", "away", "idle"}
        self.assertEqual(workloads, self.results_of("compare/compare.py", "compare.json", "--only", "postern", "haproxy"))
