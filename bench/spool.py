#!/usr/bin/python3
"""What the spool costs, and what it bears, the aim beside each figure. Needs the release build (deploy/build.sh).

usage: bench/spool.py [--quick] [--json FILE] [PART ...]      default: all parts, under 20 minutes; --quick: no figures to quote

  flushes   queue: writes to the disk for a message, and the time from its last octet to its 250, beside one flushed write of the disk
  healthy   hybrid beside sync while the smart host answers: CPU a message, and what touches the disk
  away      queue and hybrid: the smart host is away for a minute under full load, and comes back
  recovery  a spool with a million messages that wait: how long a start takes, and a new sender meanwhile

The spool lies in a temporary folder (TMPDIR), or in the build's where that is in memory; it takes 10 GiB there. A load's own kept mail is
counted at the sink: exits 1 when any was lost, doubled, damaged or refused; figures never decide.
"""

import json
import mmap
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from measuring import Load, Process, Sink, anonymous_kib
from targets import SENDERS, W1, W2, WORKLOADS, in_turn, mail, measure_parts, median, postern, ratio
from harness import BENCH, BUILD, LOOPBACK, FakeHost, Place, Session, free_port, wait_for

SECONDS_MAX = 900  # that a load and the delivery of all that it sent may take
IN_FLIGHT = 32 * 64  # at most to the smart host: its connections times the depth of each
EVERY = 0.25  # seconds from one look to the next


def on_a_disk():
    """Temporary folders are made on one."""

    def kind(folder):
        return subprocess.check_output(["stat", "-f", "-c", "%T", folder], text=True).strip()

    if kind(tempfile.gettempdir()) == "tmpfs":
        tempfile.tempdir = str(BUILD)
    print(f"the spool lies below {tempfile.gettempdir()} ({kind(tempfile.gettempdir())})")


class Host:
    """A smart host that goes, with what it has in its hands, and comes back. What dies is a relay before the sink, whose ledger lives."""

    def __init__(self, place, sink):
        self.place, self.sink, self.port, self.process = place, sink, free_port(), None
        self.address = f"{LOOPBACK}:{self.port}"

    def come(self):
        command = [BENCH, "delay", "--listen", self.address, "--to", self.sink.address, "--ms", "0"]
        self.process = self.place.add(Process(command, self.place.folder, "host"))
        self.process.wait_listening(self.port)

    def go(self):
        self.process.child.kill()
        self.process.child.wait()


def spooling(place, hosts, sinks, mode, rules="here.test sink", **more):
    gateway = postern(place, hosts, rules, delivery={"mode": mode}, **more)
    gateway.sinks = sinks
    return gateway


def writes(gateway):
    return gateway.numbers()["postern_spool_writes_total"]


def kept(gateway):
    return gateway.numbers()["postern_spool_messages"]


def spool_health(gateway):
    return json.loads(gateway.ask("/health").text)["spool"]


def wait_empty(gateway):
    wait_for(lambda: kept(gateway) == 0, "the spool to be empty", SECONDS_MAX)


# --- writes to the disk --------------------------------------------------------------------------


def bare_writes_ms(place, count):
    """How long the disk takes for one write of two blocks that is flushed, as the spool does it."""
    buffer = mmap.mmap(-1, 8192)  # at a page's begin, which O_DIRECT wants
    buffer.write(os.urandom(8192))
    path = place.folder / "bare"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
    try:
        os.posix_fallocate(fd, 0, count * 8192)
        took = []
        for number in range(count):
            began = time.monotonic()
            os.pwrite(fd, buffer, number * 8192)
            took.append(1000 * (time.monotonic() - began))
    finally:
        os.close(fd)
        path.unlink()
    return sorted(took)


def measure_flushes(table):
    rounds, seconds = (1, 2) if table.quick else (3, 10)
    table.begin("flushes", f"queue, 4 KiB, one message a connection, {seconds} s a round, {rounds} rounds, two workers")
    with Place() as place:
        sink = place.add(Sink(place))
        gateway = spooling(place, [sink], [sink], "queue")
        bare = bare_writes_ms(place, 200 if table.quick else 2000)
        table.row("the disk: one flushed write of 8 KiB, median", statistics.median(bare), "ms")
        table.row("the disk: one flushed write of 8 KiB, slowest percent", bare[len(bare) * 99 // 100], "ms")
        runs = {count: [] for count in (10, SENDERS, 1000)}
        for number in range(rounds + 1):  # the first warms up
            for count in runs:
                before = writes(gateway)
                report = Load(place, gateway, [sink], "-c", count, "-d", f"{seconds} s", "--recipient", "r%n@here.test", *W1,
                              "--settle", "60 s").end(SECONDS_MAX)
                wait_empty(gateway)
                if number > 0:
                    answer = report["answer_ms"]
                    runs[count].append({"rate": report["messages_per_second"], "p50": answer["p50"], "p99": answer["p99"],
                                        "writes": (writes(gateway) - before) / report["messages"]["accepted"]})
        for count, some in runs.items():
            table.row(f"{count:,} senders: messages a second", median(some, "rate"), "/s")
            table.row(f"{count:,} senders: writes a message, its end among them", median(some, "writes"), "writes",
                      most=0.1 if count == 1000 else None)
            table.row(f"{count:,} senders: last octet to 250, median", median(some, "p50"), "ms")
            table.row(f"{count:,} senders: last octet to 250, slowest percent", median(some, "p99"), "ms")


# --- a healthy host ------------------------------------------------------------------------------


def measure_healthy(table):
    rounds, messages = (1, 5000) if table.quick else (5, 40000)
    table.begin("healthy", f"{SENDERS} senders, {messages:,} messages of 4 KiB a round, {rounds} rounds, two workers")
    with Place() as place:
        sink = place.add(Sink(place))
        paths = {mode: spooling(place, [sink], [sink], mode) for mode in ("sync", "hybrid")}
        for workload, options in WORKLOADS.items():
            runs = in_turn(place, paths, rounds, *mail(messages), *options)
            for mode in paths:
                table.cpu(f"{workload} {mode}", runs[mode])
            table.row(f"{workload} hybrid to sync", ratio(runs["hybrid"], runs["sync"]), "times", most=1.05)
        table.row("hybrid: writes to the disk", writes(paths["hybrid"]), "writes", most=0)


# --- the smart host is away ----------------------------------------------------------------------


class Watch:
    """What is looked at while time goes by: the most that the gateway kept, and its memory."""

    def __init__(self, gateway):
        self.gateway, self.kept, self.kib = gateway, 0, 0

    def look(self):
        self.kept = max(self.kept, kept(self.gateway))
        self.kib = max(self.kib, anonymous_kib(self.gateway.pid))

    def until(self, condition, seconds=SECONDS_MAX):
        """Seconds until that holds, or those."""
        began = time.monotonic()
        while not condition() and time.monotonic() < began + seconds:
            self.look()
            time.sleep(EVERY)
        return time.monotonic() - began


def measure_away(table):
    before_s, away_s, behind_s = (1, 4, 2) if table.quick else (5, 60, 15)
    table.begin("away", f"{SENDERS} senders, 4 KiB, a hundred messages a connection, as fast as they can; after {before_s} s the only host is"
                        f" away for {away_s} s, and {behind_s} s behind its return the load ends; two workers")
    for mode in ("queue", "hybrid"):
        with Place() as place:
            sink = place.add(Sink(place))
            host = Host(place, sink)
            host.come()
            # What was under way when the host went is unknown, and waits for its own time.
            gateway = spooling(place, [host], [sink], mode, retry={"first": "1 s", "max": "1 s"})
            memory = anonymous_kib(gateway.pid)
            load = Load(place, gateway, [sink], "-c", SENDERS, "-d", f"{before_s + away_s + behind_s} s", "--recipient", "r%n@here.test", *W2,
                        "--settle", f"{SECONDS_MAX - 120} s", lost_answers_max=IN_FLIGHT)
            watch = Watch(gateway)
            watch.until(lambda: False, before_s)
            host.go()
            watch.until(lambda: False, away_s)
            waiting, taken = kept(gateway), sink.taken()
            host.come()
            first = watch.until(lambda: sink.taken() > taken)
            drained = first + watch.until(lambda: kept(gateway) == 0)
            report = load.end(SECONDS_MAX)
            wait_empty(gateway)
            messages, answer = report["messages"], report["answer_ms"]
            table.row(f"{mode}: messages promised, and delivered", messages["accepted"], "messages")
            table.row(f"{mode}: answered 451 or delivered twice, of {IN_FLIGHT:,} whose answer was lost",
                      messages["refused"] + report["delivery"]["duplicate"], "messages")
            table.row(f"{mode}: kept when the host came back", waiting, "messages")
            table.row(f"{mode}: kept, most", watch.kept, "messages")
            table.row(f"{mode}: back until the first is delivered", first, "s")
            table.row(f"{mode}: back until all are, the load's last seconds among them", drained, "s")
            table.row(f"{mode}: messages a second, the host away or not", report["messages_per_second"], "/s")
            table.row(f"{mode}: last octet to 250, median", answer["p50"], "ms")
            table.row(f"{mode}: last octet to 250, slowest percent", answer["p99"], "ms")
            table.row(f"{mode}: last octet to 250, slowest", answer["max"], "ms")
            table.row(f"{mode}: memory at first", memory / 1024, "MiB")
            table.row(f"{mode}: memory, most", watch.kib / 1024, "MiB")


# --- recovery ------------------------------------------------------------------------------------


def closed(port):
    with socket.socket() as s:
        return s.connect_ex((LOOPBACK, port)) != 0


def measure_recovery(table):
    messages = 20_000 if table.quick else 1_000_000
    table.begin("recovery", f"a spool with {messages:,} messages of 4 KiB that wait, their host away; kill -9, and a start; two workers")
    with Place() as place:
        sink, other = place.add(Sink(place)), place.add(FakeHost())
        host = Host(place, sink)
        gateway = spooling(place, [host], [sink], "queue", f"here.test sink\nfresh.test {other.address}")
        memory = anonymous_kib(gateway.pid)
        load = Load(place, gateway, [sink], *mail(messages), *W2, "--settle", f"{SECONDS_MAX} s")
        watch = Watch(gateway)
        took = watch.until(lambda: watch.kept >= messages / 2)
        half = watch.kept, watch.kib
        took += watch.until(lambda: kept(gateway) == messages)
        watch.look()
        table.row("until all are kept", took, "s")
        table.row("memory a waiting message, of the second half", 1024 * (watch.kib - half[1]) / (messages - half[0]), "octets")
        table.row("memory a waiting message, buffers and all", 1024 * (watch.kib - memory) / messages, "octets")
        gateway.child.kill()
        gateway.child.wait()
        wait_for(lambda: closed(gateway.port), "the kernel to let go of the dead process's port")

        began = time.monotonic()
        Process.__init__(gateway, gateway.child.args, gateway.folder, gateway.name)
        gateway.wait_listening(gateway.port)
        listening = time.monotonic() - began
        reply = Session(gateway.port).mail("new@fresh.test")
        if reply.code != 250:
            raise RuntimeError(f"a new sender was told {reply}")
        accepted = time.monotonic() - began
        wait_for(lambda: other.messages, "the new sender's message", SECONDS_MAX)
        delivered = time.monotonic() - began
        wait_for(lambda: not spool_health(gateway)["recovering"] and kept(gateway) == messages, "recovery", SECONDS_MAX)
        recovered = time.monotonic() - began
        table.row("start until the port answers", listening, "s")
        table.row("start until a new sender has its 250", accepted, "s", most=recovered)
        table.row("start until that message is delivered", delivered, "s", most=recovered)
        table.row("start until all are recovered", recovered, "s")
        table.row("memory a waiting message, recovered, buffers and all", 1024 * (anonymous_kib(gateway.pid) - memory) / messages, "octets")
        watch, taken = Watch(gateway), sink.taken()
        host.come()
        first = watch.until(lambda: sink.taken() > taken)
        table.row("the host is back, until the first is delivered", first, "s")
        table.row("the host is back, until all are", first + watch.until(lambda: kept(gateway) == 0), "s")
        table.row("memory meanwhile, most", watch.kib / 1024, "MiB")
        load.end(SECONDS_MAX)


MEASURES = {"flushes": measure_flushes, "healthy": measure_healthy, "away": measure_away, "recovery": measure_recovery}


def main():
    on_a_disk()
    return measure_parts(__doc__, MEASURES, "a minute: shows that it works, no figures to quote",
                         "no mail lost, doubled, damaged or refused")


if __name__ == "__main__":
    sys.exit(main())
