#!/usr/bin/python3
"""What honest senders notice of an attack, the aim beside each figure. Needs the release build (deploy/build.sh).

usage: bench/attack.py [--quick] [--json FILE] [PART ...]      default: all parts, under 15 minutes; --quick: no figures to quote

  slow       5,000 slow connections and garbage from 500 more, while 50 honest senders work
  addresses  a million different client addresses, one connection each, with all rates on, while 50 honest senders work

The attackers are a process of their own with the lowest priority, so that what they spend is not taken for what Postern does. Each
closed connection is made anew, so the attack never gets weaker. Exits 1 when an honest message was lost, doubled, damaged or refused;
figures never decide.
"""

import contextlib
import json
import os
import pathlib
import random
import select
import socket
import sys
import time

from measuring import Load, Sink, anonymous_kib
from targets import SENDERS, measure_parts, postern, raise_descriptors
from harness import LOOPBACK, Place, Process, wait_for

HONEST = ",".join(f"127.0.77.{n}" for n in range(1, SENDERS + 1))
SLOW, GARBAGE = 5000, 500


# --- the attackers -------------------------------------------------------------------------------


def address_of(number):
    """The addresses of attackers: 127.16.0.1 and so on, no network twice as often as another."""
    return f"127.{16 + number // 65536 % 200}.{number // 256 % 256}.{number % 256}"


class Slow:
    """One octet of what a sender would say, every few seconds; or nothing at all; or questions whose answers are never read."""

    EVERY = 2.0  # seconds
    SCRIPTS = (
        b"",
        b"EHLO slow.test\r\n" + b"NOOP " + b"x" * 1900,
        b"EHLO slow.test\r\nMAIL FROM:<a@slow.test>\r\nRCPT TO:<r@here.test>\r\nDATA\r\nSubject: x\r\n\r\n" + b"y" * 5000,
        b"HELP\r\n" * 200,
    )

    def __init__(self, number):
        self.script = self.SCRIPTS[number % len(self.SCRIPTS)]
        # Up to where it goes out at once.
        self.at = self.script.find(b"\r\n\r\n") + 4 if b"DATA" in self.script else self.script.find(b"\r\n") + 2 if self.script else 0
        self.first = self.script if number % len(self.SCRIPTS) == 3 else self.script[: self.at]
        self.reads = number % len(self.SCRIPTS) != 3

    def say(self):
        if self.first:
            said, self.first = self.first, b""
            return said
        said = self.script[self.at : self.at + 1]
        self.at += 1
        return said


class Garbage:
    EVERY = 0.25

    def __init__(self, number):
        self.random = random.Random(number)
        self.reads = True

    def say(self):
        octets = self.random.randbytes(self.random.randrange(1, 2000))
        return octets + b"\r\n" if self.random.random() < 0.5 else octets.replace(b"\0", b"\r\n")


def attack(port, slow, garbage, seconds):
    """In a process of its own; says how far it is in lines of JSON."""
    os.nice(19)
    kinds = [Slow] * slow + [Garbage] * garbage
    order = list(range(len(kinds)))
    random.Random(1).shuffle(order)
    due = [(index / len(order), number) for index, number in enumerate(order)]  # opened within a second or so
    sockets, acts = {}, {}
    counts = {"opened": 0, "ended": 0, "octets": 0}
    end = time.monotonic() + seconds
    start = told = time.monotonic()
    while (now := time.monotonic()) < end:
        later = []
        for when, number in due:
            if start + when > now:
                later.append((when, number))
                continue
            with contextlib.suppress(BlockingIOError):
                try:
                    if number not in sockets:
                        s = socket.socket()
                        s.setblocking(False)
                        s.bind((address_of(number), 0))
                        s.connect_ex((LOOPBACK, port))
                        sockets[number], acts[number] = s, kinds[number](number)
                        counts["opened"] += 1
                    else:
                        act = acts[number]
                        if act.reads and sockets[number].recv(65536) == b"":
                            raise ConnectionResetError
                except BlockingIOError:
                    pass
                except OSError:
                    counts["ended"] += 1
                    sockets.pop(number).close()
                    later.append((now - start + 0.5, number))
                    continue
                try:
                    counts["octets"] += sockets[number].send(acts[number].say())
                except BlockingIOError:
                    pass  # it does not read us: as slow as we
                except OSError:
                    counts["ended"] += 1
                    sockets.pop(number).close()
            later.append((now - start + kinds[number].EVERY, number))
        due = later
        if now - told > 1:
            told = now
            print(json.dumps({**counts, "open": len(sockets)}), flush=True)
        time.sleep(0.02)


def many_addresses(port, count, header):
    """One connection from each, up to the greeting; `header`: what a proxy says first."""
    os.nice(19)
    poll = select.poll()
    open_now = {}
    begun = done = 0
    while done < count:
        while begun < count and len(open_now) < 400:
            s = socket.socket()
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if header:
                s.bind(("127.0.99.1", 0))
            else:
                s.bind((address_of(begun), 0))
            s.connect_ex((LOOPBACK, port))
            if header:
                # The answer of the kernel on the loopback is there at once.
                with contextlib.suppress(OSError):
                    s.send(header.format(address_of(begun)).encode())
            open_now[s.fileno()] = s
            poll.register(s, select.POLLIN)
            begun += 1
        for fd, _ in poll.poll(1000):
            poll.unregister(fd)
            open_now.pop(fd).close()
            done += 1
            if done % 1000 == 0:
                print(json.dumps({"done": done}), flush=True)


class Attackers(Process):
    count = 0

    def __init__(self, place, *words):
        Attackers.count += 1
        super().__init__([sys.executable, pathlib.Path(__file__).resolve(), "attacker", *words], place.folder, f"attackers{Attackers.count}")

    def last(self):
        """What it said last."""
        lines = self.said().splitlines()
        return json.loads(lines[-1]) if lines else {}

    def running(self):
        return self.child.poll() is None


# --- the parts -----------------------------------------------------------------------------------


def honest(place, gateway, *options, **more):
    return Load(place, gateway, gateway.sinks, "-c", SENDERS, "--per-connection", 100, "--recipient", "r%n@here.test", "--source", HONEST,
                *options, **more)


def watched(load, gateway):
    """The load's report, and the gateway's memory each second meanwhile."""
    memory = []
    while load.running():
        memory.append(anonymous_kib(gateway.pid))
        time.sleep(1)
    return load.end(), memory


def measure_slow(table):
    seconds, slow, garbage = (5, 1000, 100) if table.quick else (60, SLOW, GARBAGE)
    table.begin("slow", f"{slow:,} slow connections and garbage from {garbage} more, {SENDERS} honest senders, 4 KiB, {seconds} s a run")
    with Place() as place:
        sink = place.add(Sink(place))
        gateway = postern(place, [sink])
        duration = ("-d", f"{seconds} s")
        honest(place, gateway, "-d", "2 s").end()
        top = honest(place, gateway, *duration).end()["messages_per_second"]
        rate = int(top * 0.4)
        quiet, _ = watched(honest(place, gateway, *duration, "--rate", rate), gateway)
        attackers = place.add(Attackers(place, "slow", gateway.port, slow, garbage, 4 * seconds + 120))
        wait_for(lambda: attackers.last().get("open", 0) > 0.98 * (slow + garbage), "the attackers", 60)
        time.sleep(3)
        busy, memory = watched(honest(place, gateway, *duration, "--rate", rate), gateway)
        top_busy = honest(place, gateway, *duration).end()["messages_per_second"]
        memory.append(anonymous_kib(gateway.pid))
        said = attackers.last()
        table.row("the attack: connections open", said["open"], "connections")
        table.row("the attack: connections that Postern ended meanwhile", said["ended"], "connections")
        table.row("honest, as fast as they can, without", top, "/s")
        table.row("honest, as fast as they can, with (the attackers' own CPU is the same cores')", top_busy, "/s")
        table.row(f"honest, {rate:,} a second: without, slowest percent", quiet["message_ms"]["p99"], "ms")
        table.row(f"honest, {rate:,} a second: with, slowest percent", busy["message_ms"]["p99"], "ms")
        table.row("the same, with to without", busy["message_ms"]["p99"] / quiet["message_ms"]["p99"], "times", most=1.5)
        table.row("accepted a second, without to with", quiet["messages_per_second"] / busy["messages_per_second"], "times", most=1.1)
        table.row("memory under attack, first", memory[0] / 1024, "MiB")
        table.row("memory under attack, most", max(memory) / 1024, "MiB")
        table.row("the same, most to first", max(memory) / memory[0], "times", most=1.1)


def measure_addresses(table):
    count = 20_000 if table.quick else 1_000_000
    rates = {"connection_rate": 600, "message_rate": 1_000_000, "recipient_rate": 1_000_000, "refused_rate": 1000, "byte_rate": "100 GiB"}
    table.begin("addresses", f"{count:,} client addresses, one connection each, all rates on, {SENDERS} honest senders, 500 messages a second")
    with Place() as place:
        sink = place.add(Sink(place))
        gateway = postern(place, [sink], more_limits=rates)
        rate = 500
        honest(place, gateway, "-d", "2 s").end()
        quiet = honest(place, gateway, "-d", "5 s" if table.quick else "20 s", "--rate", rate).end()
        attackers = place.add(Attackers(place, "addresses", gateway.port, count))
        memory, reports = [], []
        while attackers.running():
            load = honest(place, gateway, "-d", "5 s", "--rate", rate)
            while load.running():
                memory.append((attackers.last().get("done", 0), anonymous_kib(gateway.pid)))
                time.sleep(0.5)
            reports.append(load.end())
            if len(reports) > 200:
                raise RuntimeError("the attackers were not done after a thousand seconds")
        if attackers.child.returncode:
            raise RuntimeError(f"the attackers failed:\n{attackers.said()[-2000:]}")
        table.row("different clients seen", attackers.last()["done"], "clients")
        # A table holds 65,536; from four times as many on nothing more may come.
        filled = [kib for done, kib in memory if done > min(262_144, count / 2)] or [memory[-1][1]]
        table.row("memory once the table is full", filled[0] / 1024, "MiB")
        table.row("memory, most behind that", max(filled) / 1024, "MiB")
        table.row("the same, most to first", max(filled) / filled[0], "times", most=1.05)
        worst = sorted(report["message_ms"]["p99"] for report in reports)[len(reports) // 2]
        table.row("honest: slowest percent, without", quiet["message_ms"]["p99"], "ms")
        table.row("honest: slowest percent, with", worst, "ms")


MEASURES = {"slow": measure_slow, "addresses": measure_addresses}


def main():
    if sys.argv[1:2] == ["attacker"]:
        raise_descriptors()
        kind, port, *numbers = sys.argv[2:]
        if kind == "slow":
            attack(int(port), *(int(number) for number in numbers))
        else:
            many_addresses(int(port), int(numbers[0]), numbers[1] if numbers[1:] else "")
        return 0
    return measure_parts(__doc__, MEASURES, "a minute: shows that it works, no figures to quote",
                         "no honest mail lost, doubled, damaged or refused")


if __name__ == "__main__":
    sys.exit(main())
