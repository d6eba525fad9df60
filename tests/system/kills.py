#!/usr/bin/python3
"""What was answered 250 is delivered, whatever is killed: the gateway by SIGKILL, again and again, its smart host, or both, while
postern-bench offers load and counts what its sink got; and where the spool's disk is full. Needs root, for a small disk.

usage: tests/system/kills.py [TEST ...]      POSTERN_KILLS=N: so many kills of the gateway instead of ten (tests/kill.sh)
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from harness import BENCH, LOOPBACK, POSTERN, Process, SystemTest, free_port, wait_for

KILLS = int(os.environ.get("POSTERN_KILLS", "10"))
PAUSES_S = (0.15, 0.6)
SENDERS = 20
IN_FLIGHT = 32 * 64  # at most to the smart host: its connections times the depth of each
ON_ITS_WAY_S = 0.15  # an answer, from the sink to the record of it, of busy processes on a busy machine; and as many writes:
WRITES = 4
DISK_MIB = 220  # a few segments, and no more


class Disk:
    """A file system of its own, in a file."""

    def __init__(self, place):
        image, self.folder = place.folder / "disk.img", place.subfolder("disk")
        with open(image, "wb") as file:
            file.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.folder], check=True)

    def close(self):
        subprocess.run(["umount", "--lazy", self.folder], check=True)


class Pulse(threading.Thread):
    """Knows when nothing ran here, for longer than what is on its way takes by itself."""

    def __init__(self):
        super().__init__(daemon=True)
        self.pauses, self.over = [], threading.Event()  # (from, to) in seconds of UTC
        self.start()

    def run(self):
        before = time.time()
        while not self.over.wait(0.01):
            now = time.time()
            if now - before > 0.04:
                self.pauses.append((before, now))
            before = now

    def close(self):
        self.over.set()
        self.join()

    def ran_s(self, begin, end):
        """Of the time from one to the other, that in which something ran."""
        return end - begin - sum(max(0, min(end, over) - max(begin, began)) for began, over in self.pauses)


def slowest_write_s(folder):
    """Of some, to that disk as it is just now."""
    took = []
    with open(folder / "written", "wb") as file:
        for _ in range(20):
            began = time.monotonic()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return max(took)


class Kills(SystemTest):
    def setUp(self):
        super().setUp()
        self.pulse = self.place.add(Pulse())
        self.cuts = []  # (from, to) in seconds of UTC: somebody was killed, and what was on its way is lost
        self.write_s = slowest_write_s(self.place.folder)
        self.random = random.Random(KILLS)
        self.sink_port, self.control_port, self.host_port = free_port(), free_port(), free_port()
        sink = self.place.add(Process(
            [BENCH, "sink", f"{LOOPBACK}:{self.sink_port}", "--control", f"{LOOPBACK}:{self.control_port}", "--received", "1"],
            self.place.folder, "sink"))
        sink.wait_listening(self.sink_port)

    def start_host(self):
        """What dies for the smart host, with what it has in its hands: a ledger that died would not say what it had taken."""
        self.smart_host = self.place.add(Process(
            [BENCH, "delay", "--listen", f"{LOOPBACK}:{self.host_port}", "--to", f"{LOOPBACK}:{self.sink_port}", "--ms", "1"],
            self.place.folder, "host"))
        self.smart_host.wait_listening(self.host_port)

    def kill_host(self):
        self.cut(self.smart_host)

    def cut(self, process):
        began = time.time()
        process.child.kill()
        process.child.wait()
        self.cuts.append((began, time.time()))

    def start(self, mode, workers=2, **settings):
        self.gw = self.running = self.gateway(
            "here.test sink", {"sink": f"{LOOPBACK}:{self.host_port}"}, workers=workers, delivery={"mode": mode, "hybrid_deadline": "300 ms"},
            retry={"first": "1 s", "max": "2 s"}, limits={"connections_per_client": 0}, **settings)

    def kill(self):
        """The gateway, and the same where it stood."""
        self.cut(self.running)
        self.running = self.place.add(Process([POSTERN, "run", "-c", self.gw.config], self.gw.folder, "again"))
        self.running.wait_listening(self.gw.port)

    def load(self, seconds, *options):
        return subprocess.Popen(
            [BENCH, "load", f"{LOOPBACK}:{self.gw.port}", "-c", str(SENDERS), "-d", f"{seconds * 1000:.0f} ms", "--per-connection", "50",
             "--recipient", "r%n.%i@here.test", "--timeout", "20 s", "--sink", f"{LOOPBACK}:{self.control_port}", "--settle", "20 s",
             "--json", *options],
            stdout=subprocess.PIPE, text=True)

    def judge(self, load, lost_answers_max, mode):
        """Nothing that was promised is lost; twice came at most what an answer may have been lost of."""
        report = json.loads(load.communicate(timeout=120 + KILLS)[0])
        delivery, messages = report["delivery"], report["messages"]
        self.assertGreater(messages["accepted"], 500, report)
        self.assertEqual(delivery["lost"], 0, report)
        self.assertEqual(delivery["body_changed"], 0, report)
        self.assertEqual(delivery["wrong_recipient"], 0, report)
        self.assertEqual(delivery["unexpected"], 0, report)
        self.assertLessEqual(delivery["duplicate"], lost_answers_max, report)
        print(f"{mode}: {messages['accepted']:,} promised, none lost, {delivery['duplicate']:,} twice of at most {lost_answers_max:,} whose"
              f" answer was under way; {messages['unknown']:,} without an answer to their sender", flush=True)
        self.explain(delivery["repeats_ms"])
        return report

    def explain(self, repeats_ms):
        """Each came once so shortly before somebody was killed that the answer cannot have been written down, and again only then."""
        self.write_s = max(self.write_s, slowest_write_s(self.place.folder))
        window = ON_ITS_WAY_S + WRITES * self.write_s
        before_ms, unexplained = [], []
        for taken_ms in repeats_ms:
            for first, again in zip(taken_ms, taken_ms[1:]):
                # What it had sent is read behind its death too.
                causes = [began for began, over in self.cuts if again / 1000 >= began and max(
                    self.pulse.ran_s(first / 1000, began), self.pulse.ran_s(over, first / 1000)) <= window]
                if causes:
                    before_ms.append(min((1000 * began - first for began in causes), key=abs))
                else:
                    unexplained.append((first, again))
        if before_ms:
            at = statistics.quantiles(before_ms, n=100, method="inclusive") if len(before_ms) > 1 else before_ms * 99
            print(f"  twice: taken {at[49]:.0f} ms before a kill (median), {at[0]:.0f} to {at[98]:.0f} ms (all but two percent), allowed"
                  f" {1000 * window:.0f}", flush=True)
        self.assertEqual(unexplained, [], f"behind no kill: {self.cuts}")

    def wait_empty(self):
        wait_for(lambda: self.gw.numbers()["postern_spool_messages"] == 0, "the spool is empty")

    def test_the_gateway_is_killed(self):
        """In hybrid its smart host is killed too, and away for a moment."""
        self.start_host()
        for mode in ("queue", "hybrid"):
            with self.subTest(mode):
                self.start(mode)
                kills = KILLS if mode == "queue" else max(3, KILLS // 3)
                load = self.load(kills * (sum(PAUSES_S) / 2 + 0.6))
                hosts_killed = 0
                for number in range(kills):
                    time.sleep(self.random.uniform(*PAUSES_S))
                    if mode == "hybrid":
                        if number % 2:
                            self.start_host()
                        else:
                            self.kill_host()
                            hosts_killed += 1
                            time.sleep(self.random.uniform(*PAUSES_S))
                    self.kill()
                if hosts_killed and self.smart_host.child.poll() is not None:
                    self.start_host()
                # Each kill may lose the answers for what is under way to the host.
                self.judge(load, (kills + hosts_killed) * IN_FLIGHT, mode)
                self.wait_empty()
                self.running.close()

    def test_the_smart_host_is_killed(self):
        self.start_host()
        for mode in ("queue", "hybrid"):
            with self.subTest(mode):
                self.start(mode)
                load = self.load(4)
                for _ in range(3):
                    time.sleep(self.random.uniform(*PAUSES_S))
                    self.kill_host()
                    time.sleep(self.random.uniform(*PAUSES_S))
                    self.start_host()
                self.judge(load, 3 * IN_FLIGHT, mode)
                self.wait_empty()
                self.gw.close()

    def test_the_smart_host_stands_still(self):
        self.start_host()
        self.start("hybrid")
        load = self.load(3)
        time.sleep(0.8)
        self.smart_host.signal(signal.SIGSTOP)
        time.sleep(0.8)
        self.smart_host.signal(signal.SIGCONT)
        self.judge(load, IN_FLIGHT, "hybrid")
        self.wait_empty()

    def test_the_disk_is_full(self):
        """The smart host is away until nothing more is taken; the gateway is killed then, and starts on a full disk."""
        disk = self.place.add(Disk(self.place))
        self.start("queue", workers=1, spool={"path": str(disk.folder / "spool"), "min_free": "8 MiB"})
        load = self.load(6, "--size", "64 KiB")
        wait_for(lambda: self.mail_code() == 452, "that no mail is taken")
        self.kill()
        wait_for(lambda: self.mail_code() == 452, "that no mail is taken behind a start")
        self.start_host()
        report = self.judge(load, IN_FLIGHT, "queue, on a full disk")
        refusals = {code for step in ("mail", "rcpt", "body") for code in report["answers"][step] if code[0] in "45"}
        self.assertEqual(refusals, {"452"}, report)
        self.wait_empty()
        wait_for(lambda: self.mail_code() == 250, "that mail is taken again")
        self.wait_empty()
        self.kill()
        wait_for(self.is_ready, "the next start")
        time.sleep(2)
        numbers = self.gw.numbers()
        self.assertEqual(numbers["postern_spool_messages"], 0)
        self.assertEqual(sum(value for name, value in numbers.items() if name.startswith("postern_host_messages_total")), 0, numbers)

    def is_ready(self):
        try:
            return self.gw.ask("/ready").status == 200
        except ConnectionError:
            return False

    def mail_code(self):
        try:
            return self.session(self.gw).mail("x@here.test").code
        except ConnectionError:  # of the process that was killed: its listening sockets outlive it by a moment
            self.running.check_running()
            return None


if __name__ == "__main__":
    unittest.main(verbosity=2)
