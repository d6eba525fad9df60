#!/usr/bin/python3
"""Postern beside other programs that pass mail on: the same load, the same sink, in turn, each in a run of its own that starts
it, warms it up, measures and ends it. run.sh installs what is needed and calls this.

usage: bench/compare/run.sh [--quick] [--only SYSTEM ...] [--workload NAME ...] [--out FOLDER]

Writes compare.md (the tables), compare.json (everything) and compare.svg (CPU a message) into the folder. A run that fails is a
row that says why; the exit code is 1 when one of Postern's failed, or it lost, doubled or damaged mail.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/system"), str(pathlib.Path(__file__).resolve().parent)]
import picture  # noqa: E402
import rounds  # noqa: E402
import table  # noqa: E402
from harness import BENCH, CORPUS, LOOPBACK, Place, Process, free_port  # noqa: E402
from measure import Group, machine_seconds  # noqa: E402
from systems import all_systems  # noqa: E402

DOMAINS = [f"d{number}.compare.test" for number in range(1000)]
SENDERS = 50
LATE = 60  # seconds that a load may take beyond what it was told, and that many idle connections may take to come
TOLD = (("messages_per_second", "messages/s"), ("cpu_us", "us a message"), ("idle_kib", "KiB idle"),
        ("connection_kib", "KiB a connection"))  # what the line of a run says
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
BAD = ("lost", "duplicate", "header_changed", "body_changed", "wrong_recipient", "unexpected", "refused_delivered")


class Workload:
    def __init__(self, name, title, *load, sink=(), away_ms=0, slow_senders=0, octets_per_second=0, in_rounds=False):
        self.name = name
        self.title = title
        self.load = load  # options of the load
        self.sink = sink  # options of the sink
        self.away_ms = away_ms
        self.slow_senders = slow_senders  # so many, with a message each, instead of the usual ones for a time
        self.octets_per_second = octets_per_second  # of each of them
        self.senders = slow_senders or SENDERS
        self.in_rounds = in_rounds


def workloads(quick):
    one = ("--per-connection", "1")
    slow_senders, slow = (200, 2048) if quick else (2000, 512)
    listed = (
        Workload("W1", "4 KiB, one message a connection", *one, in_rounds=True),
        Workload("W2", "4 KiB, 100 messages a connection", "--per-connection", "100", in_rounds=True),
        Workload("W3", "1 MiB, one message a connection", *one, "--size", "1 MiB", in_rounds=True),
        Workload("W4", f"4 KiB, one message a connection of {slow:,} octets a second", *one, slow_senders=slow_senders,
                 octets_per_second=slow),
        Workload("W5", "real mail, one message a connection", *one, "--messages-from", CORPUS / "all"),
        Workload("plain", "W1 without PIPELINING and CHUNKING", *one, "--no-pipelining",
                 sink=("--no-pipelining", "--no-chunking")),
        Workload("away", "W1, the smart host 20 ms away", *one, away_ms=10),
    )
    return {workload.name: workload for workload in listed}


class Failed(Exception):
    """A run that gave no figures, and why."""


class Run:
    """One system under one workload, or idle."""

    def __init__(self, system_class, workload, options):
        self.system_class, self.workload, self.options = system_class, workload, options

    @contextlib.contextmanager
    def started(self):
        """The system, the folder it lives in, and its group, with the sink behind it."""
        workload = self.workload
        with Group() as group, Place() as place:
            self.place, self.group = place, group
            sink_port, self.control = free_port(), free_port()
            command = [BENCH, "sink", f"{LOOPBACK}:{sink_port}", "--control", f"{LOOPBACK}:{self.control}",
                       "--received", self.system_class.received, *self.system_class.sink, *(workload.sink if workload else ())]
            place.add(Process(command, place.folder, "sink")).wait_listening(sink_port)
            if workload and workload.away_ms:
                far_port = free_port()
                command = [BENCH, "delay", "--listen", f"{LOOPBACK}:{far_port}", "--to", f"{LOOPBACK}:{sink_port}",
                           "--ms", workload.away_ms]
                place.add(Process(command, place.folder, "delay")).wait_listening(far_port)
                sink_port = far_port
            self.domains = place.folder / "domains"
            self.domains.write_text("\n".join(DOMAINS) + "\n")
            self.system = self.system_class(place, sink_port, DOMAINS)
            try:
                with group.inside():
                    self.system.start()
                yield self.system
            except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                raise Failed(shortly(error)) from error

    def load(self, *options, seconds):
        """The report of a load, and the seconds until the sink had all that was taken."""
        workload = self.workload
        targets = [f"{LOOPBACK}:{port}" for port in self.system.ports]
        command = [BENCH, "load", *targets, "--domains", self.domains, "--json",
                   "--sink", f"{LOOPBACK}:{self.control}", "--settle", f"{self.options.settle if self.system.stores else 2} s",
                   "--timeout", "60 s", *workload.load, *self.system_class.load, *options]
        limit = seconds + self.options.settle + LATE
        output = self.place.folder / "load.json"
        before = self.taken()
        began = last = time.monotonic()
        with open(output, "wb") as out, open(output.with_suffix(".err"), "wb") as err:
            child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            try:
                while child.poll() is None:
                    if time.monotonic() - began > limit:
                        raise Failed(f"the load was not done after {limit:.0f} s")
                    time.sleep(0.05)
                    if self.system.stores and (now := self.taken()) > before:
                        before, last = now, time.monotonic()
                    if self.group.kind == "schedstat":
                        self.group.cpu_seconds()
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        try:
            return json.loads(output.read_bytes()), last - began
        except ValueError as error:
            said = output.with_suffix(".err").read_text(errors="replace")
            raise Failed(f"the load failed: {shortly(said)}") from error

    def taken(self):
        """Messages that the sink has."""
        with socket.create_connection((LOOPBACK, self.control), timeout=30) as s:
            s.sendall(b"report\n")
            with s.makefile() as lines:
                return json.loads(lines.readline())["messages"]

    def measure(self):
        """The figures of the workload."""
        workload, options = self.workload, self.options
        with self.started() as system:
            # What a first message brings with it (processes, connections, what is learned of a host) is not what one costs.
            self.load("-c", SENDERS, "--duration", milliseconds(options.warm_up), seconds=options.warm_up)
            if workload.slow_senders:
                amount = ("-c", workload.slow_senders, "-m", workload.slow_senders, "--slow", workload.octets_per_second)
            else:
                amount = ("-c", SENDERS, "--duration", milliseconds(options.seconds))
            with self.profiled() if options.profile else contextlib.nullcontext():
                cpu, machine, began = self.group.cpu_seconds(), machine_seconds(), time.monotonic()
                report, delivered = self.load(*amount, seconds=options.seconds)
                cpu, machine = self.group.cpu_seconds() - cpu, machine_seconds() - machine
                took = time.monotonic() - began
        messages, delivery = report["messages"], report["delivery"]
        if not delivery["delivered"]:
            raise Failed(f"nothing came: {shortly(json.dumps(report['answers']))} {report['errors'] or ''}")
        seconds = max(delivered, report["seconds"]) if system.stores else report["seconds"]
        return {
            "messages": delivery["delivered"],
            "seconds": seconds,
            "took": took,
            "messages_per_second": delivery["delivered"] / seconds,
            "answered_per_second": report["messages_per_second"],
            "cpu_us": cpu / delivery["delivered"] * 1e6,
            "machine_us": machine / delivery["delivered"] * 1e6,
            "answer_ms_median": report["answer_ms"]["p50"],
            "answer_ms_p99": report["answer_ms"]["p99"],
            "lost": delivery["lost"],
            "doubled": delivery["duplicate"],
            "damaged": delivery["header_changed"] + delivery["body_changed"],
            "not_accepted": messages["refused"] + messages["unknown"] + messages["unsent"],
            "faults": {name: delivery[name] for name in (*BAD, "violations") if delivery[name]},
            "errors": report["errors"],
            "cpu_by": self.group.kind,
        }

    @contextlib.contextmanager
    def profiled(self):
        """What the system does meanwhile, by perf, into a text of the folder of results: functions by their own share, and by
        that of all they call."""
        data, pids = self.place.folder / "perf.data", ",".join(map(str, self.group.pids()))
        record = ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", "2000", "-g", "-o", data, "-p", pids]
        child = subprocess.Popen(record, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(60)
        report = ["perf", "report", "-i", data, "--stdio", "-g", "none", "--percent-limit", "0.4"]
        own = [*report, "--no-children", "--fields", "overhead,dso,symbol"]
        called = [*report, "--children", "--fields", "overhead_children,overhead,symbol"]
        said = [subprocess.run(each, capture_output=True, text=True, check=True, timeout=120).stdout for each in (own, called)]
        folder = self.options.out / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.workload.name}, {self.system_class.name}.txt").write_text(re.sub(r"(?m) +$", "", "".join(said)))

    def measure_idle(self):
        """Memory before the first connection, and what a greeted one that does nothing adds, the first ones apart: what they
        bring with them is not what one costs."""
        options, end = self.options, time.monotonic() + LATE
        with self.started() as system, contextlib.ExitStack() as sockets:

            def memory_with(counts):
                for number in counts:
                    if time.monotonic() > end:
                        raise Failed(f"{number} connections in {LATE} s")
                    sockets.enter_context(self.idle_connection(system.ports[number % len(system.ports)]))
                time.sleep(1)
                return self.group.memory_kib()

            base = memory_with(())
            first = memory_with(range(options.first_idle))
            held = memory_with(range(options.first_idle, options.first_idle + options.idle))
        return {
            "idle_kib": base,
            "connections": options.idle,
            "connection_kib": (held - first) / options.idle,
            "cpu_by": self.group.kind,
        }

    def idle_connection(self, port):
        """A socket that was greeted and answered EHLO."""
        s = socket.create_connection((LOOPBACK, port), timeout=30)
        answers = s.recv(512)
        s.sendall(b"EHLO idle.test\r\n")
        answers += s.recv(512)
        if not answers.startswith(b"220") or b"\n250" not in answers:
            s.close()
            raise Failed(f"an idle connection was answered {answers.decode('latin-1')}")
        return s


def milliseconds(seconds):
    """As the load wants it."""
    return f"{round(seconds * 1000)} ms"


def shortly(what):
    """One line of it: the first, and of the others the first that says what is wrong, else the last."""
    lines = [line.strip() for line in str(what).splitlines() if line.strip()] or ["?"]
    text = lines[0]
    if len(lines) > 1:
        telling = re.search(r"(?im)^.*\b(?:\w*error|fatal|failed|cannot|denied|no such)\b.*$", "\n".join(lines[1:]))
        text += (" " if text.endswith(":") else "; ") + (telling[0] if telling else lines[-1])
    return text if len(text) < 200 else text[:100] + " ... " + text[-90:]


def attempt(call, end):
    """The figures, or why there are none."""
    if time.monotonic() > end:
        return {"failed": "not run: the time for the whole was over"}
    try:
        return call()
    except Failed as error:
        return {"failed": shortly(error)}
    except Exception as error:  # whatever it was: it is a row, and the rest goes on
        return {"failed": shortly(f"{type(error).__name__}: {error}")}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of all, under 4 minutes: no figures to quote")
    parser.add_argument("--only", nargs="+", metavar="SYSTEM", help="by the name of its file: postern haproxy ...")
    parser.add_argument("--workload", nargs="+", metavar="NAME", help="W1 to W5, plain, away, idle")
    parser.add_argument("--rounds", type=int, help="of W1 to W3 (3; quick: 1)")
    parser.add_argument("--seconds", type=float, help="that a load lasts (10; quick: 1)")
    parser.add_argument("--minutes", type=float, help="after which nothing more is begun (42; quick: 3.6)")
    parser.add_argument("--profile", action="store_true", help="perf looks on: texts in profiles/, no figures to quote")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / ".cache/compare", help="folder of results (.cache/compare)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 10)
    options.minutes = options.minutes or (3.6 if options.quick else 42)
    options.warm_up = 0.5 if options.quick else 3  # seconds; Haraka's compiler has its work behind it then
    options.settle = 15 if options.quick else 45  # seconds that a system with a queue has to deliver what it took
    options.first_idle = 20 if options.quick else 50  # connections that are not counted
    options.idle = 100 if options.quick else 1000  # connections that are

    options.systems = all_systems()
    known = sorted({file_of(cls) for cls in options.systems})
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"unknown system {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
    options.systems = [cls for cls in options.systems if file_of(cls) in (options.only or known)]
    options.workloads = workloads(options.quick)
    known = [*options.workloads, "idle"]
    if unknown := set(options.workload or ()) - set(known):
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
    options.workload = options.workload or known
    return options


def file_of(cls):
    return cls.__module__.rsplit(".", 1)[1]


def tell(began, workload, cls, figures):
    said = figures.get("failed") or ", ".join(f"{figures[key]:,.0f} {unit}" for key, unit in TOLD if key in figures)
    print(f"{time.monotonic() - began:6.0f} s  {workload:6} {cls.name:35} {said}", flush=True)


def run_all(options):
    """The figures of each workload, and of memory."""
    began = time.monotonic()
    end = began + 60 * options.minutes
    measured, idle = {}, {}
    for name, workload in options.workloads.items():
        if name not in options.workload:
            continue
        runs = {cls: [] for cls in options.systems if name in cls.workloads}
        for turn in range(options.rounds if workload.in_rounds else 1):
            for cls in list(runs)[:: -1 if turn % 2 else 1]:  # who is first finds another machine than who is last
                if any("failed" in run for run in runs[cls]):
                    continue  # once is enough: what hangs would take the others' time
                runs[cls].append(attempt(Run(cls, workload, options).measure, end))
                tell(began, name, cls, runs[cls][-1])
        measured[name] = {
            "title": workload.title,
            "senders": workload.senders,
            "systems": rounds.together({cls.name: some for cls, some in runs.items()}),
            "rounds": {cls.name: some for cls, some in runs.items()},
        }
    for cls in options.systems if "idle" in options.workload else ():
        if "idle" in cls.workloads:
            idle[cls.name] = attempt(Run(cls, None, options).measure_idle, end)
            tell(began, "idle", cls, idle[cls.name])
    return {"minutes": round((time.monotonic() - began) / 60, 1), "workloads": measured, "idle": idle}


def end_early(number, _):
    """Ended from outside: what was started still has to go, and nothing may come between."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    print(f"compare.py: ended by {signal.Signals(number).name}; ending what was started", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def main():
    options = parse()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end_early)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    result = {
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "settle": options.settle,
        "machine": table.machine(),
        "systems": {cls.name: table.promises(cls) for cls in options.systems},
        **run_all(options),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = table.markdown(result)
    (options.out / "compare.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "compare.md").write_text(text)
    (options.out / "compare.svg").write_text(picture.draw(result))
    print(f"\n{text}\nwritten to {os.path.relpath(options.out)}/compare.{{md,json,svg}}")
    all_runs = [*(workload["systems"] for workload in result["workloads"].values()), result["idle"]]
    bad = [figures for systems in all_runs for name, figures in systems.items() if name.startswith("Postern") and is_bad(figures)]
    return 1 if bad else 0


def is_bad(figures):
    """It failed, or mail was refused, lost, doubled or damaged."""
    return any(figures.get(key) for key in ("failed", "failed_rounds", "faults", "errors", "not_accepted"))


if __name__ == "__main__":
    sys.exit(main())
