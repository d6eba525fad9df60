"""What the measurements here stand on: sinks and loads of postern-bench as children, what a process spends, and faults of mail, which
alone decide about the exit code."""

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/system"))
from harness import BENCH, LOOPBACK, Process, free_port  # noqa: E402

LOAD_SECONDS_MAX = 400  # no load is meant to last longer, unless it says so
problems = []


def problem(text):
    problems.append(text)
    print(f"  WRONG: {text}", flush=True)


class Sink(Process):
    """A smart host that counts what comes. Further options are postern-bench's."""

    count = 0

    def __init__(self, place, *options, received=1):
        Sink.count += 1
        self.place = place
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.control = f"{LOOPBACK}:{free_port()}"
        self.options = ["--received", received, *options]
        self.start()

    def start(self):
        command = [BENCH, "sink", self.address, "--control", self.control, *self.options]
        super().__init__(command, self.place.folder, f"sink{Sink.count}")
        self.wait_listening(self.port)

    def taken(self):
        """Messages so far."""
        ip, port = self.control.split(":")
        with socket.create_connection((ip, int(port)), timeout=30) as s:
            s.sendall(b"report\n")
            with s.makefile() as lines:
                return json.loads(lines.readline())["messages"]


class Load(Process):
    """`postern-bench load` under way to whatever has a port; `end` gives its report. `sinks` are asked what came: what is lost,
    doubled or damaged is a problem, and what is refused."""

    count = 0

    def __init__(self, place, target, sinks, *options, lost_answers_max=0):
        Load.count += 1
        self.lost_answers_max = lost_answers_max  # messages that may be answered 451 4.4.2, or be delivered twice
        self.sinks = sinks
        controls = [word for sink in sinks for word in ("--sink", sink.control)]
        command = [BENCH, "load", f"{LOOPBACK}:{target.port}", *options, *controls, "--json"]
        super().__init__(command, place.folder, f"load{Load.count}")
        place.add(self)

    def running(self):
        return self.child.poll() is None

    def end(self, seconds_max=LOAD_SECONDS_MAX):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(seconds_max)
        if self.running():
            raise RuntimeError(f"{self.name} was not done after {seconds_max} s")
        try:
            report = json.loads(self.said())
        except ValueError:
            raise RuntimeError(f"{self.name} failed:\n{self.said()[-4000:]}") from None
        messages, delivery = report["messages"], report.get("delivery", {})
        bad = {name: delivery[name] for name in ("lost", "duplicate", "header_changed", "body_changed", "wrong_recipient",
                                                 "unexpected", "refused_delivered", "violations") if delivery.get(name)}
        if bad.get("duplicate", 0) <= self.lost_answers_max:
            bad.pop("duplicate", None)
        if messages["refused"] > self.lost_answers_max or messages["unknown"] or messages["unsent"] or bad:
            problem(f"{messages['refused']} refused, {messages['unknown']} unknown, {messages['unsent']} unsent, {bad},"
                    f" {report['answers']}, {report['errors']}")
        return report


def anonymous_kib(pid):
    """Memory of the process alone; shared libraries and files left out, and what the kernel holds for it."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", text)[1])


def cpu_us(pid):
    """CPU of all threads that live, user and system."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1000
