#!/usr/bin/python3
"""What TLS costs: CPU a message with TLS 1.3 on both sides, Postern beside plain text, beside HAProxy and beside Postfix, on what
bench/compare runs on: the same load, the same sink, in turn, each in a run of its own. Needs the release build (deploy/build.sh), haproxy
and postfix (deploy/packages.sh compare), and root.

usage: bench/tls.py [--quick] [--only NAME ...] [--workload W1|W2|idle ...] [--rounds N] [--seconds N] [--profile] [--out FOLDER]

All have the same certificate (ECDSA P-256) and speak TLS_AES_128_GCM_SHA256, for load and sink offer no other. Who can has STARTTLS;
HAProxy in TCP mode can not, and has TLS from the first octet on both sides, as Postern's `implicit` listener has towards senders.
Tickets are given as each is shipped; the load does not use them, unless it says so. Writes tls.md and tls.json into the folder
(.cache/tls). Exits 1 when a run of Postern failed, or it lost, doubled, damaged or refused mail; figures never decide.
"""

import argparse
import json
import pathlib
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "compare"), str(HERE.parent / "tests/system")]
import rounds  # noqa: E402
import table  # noqa: E402
from authority import Authority  # noqa: E402
from compare import SENDERS, Failed, Run, attempt, is_bad, workloads  # noqa: E402
from harness import LOOPBACK, POSTERN, Process  # noqa: E402
from systems.haproxy import HaProxy  # noqa: E402
from systems.postern import PosternSync  # noqa: E402
from systems.postfix import Postfix  # noqa: E402

WORKLOADS = {name: workloads(quick=False)[name] for name in ("W1", "W2")}
COLUMNS = (  # head, key, how it is written
    ("messages/s", "messages_per_second", ",.0f"),
    ("CPU a message, us", "cpu_us", ",.0f"),
    ("to HAProxy's with TLS", "to_haproxy", ",.2f"),
    ("to its own in plain text", "to_plain", ",.2f"),
    ("rounds' ratios to HAProxy's", "all_to_haproxy", ""),
)


class Secured:
    """What a system with TLS has beside itself: `senders` and `hosts` say which kind."""

    senders = hosts = "starttls"
    pair = {}  # chain and key, of all of them

    @classmethod
    def bring_certificate(cls, pair):
        cls.pair = pair
        cls.load = ("--tls", cls.senders)
        cls.sink = ("--tls", cls.hosts, "--chain", pair["chain"], "--key", pair["key"])


class PosternTls(Secured, PosternSync):
    name = "Postern, STARTTLS"
    plain = PosternSync.name

    def start(self):
        config = self.fill(HERE / "tls/postern.toml", TLS=self.senders, CHAIN=self.pair["chain"], KEY=self.pair["key"])
        self.write_domains(self.folder / "domains.rules", "{} sink")
        self.place.add(Process([POSTERN, "run", "-c", config], self.folder, "postern")).wait_listening(self.port)


class PosternImplicit(PosternTls):
    name = "Postern, implicit to it, STARTTLS to the host"
    senders = "implicit"


class Resumed:
    @classmethod
    def bring_certificate(cls, pair):
        super().bring_certificate(pair)
        cls.load = (*cls.load, "--resume")


class PosternResumed(Resumed, PosternTls):
    name = "Postern, STARTTLS, senders resume"


class HaProxyTls(Secured, HaProxy):
    name = "HAProxy, TCP, TLS on both sides"
    plain = HaProxy.name
    senders = hosts = "implicit"

    def start(self):
        both = self.folder / "pair.pem"
        both.write_text(pathlib.Path(self.pair["chain"]).read_text() + pathlib.Path(self.pair["key"]).read_text())
        config = self.fill(HERE / "tls/haproxy.cfg", CHAIN_AND_KEY=both)
        self.place.add(Process(["haproxy", "-db", "-f", config], self.folder, "haproxy")).wait_listening(self.port)


class HaProxyResumed(Resumed, HaProxyTls):
    name = "HAProxy, TCP, TLS on both sides, senders resume"


class PostfixTls(Secured, Postfix):
    name = "Postfix, STARTTLS"
    plain = Postfix.name

    def configure(self):
        super().configure()
        settings = {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": f"{self.pair['key']}, {self.pair['chain']}",
            "smtp_tls_security_level": "encrypt",
            "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache",  # as Debian ships it
        }
        conf = self.folder / "conf"
        for command in (["-e", *(f"{key} = {value}" for key, value in settings.items())],
                        ["-M", "tlsmgr/unix = tlsmgr unix - - n 1000? 1 tlsmgr"]):
            subprocess.run(["postconf", "-c", conf, *command], check=True, capture_output=True)


SYSTEMS = {
    "plain": PosternSync,
    "postern": PosternTls,
    "implicit": PosternImplicit,
    "resumed": PosternResumed,
    "haproxy": HaProxyTls,
    "haproxy-resumed": HaProxyResumed,
    "haproxy-plain": HaProxy,
    "postfix": PostfixTls,
    "postfix-plain": Postfix,
}
USUAL = {  # what stands in the table of a workload
    "W2": ("plain", "postern", "implicit", "haproxy", "haproxy-plain", "postfix", "postfix-plain"),
    "W1": ("plain", "postern", "resumed", "implicit", "haproxy", "haproxy-resumed"),
    "idle": ("plain", "postern", "implicit", "haproxy", "haproxy-plain"),
}


class TlsRun(Run):
    def idle_connection(self, port):
        """As the base's, with TLS as the system has it."""
        if not issubclass(self.system_class, Secured):
            return super().idle_connection(port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = socket.create_connection((LOOPBACK, port), timeout=30)
        if self.system_class.senders == "starttls":
            s.recv(512)
            for line, answer in (b"EHLO idle.test\r\n", b"\n250 "), (b"STARTTLS\r\n", b"220 "):
                s.sendall(line)
                if answer not in s.recv(512):
                    raise Failed(f"an idle connection was not answered as awaited to {line}")
            s = context.wrap_socket(s)
        else:
            s = context.wrap_socket(s)
            s.recv(512)
        s.sendall(b"EHLO idle.test\r\n")
        if b"\n250" not in s.recv(512):
            raise Failed("an idle connection was not greeted")
        return s


def medians(runs):
    """By name, of all rounds; ratios of CPU are the medians of the rounds' ratios, for the machine was the same for both then."""
    together = {}
    for cls, some in runs.items():
        figures = together[cls.name] = rounds.medians(some)
        for key, beside in ("to_haproxy", HaProxyTls.name), ("to_plain", getattr(cls, "plain", None)):
            others = next((other for name, other in runs.items() if name.name == beside), ())
            ratios = [run["cpu_us"] / other["cpu_us"] for run, other in zip(some, others) if run.get("cpu_us") and other.get("cpu_us")]
            if ratios:
                figures[key] = statistics.median(ratios)
                figures["all_" + key] = " ".join(f"{ratio:.2f}" for ratio in ratios)
    return together


def markdown(result):
    machine = result["machine"]
    text = (f"{result['date']}, {machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, {SENDERS} senders, loads of "
            f"{result['seconds']:g} s, medians of {result['rounds']} rounds in turn.\n")
    for name, systems in result["workloads"].items():
        text += f"\n{name}, {WORKLOADS[name].title}\n\n" + table.head("", *(head for head, _, _ in COLUMNS))
        for system, figures in systems.items():
            if "failed" in figures:
                text += table.row(system, f"failed: {figures['failed']}", *[""] * (len(COLUMNS) - 1))
            else:
                text += table.row(system, *(format(figures[key], how) if key in figures else "-" for _, key, how in COLUMNS))
    if result["idle"]:
        text += "\nMemory\n\n" + table.idle_table(result["idle"])
    return text


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of all: no figures to quote")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--workload", nargs="+", choices=USUAL, default=["W2", "idle"], help="default: W2 and idle")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--seconds", type=float, help="that a load lasts (6)")
    parser.add_argument("--profile", action="store_true", help="perf looks on: texts in profiles/, no figures to quote")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / ".cache/tls")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 6)
    options.warm_up = 0.5 if options.quick else 2
    options.settle = 15 if options.quick else 45  # seconds that a system with a queue has to deliver what it took
    options.first_idle, options.idle = (20, 100) if options.quick else (50, 1000)
    return options


def main():
    options = parse()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    began = time.monotonic()
    result = {"date": time.strftime("%Y-%m-%d"), "quick": options.quick, "rounds": options.rounds, "seconds": options.seconds,
              "machine": table.machine(), "workloads": {}, "runs": {}, "idle": {}}
    with tempfile.TemporaryDirectory() as folder:
        pair = Authority(pathlib.Path(folder) / "ca").issue("gateway.test")
        for cls in SYSTEMS.values():
            if issubclass(cls, Secured):
                cls.bring_certificate(pair)

        def tell(name, cls, figures):
            said = figures.get("failed") or ", ".join(
                f"{figures[key]:,.1f} {key}" for key in ("messages_per_second", "cpu_us", "connection_kib") if key in figures)
            print(f"{time.monotonic() - began:6.0f} s  {name:5} {cls.name:50} {said}", flush=True)

        for name in options.workload:
            systems = [SYSTEMS[which] for which in USUAL[name] if which in (options.only or SYSTEMS)]
            if name == "idle":
                for cls in systems:
                    result["idle"][cls.name] = attempt(TlsRun(cls, None, options).measure_idle, float("inf"))
                    tell(name, cls, result["idle"][cls.name])
                continue
            runs = {cls: [] for cls in systems}
            for turn in range(options.rounds):
                for cls in systems[:: -1 if turn % 2 else 1]:
                    runs[cls].append(attempt(TlsRun(cls, WORKLOADS[name], options).measure, float("inf")))
                    tell(name, cls, runs[cls][-1])
            result["workloads"][name] = medians(runs)
            result["runs"][name] = {cls.name: some for cls, some in runs.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tls.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (options.out / "tls.md").write_text(text)
    print("\n" + text)
    figures = [*(systems for systems in result["workloads"].values()), result["idle"]]
    return 1 if any(is_bad(one) for systems in figures for name, one in systems.items() if name.startswith("Postern")) else 0


if __name__ == "__main__":
    sys.exit(main())
