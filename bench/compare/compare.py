#!/usr/bin/python3
"""Postern beside other programs that pass mail on: the same load, the same sink, in turn, each in a run of its own that starts it,
warms it up, measures and ends it. run.sh installs what is needed and calls this.

usage: bench/compare/run.sh [--quick] [--only SYSTEM ...] [--workload NAME ...] [--out FOLDER]

Writes compare.md (the tables), compare.json (everything) and compare.svg (CPU a message) into the folder. A run that fails is a row
that says why; the exit code is 1 when one of Postern's failed, or it lost, doubled or damaged mail.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/system"), str(pathlib.Path(__file__).resolve().parent)]
import picture  # noqa: E402
import table  # noqa: E402
from harness import BENCH, CORPUS, LOOPBACK, Place, Process, free_port  # noqa: E402
from measure import Group, machine_seconds  # noqa: E402
from systems import all_systems  # noqa: E402

DOMAINS = [f"d{number}.compare.test" for number in range(1000)]
SENDERS = 50
SLOW = 512  # octets a second of a slow sender
LATE = 60  # seconds that a load may take beyond what it was told, and that many idle connections may take to come
TOLD = (("messages_per_second", "messages/s"), ("cpu_us", "us a message"), ("idle_kib", "KiB idle"),
        ("connection_kib", "KiB a connection"))  # what the line of a run says
BAD = ("lost", "duplicate", "header_changed", "body_changed", "wrong_recipient", "unexpected", "refused_delivered")


class Workload:
    def __init__(self, title, *load, sink=(), away_ms=0, slow_senders=0, everybody=False):
        self.title = title
        self.load = load  # options of the load
        self.sink = sink  # options of the sink
        self.away_ms = away_ms
        self.slow_senders = slow_senders  # so many, with a message each, instead of the usual ones for a time
        self.senders = slow_senders or SENDERS
        self.everybody = everybody


def workloads(quick):
    one = ("--per-connection", "1")
    return {
        "W1": Workload("4 KiB, one message a connection", *one, everybody=True),
        "W2": Workload("4 KiB, 100 messages a connection", "--per-connection", "100", everybody=True),
        "W3": Workload("1 MiB, one message a connection", *one, "--size", "1 MiB", everybody=True),
        "W4": Workload(f"4 KiB, one message a connection of {SLOW} octets a second", *one, slow_senders=200 if quick else 2000),
        "W5": Workload("real mail, one message a connection", *one, "--messages-from", CORPUS / "all"),
        "plain": Workload("W1 without PIPELINING and CHUNKING", *one, "--no-pipelining", sink=("--no-pipelining", "--no-chunking")),
        "away": Workload("W1, the smart host 20 ms away", *one, away_ms=10),
    }


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
                       "--received", self.system_class.received, *(workload.sink if workload else ())]
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
                   "--timeout", "60 s", *workload.load, *options]
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
                amount = ("-c", workload.slow_senders, "-m", workload.slow_senders, "--slow", SLOW)
            else:
                amount = ("-c", SENDERS, "--duration", milliseconds(options.seconds))
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

    def measure_idle(self):
        """Memory before the first message, and what a greeted connection that does nothing adds."""
        count = self.options.idle
        with self.started() as system:
            time.sleep(1)
            base = self.group.memory_kib()
            end = time.monotonic() + LATE
            with contextlib.ExitStack() as sockets:
                for number in range(count):
                    if time.monotonic() > end:
                        raise Failed(f"{number} connections in {LATE} s")
                    address = (LOOPBACK, system.ports[number % len(system.ports)])
                    s = sockets.enter_context(socket.create_connection(address, timeout=30))
                    greeting = s.recv(512)
                    s.sendall(b"EHLO idle.test\r\n")
                    answer = s.recv(512)
                    if not greeting.startswith(b"220") or not answer.startswith(b"250"):
                        raise Failed(f"connection {number + 1} was answered {(greeting + answer).decode('latin-1')}")
                time.sleep(1)
                held = self.group.memory_kib()
        return {"idle_kib": base, "connections": count, "connection_kib": (held - base) / count, "cpu_by": self.group.kind}


def milliseconds(seconds):
    """As the load wants it."""
    return f"{round(seconds * 1000)} ms"


def shortly(what):
    """One line of it."""
    lines = [line.strip() for line in str(what).splitlines() if line.strip()]
    text = "; ".join(lines[:1] + lines[-1:] if len(lines) > 1 else lines)
    return text if len(text) < 200 else text[:100] + " ... " + text[-90:]


def medians(runs):
    """Of a workload's rounds: medians of figures, sums of counts; failed rounds are named."""
    good = [run for run in runs if "failed" not in run]
    if not good:
        return {"failed": runs[0]["failed"]}
    result = {}
    for name, value in good[0].items():
        values = [run[name] for run in good]
        if name in ("messages", "lost", "doubled", "damaged", "not_accepted"):
            result[name] = sum(values)
        elif isinstance(value, (int, float)):
            result[name] = statistics.median(values)
        elif isinstance(value, dict):
            keys = {key for one in values for key in one}
            result[name] = {key: sum(one.get(key, 0) for one in values) for key in sorted(keys)}
        else:
            result[name] = value
    result["rounds"] = len(good)
    if len(good) < len(runs):
        result["failed_rounds"] = [run["failed"] for run in runs if "failed" in run]
    return result


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
    parser.add_argument("--quick", action="store_true", help="one short round of everything, under 4 minutes: no figures to quote")
    parser.add_argument("--only", nargs="+", metavar="SYSTEM", help="by the name of its file: postern haproxy ...")
    parser.add_argument("--workload", nargs="+", metavar="NAME", help="W1 to W5, plain, away, idle")
    parser.add_argument("--rounds", type=int, help="of W1 to W3 (3; quick: 1)")
    parser.add_argument("--seconds", type=float, help="that a load lasts (10; quick: 1)")
    parser.add_argument("--minutes", type=float, help="after which nothing more is begun (42; quick: 3.2)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / ".cache/compare", help="folder for the results (.cache/compare)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 10)
    options.minutes = options.minutes or (3.2 if options.quick else 42)
    options.warm_up = 0.5 if options.quick else 1  # seconds
    options.settle = 15 if options.quick else 45  # seconds that a system with a queue has to deliver what it took
    options.idle = 100 if options.quick else 1000  # connections

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
    print(f"{time.monotonic() - began:6.0f} s  {workload:6} {cls.name:22} {said}", flush=True)


def run_all(options):
    """The figures of each workload, and of memory."""
    began = time.monotonic()
    end = began + 60 * options.minutes
    measured, idle = {}, {}
    for name, workload in options.workloads.items():
        if name not in options.workload:
            continue
        runs = {cls: [] for cls in options.systems if workload.everybody or cls.thorough}
        for _ in range(options.rounds if workload.everybody else 1):
            for cls in runs:
                if any("failed" in run for run in runs[cls]):
                    continue  # once is enough: what hangs would take the others' time
                runs[cls].append(attempt(Run(cls, workload, options).measure, end))
                tell(began, name, cls, runs[cls][-1])
        measured[name] = {
            "title": workload.title,
            "senders": workload.senders,
            "systems": {cls.name: medians(some) for cls, some in runs.items()},
            "rounds": {cls.name: some for cls, some in runs.items()},
        }
    for cls in options.systems if "idle" in options.workload else ():
        if cls.name != "no gateway":
            idle[cls.name] = attempt(Run(cls, None, options).measure_idle, end)
            tell(began, "idle", cls, idle[cls.name])
    return {"minutes": round((time.monotonic() - began) / 60, 1), "workloads": measured, "idle": idle}


def main():
    options = parse()
    # Ended from outside, what was started still has to go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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
    bad = [figures for workload in result["workloads"].values() for name, figures in workload["systems"].items()
           if name.startswith("Postern") and ("failed" in figures or figures["faults"] or "failed_rounds" in figures)]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
