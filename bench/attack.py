#!/usr/bin/python3
"""What honest senders notice of an attack, the aim beside each figure. Needs the release build (deploy/build.sh).

usage: bench/attack.py [--quick] [--json FILE] [PART ...]      default: all parts, under 20 minutes; --quick: no figures to quote

  slow       5,000 slow connections and garbage from 500 more, while 50 honest senders work: without, on the gateway, and on another one
             beside it, which tells what the attackers themselves take from the machine
  addresses  a million different client addresses, one connection each, half of them by PROXY headers, with all rates on, while 50
             honest senders work

The attackers are a process of their own with the lowest priority, so that what they spend is not taken for what Postern does. Each
closed connection is made anew, so the attack never gets weaker. Exits 1 when an honest message was lost, doubled, damaged or refused;
figures never decide.
"""

import json
import pathlib
import select
import socket
import sys
import time

from measuring import Load, Sink, anonymous_kib
from targets import SENDERS, measure_parts, median, postern, raise_descriptors, ratio
from harness import BENCH, LOOPBACK, Place, Process, wait_for

HONEST = ",".join(f"127.0.77.{n}" for n in range(1, SENDERS + 1))
SLOW, GARBAGE = 5000, 500
ADDRESSES = 1_000_000
ADDRESSES_SECONDS_MAX = 540
PROXY = "127.0.99.1"


# --- the attackers -------------------------------------------------------------------------------


def address_of(number):
    """The addresses of attackers: 127.16.0.1 and so on, no network twice as often as another."""
    return f"127.{16 + number // 65536 % 200}.{number // 256 % 256}.{number % 256}"


def many_addresses(port, count, proxied):
    """One connection from each, up to the greeting. `proxied`: it is a proxy that names them."""
    poll = select.poll()
    sockets, headers = {}, {}
    counts = {"done": 0, "greeted": 0}
    begun = 0
    while counts["done"] < count:
        while begun < count and len(sockets) < 200:
            s = socket.socket()
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.bind((PROXY if proxied else address_of(begun), 0))
            s.connect_ex((LOOPBACK, port))
            if proxied:
                client = f"10.{begun // 65536}.{begun // 256 % 256}.{begun % 256}"
                headers[s.fileno()] = f"PROXY TCP4 {client} {LOOPBACK} 1025 25\r\n".encode()
            sockets[s.fileno()] = s
            poll.register(s, select.POLLOUT if proxied else select.POLLIN)
            begun += 1
        for fd, _ in poll.poll(1000):
            try:
                if fd in headers:
                    sockets[fd].send(headers.pop(fd))
                    poll.modify(fd, select.POLLIN)
                    continue
                counts["greeted"] += sockets[fd].recv(512).startswith(b"220 ")
            except OSError:
                headers.pop(fd, None)
            poll.unregister(fd)
            sockets.pop(fd).close()
            counts["done"] += 1
            if counts["done"] % 1000 == 0 or counts["done"] == count:
                print(json.dumps(counts), flush=True)


class Attackers(Process):
    count = 0

    def __init__(self, place, *command):
        Attackers.count += 1
        # They run when no other process wants to: they would be on other machines.
        super().__init__(["chrt", "--idle", "0", *command], place.folder, f"attackers{Attackers.count}")

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


def figures(report):
    return {"messages_per_second": report["messages_per_second"], "p99": report["message_ms"]["p99"]}


def measure_slow(table):
    """Many short rounds, medians of them and of the ratios in each: no attack, one on another gateway on the same cores, one on the
    gateway of the honest senders. The second has all that the attackers themselves take from the machine, so what the third differs from
    it by is the gateway's. At their steady rate the honest ones leave the machine idle most of the time: a busy one's slowest percent is
    its scheduler's."""
    rounds, seconds, slow, garbage = (1, 5, 1000, 100) if table.quick else (11, 5, SLOW, GARBAGE)
    table.begin("slow", f"{slow:,} slow connections and garbage from {garbage} more, {SENDERS} honest senders, 4 KiB, {rounds} x {seconds} s a run")
    with Place() as place:
        sink = place.add(Sink(place))
        gateway, beside = postern(place, [sink]), postern(place, [sink])
        duration = ("-d", f"{seconds} s")
        honest(place, gateway, "-d", "2 s").end()
        rate = int(honest(place, gateway, *duration).end()["messages_per_second"] * 0.125)
        attacked = {"without": None, "on another": beside, "with": gateway}
        steady = {name: [] for name in attacked}
        top = {name: [] for name in attacked}
        memory, said = [], []
        for number in range(rounds):
            for name, target in list(attacked.items())[:: -1 if number % 2 else 1]:
                with Place() as of_the_attack:
                    if target:
                        attackers = of_the_attack.add(Attackers(of_the_attack, BENCH, "attack", f"{LOOPBACK}:{target.port}", "--slow", slow,
                                                                "--garbage", garbage))
                        wait_for(lambda: attackers.last().get("open", 0) > 0.98 * (slow + garbage), "the attackers", 60)
                        time.sleep(3)
                    report, seen = watched(honest(place, gateway, *duration, "--rate", rate), gateway)
                    steady[name].append(figures(report))
                    top[name].append(figures(honest(place, gateway, *duration).end()))
                    if target is gateway:
                        memory += seen
                        said.append(attackers.last())
                time.sleep(2)  # until the gateway is rid of the attackers' connections
        table.row("the attack: connections open", median(said, "open"), "connections")
        table.row("the attack: connections that Postern ended meanwhile", median(said, "ended"), "connections")

        def slowest(runs, what):
            for name in attacked:
                table.row(f"{what}slowest percent, attack {name}", median(runs[name], "p99"), "ms")
            for name in "without", "on another":
                table.row(f"the same, with to {name}", ratio(runs["with"], runs[name], "p99"), "times", most=1.5)

        slowest(steady, f"honest, {rate:,} a second: ")
        table.row("accepted a second, without to with", ratio(steady["without"], steady["with"], "messages_per_second"), "times", most=1.1)
        for name in attacked:
            table.row(f"honest, as fast as they can, attack {name}", median(top[name], "messages_per_second"), "/s")
        for name in "without", "on another":
            table.row(f"the same, {name} to with", ratio(top[name], top["with"], "messages_per_second"), "times", most=1.1)
        slowest(top, "honest, as fast as they can: ")
        table.row("memory under attack, first", memory[0] / 1024, "MiB")
        table.row("memory under attack, most", max(memory) / 1024, "MiB")
        table.row("the same, most to first", max(memory) / memory[0], "times", most=1.1)


def measure_addresses(table):
    count = 20_000 if table.quick else ADDRESSES
    limits = {"connection_rate": 600, "message_rate": 1_000_000, "recipient_rate": 1_000_000, "refused_rate": 1000,
              "byte_rate": "100 GiB", "connections_per_client": 100}
    rate = 500
    table.begin("addresses", f"{count:,} client addresses, one connection each, half by PROXY headers, all rates on, {SENDERS} honest senders,"
                f" {rate} messages a second")
    with Place() as place:
        sink = place.add(Sink(place))
        gateway = postern(place, [sink], more_limits=limits, listener={"proxy_networks": [f"{PROXY}/32"]})
        honest(place, gateway, "-d", "2 s").end()
        quiet = honest(place, gateway, "-d", "5 s" if table.quick else "20 s", "--rate", rate).end()
        attackers = [place.add(Attackers(place, sys.executable, pathlib.Path(__file__).resolve(), "attacker", gateway.port, count // 2, kind))
                     for kind in ("direct", "proxied")]
        end = time.monotonic() + ADDRESSES_SECONDS_MAX

        def total(what):
            return sum(each.last().get(what, 0) for each in attackers)

        seen, reports = [], []  # of `seen`: clients so far, the process's memory, the tables'
        while any(each.running() for each in attackers):
            load = honest(place, gateway, "-d", "5 s", "--rate", rate)
            while load.running():
                seen.append((total("done"), anonymous_kib(gateway.pid), gateway.numbers()['postern_memory_bytes{holder="clients"}'] / 1024))
                time.sleep(0.5)
            reports.append(load.end())
            if time.monotonic() > end:
                raise RuntimeError(f"the attackers were not done after {ADDRESSES_SECONDS_MAX} s, but with {total('done'):,} addresses")
        for each in attackers:
            if each.child.returncode:
                raise RuntimeError(f"the attackers failed:\n{each.said()[-2000:]}")
        table.row("different client addresses", total("done"), "clients")
        table.row("of them greeted", total("greeted"), "clients")
        # A table holds 65,536; from four times as many on nothing more may come.
        full = [each for each in seen if each[0] > min(262_144, count / 2)] or seen[-1:]
        for column, name in (1, "memory of the process"), (2, "the limits' tables"):
            first, most = full[0][column], max(each[column] for each in full)
            table.row(f"{name}, once they are full", first / 1024, "MiB")
            table.row(f"{name}, most behind that", most / 1024, "MiB")
            table.row("the same, most to first", most / first, "times", most=None if table.quick else 1.05)  # then they never are full
        with_attack = sorted(report["message_ms"]["p99"] for report in reports)[len(reports) // 2]
        table.row("honest: slowest percent, without", quiet["message_ms"]["p99"], "ms")
        table.row("honest: slowest percent, with", with_attack, "ms")


MEASURES = {"slow": measure_slow, "addresses": measure_addresses}


def main():
    if sys.argv[1:2] == ["attacker"]:
        raise_descriptors()
        port, count, kind = sys.argv[2:]
        many_addresses(int(port), int(count), kind == "proxied")
        return 0
    return measure_parts(__doc__, MEASURES, "a minute: shows that it works, no figures to quote",
                         "no honest mail lost, doubled, damaged or refused")


if __name__ == "__main__":
    sys.exit(main())
