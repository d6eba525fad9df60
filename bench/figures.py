#!/usr/bin/python3
"""The figures of README.md, measured: memory of idle connections, and messages a second and CPU a message beside the direct path
and beside HAProxy in TCP mode, all in one run, in turn. Needs the release build (deploy/build.sh) and haproxy.

usage: bench/figures.py [--rounds N] [--messages N] [idle] [mail]      default: both, 3 rounds, 40,000 messages
"""

import argparse
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/system"))
from harness import BENCH, LOOPBACK, Gateway, Place, Process, free_port  # noqa: E402

SENDERS = 50
WORKLOADS = {"W1": 1, "W2": 100}  # 4 KiB messages on a connection


def anonymous_kib(pid):
    """Memory of the process alone; shared libraries and files left out."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", text)[1])


def cpu_us(pid):
    """CPU of all threads that live, user and system."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1000


def measure_idle(counts=(1000, 10000)):
    with Place() as place:
        gateway = place.add(Gateway(place, "here.test reject", limits={"connections_per_client": 0}, workers=1))
        open_sockets = []

        def open_one(number):
            s = socket.create_connection((LOOPBACK, gateway.port), timeout=30, source_address=(f"127.0.1.{1 + number % 250}", 0))
            s.recv(512)
            s.sendall(b"EHLO idle.test\r\n")
            s.recv(512)
            open_sockets.append(s)

        for number in range(64):  # what a first connection brings with it is not what one costs
            open_one(number)
        base = anonymous_kib(gateway.pid)
        print("idle connections  memory each, octets")
        for count in counts:
            while len(open_sockets) < 64 + count:
                open_one(len(open_sockets))
            time.sleep(1)
            print(f"{count:16,}  {(anonymous_kib(gateway.pid) - base) * 1024 / count:19,.0f}")
        for s in open_sockets:
            s.close()


def haproxy(place, to):
    port = free_port()
    config = place.folder / "haproxy.cfg"
    config.write_text(
        "global\n    nbthread 2\n    maxconn 4000\n"
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
        f"listen smtp\n    bind {LOOPBACK}:{port}\n    server sink {to}\n")
    process = place.add(Process(["haproxy", "-db", "-f", config], place.folder, "haproxy"))
    process.wait_listening(port)
    return process, port


def offer(port, per_connection, messages):
    """One load; (messages a second, ok)."""
    run = subprocess.run(
        [BENCH, "load", f"{LOOPBACK}:{port}", "-c", str(SENDERS), "-m", str(messages), "--per-connection", str(per_connection),
         "--recipient", "r%n@here.test"],
        capture_output=True, text=True, timeout=300)
    if run.returncode != 0:
        sys.exit(f"the load failed:\n{run.stdout}{run.stderr}")
    return float(re.search(r"messages_per_second\s+([\d.]+)", run.stdout)[1])


def measure_mail(rounds, messages):
    with Place() as place:
        sink_ports = {"sink": free_port(), "sink without CHUNKING": free_port()}
        for (name, port), extra in zip(sink_ports.items(), ([], ["--no-chunking"])):
            place.add(Process([BENCH, "sink", f"{LOOPBACK}:{port}", *extra], place.folder, name.replace(" ", "-"))).wait_listening(port)
        sink = f"{LOOPBACK}:{sink_ports['sink']}"
        plain = f"{LOOPBACK}:{sink_ports['sink without CHUNKING']}"
        log = {"output": str(place.folder / "log")}
        limits = {"connections_per_client": 0}
        postern = place.add(Gateway(place, "here.test sink", {"sink": sink}, limits=limits, log=log, workers=2))
        postern_plain = place.add(Gateway(place, "here.test sink", {"sink": plain}, limits=limits, log=log, workers=2))
        proxy, proxy_port = haproxy(place, sink)
        paths = {
            "direct": (None, sink_ports["sink"]),
            "HAProxy, TCP mode": (proxy.pid, proxy_port),
            "Postern": (postern.pid, postern.port),
            "Postern, smart host without CHUNKING": (postern_plain.pid, postern_plain.port),
        }
        print(f"{SENDERS} senders, {messages:,} messages of 4 KiB a round, medians of {rounds} rounds in turn")
        print(f"{'':4}{'':38}{'messages/s':>12}{'CPU us/message':>16}{'to HAProxy':>12}")
        for workload, per_connection in WORKLOADS.items():
            speed = {name: [] for name in paths}
            cpu = {name: [] for name in paths}
            for number in range(rounds + 1):  # the first warms up
                for name, (pid, port) in paths.items():
                    before = cpu_us(pid) if pid else 0
                    rate = offer(port, per_connection, messages)
                    used = (cpu_us(pid) - before) / messages if pid else 0
                    if number > 0:
                        speed[name].append(rate)
                        cpu[name].append(used)
            against = cpu["HAProxy, TCP mode"]
            for name in paths:
                ratio = statistics.median(a / b for a, b in zip(cpu[name], against))
                print(f"{workload:4}{name:38}{statistics.median(speed[name]):12,.0f}"
                      + (f"{statistics.median(cpu[name]):16.1f}{ratio:12.2f}" if name != "direct" else f"{'-':>16}{'-':>12}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="idle|mail")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=40000)
    options = parser.parse_args()
    what = options.what or ["idle", "mail"]
    if set(what) - {"idle", "mail"}:
        parser.error("allowed: idle, mail")
    if "idle" in what:
        measure_idle()
    if "mail" in what:
        measure_mail(options.rounds, options.messages)


if __name__ == "__main__":
    main()
