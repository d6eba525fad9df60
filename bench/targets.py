#!/usr/bin/python3
"""What Postern aims at, measured, the aim beside each figure: CPU a message beside HAProxy in TCP mode and beside a bare relay that
stores and passes on, answers while some hosts are slow and at a given rate, the cost of many rules and of many senders, memory of
idle connections, one worker and two. Needs the release build (deploy/build.sh) and haproxy.

usage: bench/targets.py [--quick] [--json FILE] [PART ...]      default: all parts, under 35 minutes; --quick: no figures to quote

CPU a message is the gateway's process alone, user and system; medians of rounds in turn, and of the ratios in each round. Load, sink
and gateway share the machine's cores. Each message makes a line of the log, in a file. Exits 1 when Postern lost, doubled, damaged or
refused mail; figures never decide.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import socket
import statistics
import sys
import time

from measuring import Load, Sink, anonymous_kib, cpu_us, problems
from harness import BENCH, LOOPBACK, Gateway, Place, Process, free_port, wait_for  # (measuring knows where it lies)

SENDERS = 50
W1, W2 = ("--per-connection", 1), ("--per-connection", 100)  # messages of 4 KiB on a connection
WORKLOADS = {"W1": W1, "W2": W2}
HAPROXY = "HAProxy, TCP mode"


class HAProxy(Process):
    def __init__(self, place, sink, threads=2, connections=4000):
        self.port = free_port()
        config = place.folder / f"haproxy-{self.port}.cfg"
        config.write_text(
            f"global\n    nbthread {threads}\n    maxconn {connections}\n"
            "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 600s\n    timeout server 600s\n"
            f"listen smtp\n    bind {LOOPBACK}:{self.port}\n    server sink {sink.address}\n")
        super().__init__(["haproxy", "-db", "-f", config], place.folder, f"haproxy-{self.port}")
        self.wait_listening(self.port)


class Relay(Process):
    """The least that stores a message and passes it on."""

    def __init__(self, place, sink):
        self.port = free_port()
        command = [BENCH, "relay", "--listen", f"{LOOPBACK}:{self.port}", "--to", sink.address]
        super().__init__(command, place.folder, f"relay-{self.port}")
        self.wait_listening(self.port)


def postern(place, sinks, rules="here.test sink", workers=2, cores=None, more_limits={}, **more):
    """`cores`: where it may run, all by default."""
    log = place.folder / f"log{Gateway.count + 1}"
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or ours)  # children have what their parent has
    try:
        gateway = place.add(Gateway(place, rules, {"sink": [sink.address for sink in sinks]}, workers=workers, log={"output": str(log)},
                                    limits={"connections_per_client": 0, **more_limits}, **more))
    finally:
        os.sched_setaffinity(0, ours)
    gateway.sinks = sinks  # asked what came
    return gateway


class Table:
    def __init__(self, quick):
        self.quick = quick
        self.rows = []
        self.part = None

    def begin(self, part, title):
        self.part = part
        print(f"\n{part}: {title}", flush=True)

    def row(self, what, value, unit, most=None):
        """`most`: the aim, which the value is not to exceed."""
        self.rows.append({"part": self.part, "what": what, "value": value, "unit": unit, "most": most})
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
        aim = "" if most is None else f"<= {most:<8g}{'met' if value <= most else 'MISSED'}"
        print(f"  {what:62}{value:12,.{digits}f} {unit:16}{aim}".rstrip(), flush=True)

    def cpu(self, name, runs):
        """The two rows that each path has."""
        self.row(f"{name}: messages a second", median(runs, "rate"), "/s")
        self.row(f"{name}: CPU a message", median(runs, "cpu_us"), "us")


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def ratio(runs, beside, key="cpu_us"):
    """The median of the ratios in each round: the machine was the same for both then."""
    return statistics.median(one[key] / other[key] for one, other in zip(runs, beside))


def run_once(place, path, *options):
    """One load to its end through a path: what it gave, and the CPU of the path."""
    before = cpu_us(path.pid)
    report = Load(place, path, getattr(path, "sinks", []), *options).end()
    used = cpu_us(path.pid) - before
    accepted = max(report["messages"]["accepted"], 1)
    return {"rate": report["messages_per_second"], "cpu_us": used / accepted, "message_p99_ms": report["message_ms"]["p99"],
            "answer_p99_ms": report["answer_ms"]["p99"]}


def in_turn(place, paths, rounds, *options, each=None):
    """All paths' first rounds, all paths' second in the other order, and so on: name -> its runs. One round before them warms up.
    `each`: further options by name and round."""
    runs = {name: [] for name in paths}
    for number in range(rounds + 1):
        for name, path in list(paths.items())[:: 1 if number % 2 else -1]:
            run = run_once(place, path, *options, *(each(name, number) if each else ()))
            if number > 0:
                runs[name].append(run)
    return runs


def mail(messages):
    return "-c", SENDERS, "-m", messages, "--recipient", "r%n@here.test"


# --- mail of 4 KiB -------------------------------------------------------------------------------


def measure_mail(table):
    rounds, messages = (1, 5000) if table.quick else (3, 40000)
    table.begin("mail", f"{SENDERS} senders, {messages:,} messages of 4 KiB a round, {rounds} rounds, two workers or threads")
    with Place() as place:
        sink, plain = place.add(Sink(place)), place.add(Sink(place, "--no-chunking"))
        paths = {
            "direct": sink,
            HAPROXY: place.add(HAProxy(place, sink)),
            "Postern": postern(place, [sink]),
            "Postern, smart host without CHUNKING": postern(place, [plain]),
        }
        for workload, options in WORKLOADS.items():
            runs = in_turn(place, paths, rounds, *mail(messages), *options)
            table.row(f"{workload} direct: messages a second", median(runs["direct"], "rate"), "/s")
            for name in list(paths)[1:]:
                table.cpu(f"{workload} {name}", runs[name])
                if name != HAPROXY:
                    table.row(f"{workload} {name}, to HAProxy", ratio(runs[name], runs[HAPROXY]), "times")


# --- the price of storing ------------------------------------------------------------------------


def measure_store(table):
    rounds, messages = (1, 200) if table.quick else (5, 1000)
    table.begin("store", f"{SENDERS} senders, {messages:,} messages of 1 MiB a round, one a connection, {rounds} rounds, one thread each")
    for host, extra in ("", []), (", smart host without CHUNKING", ["--no-chunking"]):
        with Place() as place:
            sink = place.add(Sink(place, *extra))
            paths = {
                HAPROXY: place.add(HAProxy(place, sink, threads=1)),
                "relay": place.add(Relay(place, sink)),
                "Postern": postern(place, [sink], workers=1),
            }
            options = (*mail(messages), *W1, "--size", "1 MiB")
            runs = in_turn(place, paths, rounds, *options)
            for name in paths:
                table.cpu(f"{name}{host}", runs[name])
            table.row(f"Postern{host}, to the relay", ratio(runs["Postern"], runs["relay"]), "times", most=1.25)
            table.row(f"Postern{host}, to HAProxy", ratio(runs["Postern"], runs[HAPROXY]), "times", most=0.8)
            if not extra:
                del paths["relay"]  # takes DATA alone
                runs = in_turn(place, paths, rounds, *options, "--bdat")
                for name in paths:
                    table.cpu(f"{name}, senders by BDAT", runs[name])
                table.row("Postern, senders by BDAT, to HAProxy", ratio(runs["Postern"], runs[HAPROXY]), "times", most=0.7)


# --- hosts of which some answers are slow --------------------------------------------------------


def measure_slow_host(table):
    rate, hosts, seconds, slow_ms = 1000, 3, 6 if table.quick else 20, 2000
    rounds = 1 if table.quick else 3
    table.begin("slow_host", f"{rate:,} messages of 4 KiB a second, open loop, {hosts} hosts of 32 connections; one answer in a"
                             f" hundred comes {slow_ms} ms late")
    with Place() as place:
        paths = {}
        for name, extra in ("none slow", []), ("one in a hundred slow", ["--delay", f"body:{slow_ms}:0.01"]):
            paths[name] = postern(place, [place.add(Sink(place, *extra)) for _ in range(hosts)])
        runs = {name: [] for name in paths}
        for number in range(rounds + 1):  # the first warms up
            for name, path in list(paths.items())[:: 1 if number % 2 else -1]:
                report = Load(place, path, path.sinks, "-c", 300, "-d", f"{seconds} s", "--rate", rate, "--recipient", "r%n@here.test",
                              "--below", f"{slow_ms} ms").end()
                late = report["messages"]["late_starts"] + report["messages"]["not_started"]
                below = report["below"]["message_ms"]
                if number == 0:
                    continue
                runs[name].append({"p99": below["p99"], "answer": report["below"]["answer_ms"]["p99"], "late": late,
                                   "slow": 1 - below["count"] / report["messages"]["accepted"]})
        for name in paths:
            table.row(f"{name}: slowest percent of those under {slow_ms} ms, from its start", median(runs[name], "p99"), "ms")
            table.row(f"{name}: the same, from its last octet", median(runs[name], "answer"), "ms")
            # Who is kept behind a slow one would be one more.
            table.row(f"{name}: those over {slow_ms} ms", 100 * median(runs[name], "slow"), "%", 1.2 if name != "none slow" else 0)
            table.row(f"{name}: begun more than 10 ms late by the load", median(runs[name], "late"), "messages")
        both = runs["one in a hundred slow"], runs["none slow"]
        table.row("slowest percent of the others, to none slow", ratio(*both, "p99"), "times", most=1.5)
        table.row("the same, from the last octet", ratio(*both, "answer"), "times", most=1.5)


# --- answers at a given rate ---------------------------------------------------------------------


def measure_latency(table):
    rounds, seconds = (1, 3) if table.quick else (5, 8)
    table.begin("latency", f"open loop at 70 % of HAProxy's top rate, 4 KiB, {seconds} s a round, {rounds} rounds, two workers or threads")
    with Place() as place:
        sink = place.add(Sink(place))
        paths = {HAPROXY: place.add(HAProxy(place, sink)), "Postern": postern(place, [sink])}
        for workload, options in WORKLOADS.items():
            top = in_turn(place, {HAPROXY: paths[HAPROXY]}, rounds, "-c", SENDERS, "-d", f"{500 * seconds} ms", *options)
            rate = int(0.7 * median(top[HAPROXY], "rate"))
            table.row(f"{workload} the rate", rate, "/s")
            runs = in_turn(place, paths, rounds, "-c", 4 * SENDERS, "-d", f"{seconds} s", "--rate", rate,
                           "--recipient", "r%n@here.test", *options)
            for name in paths:
                table.row(f"{workload} {name}: slowest percent, from its start", median(runs[name], "message_p99_ms"), "ms",
                          median(runs[HAPROXY], "message_p99_ms") if name == "Postern" else None)
                table.row(f"{workload} {name}: slowest percent, from its last octet", median(runs[name], "answer_p99_ms"), "ms",
                          median(runs[HAPROXY], "answer_p99_ms") if name == "Postern" else None)


# --- many rules ----------------------------------------------------------------------------------


def domain(number):
    return f"d{number}.t{number % 977}.test"


def measure_rules(table):
    counts = (1000, 100_000) if table.quick else (1000, 100_000, 1_000_000, 10_000_000)
    rounds, messages = (1, 5000) if table.quick else (11, 20000)
    asked_max = 1_000_000  # so many of the domains are written to
    table.begin("rules", f"{SENDERS} senders, {messages:,} messages of 4 KiB a round to domains at random, {rounds} rounds, two workers")
    with Place() as place:
        sink = place.add(Sink(place))
        paths, asked = {}, {}
        for count in counts:
            name = f"{count:,} rules"
            rules = "".join(f"{domain(number)} sink\n" for number in range(count))
            paths[name] = postern(place, [sink], rules, start_seconds=200)
            del rules
            asked[name] = place.folder / f"domains{count}"
            numbers = range(count) if count <= asked_max else random.Random(count).sample(range(count), asked_max)
            asked[name].write_text("".join(domain(number) + "\n" for number in numbers))

        def each(name, number):
            return "--domains", asked[name], "--random", "--seed", number + 1

        for workload, options in WORKLOADS.items():
            runs = in_turn(place, paths, rounds, "-c", SENDERS, "-m", messages, "--recipient", "r%n@%d", *options, each=each)
            least = runs[f"{counts[0]:,} rules"]
            for name in paths:
                table.row(f"{workload} {name}: CPU a message", median(runs[name], "cpu_us"), "us")
                if runs[name] is not least:
                    table.row(f"{workload} {name}, to {counts[0]:,}", ratio(runs[name], least), "times", most=1.05)


# --- many senders --------------------------------------------------------------------------------


def measure_senders(table):
    # A connection is one descriptor to Postern and two to HAProxy.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few, many = SENDERS, {"Postern": min(9000, most // 2), HAPROXY: min(8000, most // 2 - 1000)}
    rounds, window = (1, 2) if table.quick else (4, 8)
    table.begin("senders", f"4 KiB, senders that stay, {window} s each when all are there, {rounds} rounds, two workers or threads")
    with Place() as place:
        sink = place.add(Sink(place))
        paths = {HAPROXY: place.add(HAProxy(place, sink, connections=many[HAPROXY] + 500)), "Postern": postern(place, [sink])}

        def one(name, count):
            path = paths[name]
            # Each address has ports of its own, and each network a share of the memory for bodies.
            sources = ("--source", ",".join(f"127.0.{1 + network}.1" for network in range(100)))
            load = Load(place, path, getattr(path, "sinks", []), "-c", count, "-d", "5 min",
                        "--recipient", "r%n@here.test", *sources)
            wait_for(lambda: len(os.listdir(f"/proc/{load.pid}/fd")) > count, f"{count} senders", 60)
            time.sleep(1)
            before, taken, began = cpu_us(path.pid), sink.taken(), time.monotonic()
            time.sleep(window)
            used, taken, took = cpu_us(path.pid) - before, sink.taken() - taken, time.monotonic() - began
            load.signal(signal.SIGTERM)  # it ends what it began
            load.end()
            return {"cpu_us": used / max(taken, 1), "rate": taken / took}

        runs = {(name, count): [] for name in paths for count in (few, many[name])}
        for _ in range(rounds):
            for name, count in runs:
                runs[name, count].append(one(name, count))
        for (name, count), some in runs.items():
            table.cpu(f"{name}, {count:,} senders", some)
        to = [ratio(runs["Postern", count], runs[HAPROXY, beside]) for count, beside in ((few, few), (many["Postern"], many[HAPROXY]))]
        table.row(f"Postern to HAProxy, {few} senders", to[0], "times")
        table.row(f"Postern, {many['Postern']:,} senders, to HAProxy, {many[HAPROXY]:,}", to[1], "times")
        table.row("growth of the ratio", to[1] / to[0], "times", most=1.1)


# --- idle connections ----------------------------------------------------------------------------


def slope(points):
    """Of the straight line that lies nearest."""
    x, y = [p[0] for p in points], [p[1] for p in points]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in points) / sum((a - mean_x) ** 2 for a in x)


def measure_idle(table):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 700  # for this program, and Postern's own
    first = 64  # what a first connection brings with it is not what one costs
    table.begin("idle", "memory of greeted connections that do nothing (not the kernel's, which is the same for all)")
    for name in "Postern", HAPROXY:
        with Place() as place, contextlib.ExitStack() as sockets:
            sink = place.add(Sink(place))
            if name == "Postern":
                path, limit = postern(place, [sink], "here.test reject", workers=1), most
            else:
                path, limit = place.add(HAProxy(place, sink, threads=1, connections=most // 2)), most // 2
            counts = [count for count in ([1000, 2000] if table.quick else [1000, 5000, 10000, 15000, 19000]) if count + first < limit]
            if not table.quick and counts[-1] < limit - first - 500:
                counts.append((limit - first) // 500 * 500)
            opened = 0
            points = []
            for count in [0, *counts]:
                while opened < first + count:
                    sockets.enter_context(idle_connection(path.port, opened))
                    opened += 1
                time.sleep(1)
                points.append((count, anonymous_kib(path.pid) * 1024))
                if count:
                    table.row(f"{name}, {count:,} connections: each", (points[-1][1] - points[0][1]) / count, "octets",
                              1024 if name == "Postern" else None)
            table.row(f"{name}: the line through all of these", slope(points), "octets", 1024 if name == "Postern" else None)


def idle_connection(port, number):
    s = socket.create_connection((LOOPBACK, port), timeout=30, source_address=(f"127.0.1.{1 + number % 250}", 0))
    s.recv(512)
    s.sendall(b"EHLO idle.test\r\n")
    if b"250" not in s.recv(512):
        raise RuntimeError(f"connection {number} was not greeted")
    return s


# --- one worker and two --------------------------------------------------------------------------


def measure_workers(table):
    rounds, messages = (1, 5000) if table.quick else (5, 40000)
    table.begin("workers", f"{SENDERS} senders, {messages:,} messages of 4 KiB a round, {rounds} rounds; Postern with so many workers may"
                           " run on so many cores, load and sink on all of them")
    with Place() as place:
        sink = place.add(Sink(place))
        cores = sorted(os.sched_getaffinity(0))
        paths = {f"{count} worker{'s' if count > 1 else ''}": postern(place, [sink], workers=count, cores=cores[:count])
                 for count in (1, 2)}
        for workload, options in WORKLOADS.items():
            runs = in_turn(place, paths, rounds, *mail(messages), *options)
            for name in paths:
                table.cpu(f"{workload} {name}", runs[name])
            for what, key in ("messages a second", "rate"), ("CPU a message", "cpu_us"):
                table.row(f"{workload} 2 workers to 1, {what}", ratio(runs["2 workers"], runs["1 worker"], key), "times")


MEASURES = {
    "mail": measure_mail,
    "store": measure_store,
    "slow_host": measure_slow_host,
    "latency": measure_latency,
    "rules": measure_rules,
    "senders": measure_senders,
    "idle": measure_idle,
    "workers": measure_workers,
}


def end_early(number, _):
    """Ended from outside: what was started still has to go, and nothing may come between."""
    for each in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def raise_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure_parts(description, measures, quick, well):
    """The command line of a script of aims, and its exit code. `quick`: of --quick, `well`: what is said of the mail, in words."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("part", nargs="*", metavar="PART", help=", ".join(measures))
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", metavar="FILE", help="writes the rows there too")
    options = parser.parse_args()
    if set(options.part) - set(measures):
        parser.error(f"allowed: {', '.join(measures)}")
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, end_early)
    raise_descriptors()
    table = Table(options.quick)
    try:
        for name, measure in measures.items():
            if name in options.part or not options.part:
                measure(table)
    finally:
        if options.json:
            with open(options.json, "w") as out:
                json.dump({"quick": options.quick, "rows": table.rows, "problems": problems}, out, indent=1)
    missed = [row for row in table.rows if row["most"] is not None and row["value"] > row["most"]]
    print(f"\n{sum(row['most'] is not None for row in table.rows)} aims, {len(missed)} missed; "
          + (f"{len(problems)} PROBLEMS WITH MAIL" if problems else well))
    return 1 if problems else 0


def main():
    return measure_parts(__doc__, MEASURES, "a few minutes, one round: shows that it works, no figures to quote",
                         "no mail lost, doubled, damaged or refused")


if __name__ == "__main__":
    sys.exit(main())
