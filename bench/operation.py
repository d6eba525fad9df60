#!/usr/bin/python3
"""What an operator's day costs, in figures: reloads of a million rules under full load, rules that change every second, a smart
host that dies and comes back, one that is far away, and how two workers share long senders. Needs the release build
(deploy/build.sh); `rules` needs the domain list too (tests/corpus.py).

usage: bench/operation.py [--reloads N] [--seconds N] [reload] [rules] [death] [distance] [workers]      default: all of them

Exits 1 when mail was lost, doubled or refused, or went by rules that were not its own; figures never decide.
"""

import argparse
import collections
import datetime
import json
import re
import signal
import statistics
import sys
import time

from measuring import ROOT, Load, Sink, problem, problems
from harness import LOOPBACK, Gateway, Place, Process, free_port, wait_for  # noqa: E402 (measuring knows where it lies)

SENDERS = 50
DOMAINS = ROOT / ".cache/domains.txt"
RULES = 1_000_000
CHANGED = 10_000  # of them from one reload to the next
RELOAD_SECONDS = 2.5  # from one to the next


def delivered(log):
    """The log's lines of messages, with the time in seconds."""
    for text in open(log):
        line = json.loads(text)
        if line["event"] in ("delivered", "deferred", "refused", "unknown", "dropped", "rejected", "host trouble"):
            line["at"] = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
            yield line


# --- reloads -------------------------------------------------------------------------------------


def many_rules(number):
    """A million rules, of which a hundredth differs from one number to the next."""
    lines = ["here.test one"]
    for i in range(RULES - 1):
        lines.append(f"d{i}.{'x' + str(number % 2) if i < CHANGED else 'y'}.test one")
    return "\n".join(lines) + "\n"


def measure_reloads(count):
    with Place() as place:
        sink = place.add(Sink(place))
        gateway = place.add(Gateway(
            place, many_rules(0), {"one": sink.address}, workers=2, log={"output": "/dev/null"}, limits={"connections_per_client": 0}))
        texts = [many_rules(0), many_rules(1)]
        options = ["-c", SENDERS, "--per-connection", 100, "-d", f"{int(count * RELOAD_SECONDS)} s", "--recipient", "r%n@here.test"]
        quiet = Load(place, gateway, [sink], *options).end()
        before = gateway.rss_kib()
        took, sizes = [], []
        load = Load(place, gateway, [sink], *options)
        for number in range(1, count + 1):
            began = time.monotonic()
            gateway.write_rules(texts[number % 2])
            began_reload = time.monotonic()
            gateway.signal(signal.SIGHUP)
            wait_for(lambda: gateway.numbers()["postern_generation"] == number + 1, f"generation {number + 1}", 60)
            took.append(time.monotonic() - began_reload)
            sizes.append(gateway.rss_kib())
            if not load.running():
                problem(f"the load ended before reload {number}")
                break
            time.sleep(max(0.0, RELOAD_SECONDS - (time.monotonic() - began)))
        busy = load.end()
        time.sleep(2)
        print(f"{count} reloads of {RULES:,} rules under full load ({SENDERS} senders, 4 KiB, a hundred messages a connection)")
        print(f"  SIGHUP to in force, s: median {statistics.median(took):.2f}, longest {max(took):.2f}")
        for name, report in ("without", quiet), ("during", busy):
            print(f"  {name}: {report['messages_per_second']:,.0f} messages/s; answer, ms: p99 {report['answer_ms']['p99']:.1f},"
                  f" p99.9 {report['answer_ms']['p99.9']:.1f}, slowest {report['answer_ms']['max']:.1f}; {report['messages']['accepted']:,} accepted,"
                  f" {report['messages']['refused']} refused, {report['messages']['unknown']} unknown, errors {report['errors']}")
        print(f"  resident memory, MiB: before {before / 1024:.0f}, most {max(sizes) / 1024:.0f}, behind {gateway.rss_kib() / 1024:.0f}")


def measure_rules(seconds):
    with Place() as place:
        sinks = [place.add(Sink(place)), place.add(Sink(place))]
        domains = DOMAINS.read_text().split()
        log = place.folder / "log"

        def rules(generation):
            """Every domain's smart host changes with every generation."""
            return "".join(f"{domain} {'one' if (number + generation) % 2 else 'two'}\n" for number, domain in enumerate(domains))

        even, odd = rules(0), rules(1)
        gateway = place.add(Gateway(
            place, odd, {"one": sinks[0].address, "two": sinks[1].address}, workers=2, log={"output": str(log)},
            limits={"connections_per_client": 0}))
        load = Load(place, gateway, sinks, "-c", SENDERS, "-d", f"{seconds} s", "--rate", 2000, "--domains", DOMAINS)
        reloads = 0
        while load.running():
            began = time.monotonic()
            gateway.write_rules(odd if reloads % 2 else even)
            gateway.signal(signal.SIGHUP)
            reloads += 1
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))
        report = load.end()
        gateway.close()
        place_of = {domain: number for number, domain in enumerate(domains)}
        generations = collections.Counter()
        others = collections.Counter()
        for line in delivered(log):
            if line["event"] != "delivered":
                others[line["event"]] += 1
                continue
            generations[line["generation"]] += 1
            (to,) = line["to"]
            wanted = "one" if (place_of[to.split("@")[1]] + line["generation"]) % 2 else "two"
            if line["pool"] != wanted:
                problem(f"{to} went to {line['pool']} by generation {line['generation']}, whose rules say {wanted}")
        if others:
            problem(f"other answers: {dict(others)}")
        print(f"{len(domains):,} real domains as rules, another file every second for {seconds} s, 2,000 messages/s")
        print(f"  {reloads} reloads; {sum(generations.values()):,} messages by {len(generations)} generations, each by its own rules;"
              f" answer, ms: p99 {report['answer_ms']['p99']:.1f}, slowest {report['answer_ms']['max']:.1f}")


# --- smart hosts ---------------------------------------------------------------------------------


def shares(lines, hosts, begin, step):
    """For each step of time from `begin` on: host -> messages."""
    steps = collections.defaultdict(collections.Counter)
    for line in lines:
        if line["event"] == "delivered" and line["at"] >= begin:
            steps[int((line["at"] - begin) / step)][line["host"]] += 1
    return [steps[i] for i in range(max(steps, default=-1) + 1)]


def measure_death():
    with Place() as place:
        sinks = [place.add(Sink(place)) for _ in range(4)]
        log = place.folder / "log"
        gateway = place.add(Gateway(
            place, "here.test one", {"one": [sink.address for sink in sinks]}, workers=2, log={"output": str(log)},
            limits={"connections_per_client": 0}))
        # The dead one's ledger is gone with it: what it had taken is not compared.
        load = Load(place, gateway, [], "-c", SENDERS, "-d", "40 s", "--rate", 2000, "--recipient", "r%n@here.test", lost_answers_max=SENDERS)
        time.sleep(8)
        victim = sinks[0]
        died = time.time()
        victim.child.kill()
        victim.child.wait()
        time.sleep(8)
        retried = sum(value for name, value in gateway.numbers().items()
                      if name.startswith("postern_host_messages_total") and victim.address in name and 'class="none"' in name)
        victim.start()
        back = time.time()
        report = load.end()
        gateway.close()
        lines = list(delivered(log))
        last = max((line["at"] for line in lines if line.get("host") == victim.address and died - 1 < line["at"] < back
                    and line["event"] in ("delivered", "unknown")), default=died)
        troubles = [line["at"] for line in lines if line["event"] == "host trouble" and line["host"] == victim.address and line["at"] >= died - 0.1]
        fair = next((i for i, step in enumerate(shares(lines, sinks, back, 0.25))
                     if step[victim.address] >= 0.9 * sum(step.values()) / len(sinks)), None)
        events = collections.Counter(line["event"] for line in lines)
        if report["messages"]["refused"] != events["unknown"]:
            problem(f"{report['messages']['refused']} refused, but {events['unknown']} lost answers")
        print("one of four smart hosts is killed under 2,000 messages/s, and comes back 8 s later")
        print(f"  slowest answer {report['answer_ms']['max']:.1f} ms (p99.9 {report['answer_ms']['p99.9']:.1f}); {retried:.0f} messages retried elsewhere;"
              f" answers: {dict(events)}")
        print(f"  set aside {max(0.0, min(troubles, default=died) - died) * 1000:.0f} ms behind its death, last answer of a message there"
              f" {max(0.0, last - died) * 1000:.0f} ms behind it; back at its fair share {'never' if fair is None else f'{(fair + 1) * 0.25:.2f} s'} behind its start")


def measure_distance():
    hold_ms = 10
    with Place() as place:
        sink = place.add(Sink(place))
        port = free_port()
        place.add(Process([sys.executable, ROOT / "bench/hold.py", port, sink.port, hold_ms], place.folder, "hold")).wait_listening(port)
        gateway = place.add(Gateway(
            place, "here.test one", {"one": {"hosts": f"{LOOPBACK}:{port}", "connections": 1}}, workers=1, log={"output": "/dev/null"},
            limits={"connections_per_client": 0}))
        report = Load(place, gateway, [sink], "-c", 500, "-d", "20 s", "--recipient", "r%n@here.test").end()
        rate, by_turns = report["messages_per_second"], 1000 / (2 * hold_ms)
        print(f"a smart host {2 * hold_ms} ms away, on one connection")
        print(f"  {rate:,.0f} messages/s; one message a round trip would be {by_turns:.0f}: {rate / by_turns:.0f} times")


def measure_workers():
    for workers in 1, 2:
        with Place() as place:
            sink = place.add(Sink(place))
            gateway = place.add(Gateway(
                place, "here.test one", {"one": sink.address}, workers=workers, log={"output": "/dev/null"},
                limits={"connections_per_client": 0}))
            report = Load(place, gateway, [sink], "-c", SENDERS, "-d", "15 s", "--recipient", "r%n@here.test").end()
            gateway.signal(signal.SIGUSR1)
            pattern = r"^postern: worker (\d+): .*messages=(\d+)"
            counts = wait_for(lambda: re.findall(pattern, gateway.said(), re.M), "the state of the workers")
            shared = [int(count) for _, count in counts]
            print(f"{SENDERS} long senders, {workers} worker{'s' if workers > 1 else ''}: {report['messages_per_second']:,.0f} messages/s;"
                  f" by worker {', '.join(f'{count:,}' for count in shared)}"
                  + (f": {(max(shared) / min(shared) - 1) * 100:.0f} % apart" if workers > 1 else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="reload|rules|death|distance|workers")
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=300, help="of `rules`")
    options = parser.parse_args()
    measures = {
        "workers": measure_workers,
        "distance": measure_distance,
        "death": measure_death,
        "rules": lambda: measure_rules(options.seconds),
        "reload": lambda: measure_reloads(options.reloads),
    }
    if set(options.what) - set(measures):
        parser.error(f"allowed: {', '.join(measures)}")
    for name, measure in measures.items():
        if name in options.what or not options.what:
            measure()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
