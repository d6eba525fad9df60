#!/usr/bin/python3
"""What was answered 250 is delivered, whatever is killed: the gateway by SIGKILL, again and again, while
postern-bench offers load and counts what its sink got.

usage: tests/system/kills.py [TEST ...]      POSTERN_KILLS=N: so many kills of the gateway instead of ten (tests/kill.sh)
"""

import json
import os
import random
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from harness import BENCH, LOOPBACK, POSTERN, Process, SystemTest, free_port, wait_for

KILLS = int(os.environ.get("POSTERN_KILLS", "10"))
PAUSES_S = (0.15, 0.6)
SENDERS = 20


class Kills(SystemTest):
    def setUp(self):
        super().setUp()
        self.random = random.Random(KILLS)
        self.sink_port, self.control_port = free_port(), free_port()
        self.sink = self.new_sink()

    def new_sink(self):
        sink = self.place.add(Process(
            [BENCH, "sink", f"{LOOPBACK}:{self.sink_port}", "--control", f"{LOOPBACK}:{self.control_port}", "--received", "1"],
            self.place.folder, "sink"))
        sink.wait_listening(self.sink_port)
        return sink

    def start(self, mode, **settings):
        self.gw = self.gateway(
            "here.test sink", {"sink": f"{LOOPBACK}:{self.sink_port}"}, workers=2, delivery={"mode": mode, "hybrid_deadline": "300 ms"},
            retry={"first": "1 s", "max": "2 s"}, limits={"connections_per_client": 0}, **settings)
        self.starts = 0

    def start_again(self):
        """The same gateway, where it stood."""
        self.starts += 1
        gw = self.place.add(Process([POSTERN, "run", "-c", self.gw.config], self.gw.folder, f"again{self.starts}"))
        gw.wait_listening(self.gw.port)
        return gw

    def load(self, seconds):
        return subprocess.Popen(
            [BENCH, "load", f"{LOOPBACK}:{self.gw.port}", "-c", str(SENDERS), "-d", f"{seconds:.0f} s", "--per-connection", "50",
             "--recipient", "r%n.%i@here.test", "--timeout", "20 s", "--sink", f"{LOOPBACK}:{self.control_port}", "--settle", "8 s",
             "--json"],
            stdout=subprocess.PIPE, text=True)

    def waiting(self):
        return self.gw.numbers()["postern_spool_messages"]

    def judge(self, load, unanswered_max):
        """Nothing that was promised is lost; twice came at most what an answer may have been lost of."""
        report = json.loads(load.communicate(timeout=120)[0])
        delivery = report["delivery"]
        self.assertGreater(report["messages"]["accepted"], 500, report)
        self.assertEqual(delivery["lost"], 0, report)
        self.assertEqual(delivery["body_changed"], 0, report)
        self.assertEqual(delivery["wrong_recipient"], 0, report)
        self.assertLessEqual(delivery["duplicate"], unanswered_max, report)
        return report

    def test_the_gateway_is_killed(self):
        for mode in ("queue", "hybrid"):
            with self.subTest(mode):
                self.start(mode)
                kills = KILLS if mode == "queue" else max(3, KILLS // 3)
                load = self.load(kills * (sum(PAUSES_S) / 2 + 0.6))
                running = self.gw
                for _ in range(kills):
                    time.sleep(self.random.uniform(*PAUSES_S))
                    running.child.kill()
                    running.child.wait()
                    running = self.start_again()
                # Each kill may lose the answers for what is under way to the host: its connections times the depth of each.
                self.judge(load, kills * 32 * 64)
                running.close()

    def test_the_smart_host_stands_still(self):
        for mode in ("queue", "hybrid"):
            with self.subTest(mode):
                self.start(mode)
                # It stands still: a ledger that dies says nothing of what it has.
                load = self.load(6)
                for _ in range(3):
                    time.sleep(0.8)
                    self.sink.child.send_signal(19)
                    time.sleep(0.8)
                    self.sink.child.send_signal(18)
                self.judge(load, 32 * 64 * 3)
                wait_for(lambda: self.waiting() == 0, "the spool is empty", seconds=20)
                self.gw.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
