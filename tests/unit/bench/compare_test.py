#!/usr/bin/python3
"""What bench/compare/ makes of its figures: medians and ratios of rounds, tables and the picture, with what failed in them; and
that its systems are as its tables need them. Nothing is started.

usage: tests/unit/bench/compare_test.py
"""

import pathlib
import sys
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "bench/compare"), str(ROOT / "tests/system")]
import compare  # noqa: E402
import measure  # noqa: E402
import picture  # noqa: E402
import rounds  # noqa: E402
import table  # noqa: E402
from systems import all_systems  # noqa: E402


def run(cpu_us, **more):
    """A round as compare.py measures one."""
    figures = {"messages": 1000, "messages_per_second": 500.0, "cpu_us": cpu_us, "machine_us": 3 * cpu_us + 100,
               "answer_ms_median": 1.5, "answer_ms_p99": 4.0, "lost": 0, "doubled": 0, "damaged": 0, "not_accepted": 0,
               "faults": {}, "errors": {}, "cpu_by": "cgroup v1"}
    return {**figures, **more}


def result(**systems):
    """A result of W1 with these systems' rounds."""
    facts = dict.fromkeys(("version", "answers_when", "durable", "reads", "routes", "logs"), "x")
    promised = {"no gateway": {**facts, "reads": "-"}, "HAProxy, TCP": {**facts, "reads": "nothing"}}
    measured = {name.replace("_", " "): runs for name, runs in systems.items()}
    measured["HAProxy, TCP"] = measured.pop("HAProxy", [run(200.0)])
    return {
        "date": "2026-01-02", "quick": False, "rounds": 3, "seconds": 10, "settle": 45, "minutes": 1.0,
        "machine": {"cores": 2, "cpu": "a CPU", "memory_gib": 4, "kernel": "6.1", "queues_on": "ext4"},
        "systems": {name: {"stores": False, "note": "", **promised.get(name, facts)} for name in measured},
        "workloads": {"W1": {"title": "4 KiB", "senders": 50, "systems": rounds.together(measured), "rounds": measured}},
        "idle": {"Postern sync": {"idle_kib": 1234, "connections": 1000, "connection_kib": 0.86, "cpu_by": "cgroup v1"},
                 "Haraka": {"failed": "a | reason"}},
    }


def row_of(text, name):
    """The cells of the first row that begins so behind the promises."""
    line = next(line for line in text.split("## ", 1)[1].splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


class Rounds(unittest.TestCase):
    def test_figures_are_medians_and_counts_are_sums(self):
        of = rounds.medians([run(10.0, lost=1, errors={"reset": 2}), run(30.0, lost=2, errors={"late": 1}), run(20.0)])
        self.assertEqual(of["cpu_us"], 20.0)
        self.assertEqual((of["messages"], of["lost"], of["rounds"]), (3000, 3, 3))
        self.assertEqual(of["errors"], {"reset": 2, "late": 1})
        self.assertEqual(of["cpu_by"], "cgroup v1")
        self.assertNotIn("failed_rounds", of)

    def test_a_failed_round_is_named(self):
        of = rounds.medians([run(10.0), {"failed": "it hung"}])
        self.assertEqual((of["cpu_us"], of["rounds"], of["failed_rounds"]), (10.0, 1, ["it hung"]))

    def test_all_rounds_failed(self):
        self.assertEqual(rounds.medians([{"failed": "it hung"}]), {"failed": "it hung"})

    def test_the_ratio_is_the_median_of_the_rounds_ratios(self):
        # The machine was slow in the second round: the ratio of the medians would be 100 / 200.
        of = rounds.together({"HAProxy, TCP": [run(200.0), run(400.0), run(100.0)], "A": [run(80.0), run(240.0), run(100.0)]})
        self.assertAlmostEqual(of["A"]["cpu_ratio"], 0.6)
        self.assertEqual(of["HAProxy, TCP"]["cpu_ratio"], 1.0)

    def test_no_ratio_without_a_yardstick(self):
        for beside in ({}, {"HAProxy, TCP": [{"failed": "it hung"}]}):
            self.assertNotIn("cpu_ratio", rounds.together({"A": [run(80.0)], **beside})["A"])
        self.assertNotIn("cpu_ratio", rounds.together({"HAProxy, TCP": [run(200.0)], "no gateway": [run(0.0)]})["no gateway"])


class Table(unittest.TestCase):
    def test_rows(self):
        text = table.markdown(result(no_gateway=[run(0.0)], Postern_sync=[run(100.0)], Haraka=[{"failed": "not | found"}]))
        self.assertEqual(row_of(text, "Postern sync")[:5], ["Postern sync", "500", "100", "0.50", "400"])
        self.assertEqual(row_of(text, "no gateway")[:5], ["no gateway", "500", "-", "-", "100"])
        failed = row_of(text, "Haraka")
        self.assertEqual(failed[1], "failed: not / found")
        self.assertEqual(len(failed), 1 + len(table.COLUMNS))
        self.assertIn("| Postern sync | 1,234 | 0.9 |", text)
        self.assertIn("| Haraka | failed: a / reason |", text)
        self.assertIn("(by cgroup v1)", text)
        for line in text.splitlines():
            self.assertFalse(line.startswith("|") and not line.endswith("|"), line)

    def test_no_counter_is_hidden(self):
        bad = run(100.0, lost=7, damaged=1, faults={"lost": 7, "body_changed": 1}, errors={"reset": 2})
        text = table.markdown(result(Postern_sync=[bad, {"failed": "it hung"}]))
        self.assertEqual(row_of(text, "Postern sync")[-4:], ["7", "0", "1", "0"])
        self.assertIn("Postern sync: body changed 1, lost 7, reset 2.", text)
        self.assertIn("Postern sync: a round failed: it hung.", text)

    def test_everything_failed(self):
        nothing = result(HAProxy=[{"failed": "gone"}], Postern_sync=[{"failed": "gone"}])
        nothing["idle"] = {}
        self.assertEqual(row_of(table.markdown(nothing), "Postern sync")[1], "failed: gone")
        self.assertIn("(by nothing)", table.markdown(nothing))


class Picture(unittest.TestCase):
    def said(self, of):
        root = xml.etree.ElementTree.fromstring(picture.draw(of))
        return [element.text for element in root if element.tag.endswith("text")], root

    def test_bars_and_what_failed(self):
        said, root = self.said(result(no_gateway=[run(0.0)], Postern_sync=[run(100.0)], Haraka=[{"failed": "<gone>"}]))
        self.assertIn("100 us (0.50)", said)
        self.assertEqual(said.count("failed"), 1)
        self.assertNotIn("no gateway", said)
        # Beside the ground and the legend: Postern's bar and HAProxy's.
        bars = [element for element in root if element.tag.endswith("rect")][1 + len(picture.KINDS) :]
        self.assertEqual(len(bars), 2)
        self.assertLess(float(bars[0].get("width")), float(bars[1].get("width")))

    def test_everything_failed(self):
        said, _ = self.said(result(HAProxy=[{"failed": "gone"}]))
        self.assertEqual(said.count("failed"), 1)


class Reasons(unittest.TestCase):
    def test_one_line_that_says_what_is_wrong(self):
        self.assertEqual(compare.shortly("it hung"), "it hung")
        self.assertEqual(compare.shortly(""), "?")
        self.assertEqual(compare.shortly("a ended with 1:\nat x\n  Error: none\n at y\nv20\n"), "a ended with 1: Error: none")
        self.assertEqual(compare.shortly("a\nb\nc\n"), "a; c")
        self.assertLess(len(compare.shortly(1000 * "x")), 200)


class Systems(unittest.TestCase):
    def test_each_has_a_place_and_workloads_that_exist(self):
        systems = all_systems()
        names, rows = [cls.name for cls in systems], [cls.row for cls in systems]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(sorted(set(rows)), rows)
        self.assertIn(rounds.YARDSTICK, names)
        for cls in systems:
            self.assertLessEqual(set(cls.workloads), {*compare.workloads(quick=False), "idle"}, cls.name)
        self.assertEqual(set(compare.workloads(quick=True)), set(compare.workloads(quick=False)))


class Measure(unittest.TestCase):
    def test_the_machine_spends_more_than_we(self):
        before = measure.machine_seconds()
        sum(range(3_000_000))
        self.assertGreater(measure.machine_seconds(), before)


if __name__ == "__main__":
    unittest.main()
