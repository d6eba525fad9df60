#!/usr/bin/python3
"""The campaign "Real peers": other people's mail programs as hosts of one pool, under load, while they are killed, stopped,
started again, and give wrong answers or none. Run by hand, on loopback only; needs root, as the tests of the peers do.

usage: tests/campaigns/real_peers.py [--seed N] [--seconds N] [--rate N] [--keep FOLDER]

Hosts: Postfix, Exim, OpenSMTPD, aiosmtpd, two good `postern-bench sink` and some bad ones, which go through a list of faults;
once, all are stopped together. Senders: `postern-bench load` by DATA and by BDAT, smtp-source, swaks, and clients of our own that
try again what was refused for a time, as a mail server would.

There are three witnesses: what each sender was told, the gateway's log, and what the hosts have stored. Postern's Received:
line carries the number (id) of the log into each stored copy, so every copy is somebody's. Checked:
  - a message told 250 is stored once, at the host that the log names; one told anything else is stored nowhere, unless the
    answer was lost (`unknown` in the log, 451 4.4.2 to the sender): then once or not at all;
  - a message of several attempts is stored twice only where an earlier attempt's answer was lost;
  - senders are told what section 4 of the contract allows: a host's own answer to MAIL, RCPT or the body in the form that it
    has for senders, or one of the gateway's own for trouble of hosts, and in time;
  - what is stored is what was sent.
A copy that a host made of its own message, killed between its mailbox and its queue, bears one queue id twice, or is cut short
(OpenSMTPD): it is counted ("own doubles"), and is no breach. Prints tables of what was counted and a line for each breach; exit 1
on any.

The same seed draws the same pool, faults and pauses; what meets them is up to the machine.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import itertools
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import peers  # noqa: E402
from harness import BENCH, LOOPBACK, RECEIVED, Closed, Gateway, Place, Process, Session, free_port, wait_for  # noqa: E402

SYNC_LIMIT = 8  # seconds
LATE = 5  # more, for a machine that is busy with something else
SETTLE = 60  # for the hosts to store what they took
DISTURBED_MAX = 3  # good hosts at a time
BAD_SINKS = 10
TRUST = 3  # seconds in which a host that was in trouble earns its first, short pause again
OUTAGE = 6  # seconds, once, in the middle: no host answers
CLIENTS = 4
ATTEMPTS = 8  # of a message


# --- hosts


class Sink(peers.Daemon):
    """`postern-bench sink`. It writes a message before it answers, so it may be killed. A folder for each start, so that a name
    is free."""

    def __init__(self, place, name, *options):
        self.place, self.options = place, options
        self.folder = place.subfolder(name)
        self.port, self.control = free_port(), free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.starts = 0
        self.start()

    def launch(self):
        self.starts += 1
        command = [BENCH, "sink", self.address, "--control", f"{LOOPBACK}:{self.control}"]
        command += ["--store", self.folder / str(self.starts), *self.options]
        return Process(command, self.folder, "sink")

    def start(self):
        super().start()
        self.process.wait_listening(self.control)

    def copies(self):
        for file in self.folder.glob("*/*"):
            yield None, b"", file.read_bytes()  # for all recipients of its transaction

    def report(self):
        """What it has seen since its start."""
        with socket.create_connection((LOOPBACK, self.control), timeout=10) as s, s.makefile() as answer:
            s.sendall(b"report\n")
            return json.loads(answer.readline())

    def has_been_at(self, step):
        """Whether somebody has come so far that the step was next."""
        report = self.report()
        before = {"ehlo": "greeting", "mail": "ehlo", "rcpt": "mail", "data": "rcpt", "body": "rcpt"}
        if step == "greeting":
            return report["connections"] > 1  # one was ours, when it began
        return sum(report["answers"].get(before.get(step, "body"), {}).values()) > (1 if step == "ehlo" else 0)


class Host:
    """A server and what is done to it."""

    def __init__(self, name, server, real=False, queues=False):
        """`real`: somebody else's program. `queues`: it answers before it delivers. Neither: a sink."""
        self.name, self.server, self.real, self.queues = name, server, real, queues
        self.done = collections.Counter()
        self.faults = set()  # (step, code) that it was ever told to answer
        self.troubles = []  # [began, ended]
        self.breaks_chunking = False
        self.bad = False

    def expect(self, options):
        """Of a bad sink: what it will be started with."""
        for option in options:
            step, _, answer = option.partition(":")
            if step in STEPS and "--delay" not in options and answer[:3].isdigit():
                self.faults.add((step, int(answer[:3])))
        self.breaks_chunking = self.breaks_chunking or "--break-chunking" in options

    @property
    def address(self):
        return self.server.address

    def end(self, how):
        self.trouble(how)
        process = self.server.process
        if how == "kill":
            process.signal_all(signal.SIGKILL)
        process.close()
        process.signal_all(signal.SIGKILL)  # what outlived it holds the port

    def start(self):
        self.server.start()
        self.is_well()

    def stop(self):
        self.trouble("stop")
        self.server.process.signal_all(signal.SIGSTOP)

    def go_on(self):
        self.server.process.signal_all(signal.SIGCONT)
        self.is_well()

    def trouble(self, what):
        self.done[what] += 1
        self.troubles.append([time.time(), float("inf")])

    def is_well(self):
        for trouble in self.troubles:
            trouble[1] = min(trouble[1], time.time())

    def knows_of(self, answer):
        """What a server's own log and its queue still have of a message that it took, by the queue id in its answer."""
        ids = [word for word in re.findall(r"[\w-]{8,}", answer) if re.search(r"\d", word)]
        logs = [self.server.process.output, *self.server.folder.rglob("mainlog")]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if any(id in line for id in ids)]
        files = [str(file.relative_to(self.server.folder)) for id in ids for file in self.server.folder.rglob(f"*{id}*")]
        return f"; its log has {lines}, its folder {files}"

    def in_trouble(self, began, ended):
        return any(began <= end and begin <= ended for begin, end in self.troubles)


STEPS = ("greeting", "ehlo", "mail", "rcpt", "data", "body", "rset", "quit")
ANSWERS = ("421", "450", "554", "close", "silent")


def bad_options():
    """What bad sinks go through: the step to look at, and the options. Every answer at every step, now and then and always; and
    some more."""
    for step, answer in itertools.product(STEPS, ANSWERS):
        # What refuses everything at once takes most of the mail.
        for probability in (0.15, 1.0) if answer not in ("450", "554") else (0.15, 0.5):
            options = ["--fail", f"{step}:{answer}:{probability}"]
            yield step, options + (["--no-chunking"] if step == "data" else [])
    for step, code in (("mail", 502), ("rcpt", 521), ("body", 555), ("rcpt", 552), ("rcpt", 501), ("body", 552)):
        yield step, ["--fail", f"{step}:{code}:0.2"]
    for step in ("greeting", "mail", "body"):
        yield step, ["--delay", f"{step}:1500:0.3"]
    yield "body", ["--break-chunking"]
    yield "body", ["--break-chunking", "--no-pipelining"]
    yield "body", ["--fail", "mail:450:0.1", "--fail", "rcpt:554:0.1", "--fail", "body:close:0.1", "--no-chunking"]
    yield "body", ["--fail", "rcpt:421:0.1", "--fail", "body:silent:0.05", "--no-pipelining"]
    yield "body", ["--limits", "MAILMAX=3 RCPTMAX=2"]


class Faults:
    """A thread for each host, each with its own chance."""

    def __init__(self, hosts, seed):
        self.stopping = threading.Event()
        self.calm = threading.Event()  # no outage
        self.calm.set()
        self.disturbed = threading.Semaphore(DISTURBED_MAX)
        self.errors = []
        self.waiting = list(bad_options())
        self.all = len(self.waiting)
        random.Random(seed).shuffle(self.waiting)
        self.threads = [
            threading.Thread(target=self.guarded, args=(self.change if host.bad else self.disturb, host, seed)) for host in hosts
        ]
        self.hosts = hosts

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def guarded(self, run, host, seed):
        try:
            run(host, random.Random(f"{seed} {host.name}"))
        except Exception as error:  # a fault that could not be made is no finding
            self.errors.append(f"{host.name}: {error!r}")

    def disturb(self, host, chance):
        while not self.stopping.wait(chance.uniform(2, 8)):
            with self.disturbed:
                if chance.random() < 0.3:
                    host.stop()
                    self.stopping.wait(chance.uniform(0.5, 7))
                    self.calm.wait()
                    host.go_on()
                else:
                    host.end(chance.choice(("kill", "term")))
                    self.stopping.wait(chance.uniform(0, 3))
                    self.calm.wait()
                    host.start()

    def stop_all(self):
        """None is left for a while, and each owes answers. What is down stays so."""
        self.calm.clear()
        for host in self.hosts:
            host.stop()
        time.sleep(OUTAGE)
        for host in self.hosts:
            host.go_on()
        self.calm.set()

    def change(self, host, chance):
        """A fault, and a time as a good host: else it would soon be set aside for so long that nobody met its faults."""
        while not self.stopping.is_set():
            if not self.waiting:
                self.waiting = list(bad_options())
            step, options = fault = self.waiting.pop(0)
            host.expect(options)
            self.restart(host, chance, options)
            if self.happens(lambda: host.server.has_been_at(step), 6):
                host.done["faults"] += 1
                self.stopping.wait(4 if step == "quit" else chance.uniform(0.5, 1.5))
            else:
                self.waiting.append(fault)
            self.restart(host, chance, [])
            if self.happens(lambda: host.server.report()["messages"] > 0, 6):
                self.stopping.wait(TRUST)

    def restart(self, host, chance, options):
        host.end(chance.choice(("kill", "term")))
        self.stopping.wait(chance.choice((0, 0, 0.5)))
        host.server.options = options
        self.calm.wait()
        host.start()

    def happens(self, condition, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stopping.wait(0.1):
            with contextlib.suppress(OSError):  # too busy to say
                if condition():
                    return True
        return False


# --- senders


class Attempt:
    """One transaction as its sender saw it. `answer`: the last one, to the data or the one that ended it; None: not known to the
    sender, and to be taken from the log."""

    def __init__(self, recipients, answer, ended_at, seconds=0.0):
        self.recipients, self.answer, self.ended_at, self.seconds = recipients, answer, ended_at, seconds
        self.line = None  # the log's


class Message:
    """`name` is its identity: it stands in the reverse-path or the recipients, and in the content."""

    def __init__(self, sender, name, content):
        self.sender, self.name, self.content = sender, name, content
        self.attempts = []


def content_of(name, chance, size):
    # Complete, so that no host has a reason to add what is missing.
    lines = [f"Subject: {name}", "From: <sender@client.test>", "To: <somebody@a.test>", f"Message-ID: <{name}@client.test>"]
    lines += ["Date: Sun, 22 Nov 2026 12:00:00 +0000", ""]
    lines += [chance.choice(("", ".", "..", ".x")) + "%x" % chance.getrandbits(200) for _ in range(size // 52 + 1)]
    return "\r\n".join(lines).encode() + b"\r\n"


class Client(threading.Thread):
    """A mail server's way of sending: several recipients, a session for some messages, and a temporary refusal is tried again."""

    def __init__(self, name, gateway, stopping, seed):
        super().__init__()
        self.name, self.gateway, self.stopping = name, gateway, stopping
        self.chance = random.Random(f"{seed} {name}")
        self.messages, self.breaches = [], []
        self.session = None

    def run(self):
        waiting = []  # (when, message, recipients)
        while not self.stopping.wait(self.chance.uniform(0, 0.1)):
            waiting.sort(key=lambda entry: entry[0])
            if waiting and waiting[0][0] <= time.monotonic():
                _, message, recipients = waiting.pop(0)
            else:
                message = self.new_message()
                recipients = [f"{message.name}.{i}@a.test" for i in range(self.chance.choice((1, 1, 1, 2, 3)))]
                self.messages.append(message)
            left = self.attempt(message, recipients)
            if left and len(message.attempts) < ATTEMPTS:
                waiting.append((time.monotonic() + self.chance.uniform(0.2, 3), message, left))
            if self.chance.random() < 0.05:
                self.hang_up()
        self.hang_up()

    def new_message(self):
        name = f"{self.name}.{len(self.messages)}"
        size = self.chance.choice((100, 100, 2000, 2000, 20000, 400000))
        return Message(self.name, name, content_of(name, self.chance, size))

    def hang_up(self):
        if self.session:
            self.session.close()
        self.session = None

    def attempt(self, message, recipients):
        """Returns those that are to be tried again."""
        try:
            self.session = self.session or Session(self.gateway.port, timeout=SYNC_LIMIT + 30)
            return self.transaction(message, recipients)
        except (OSError, Closed) as error:
            self.breaches.append(f"{message.name}: the gateway broke the session: {error!r}")
            message.attempts.append(Attempt(recipients, None, "broken"))
            self.hang_up()
            return recipients

    def transaction(self, message, recipients):
        s = self.session
        mail, *answers = s.envelope(recipients, sender=f"{message.name}@client.test")
        if mail.code != 250:
            self.breaches.append(f"{message.name}: MAIL was answered {mail}")
        taken = [r for r, answer in zip(recipients, answers) if answer.code == 250]
        again = []
        for recipient, answer in zip(recipients, answers):
            if answer.code != 250:
                message.attempts.append(Attempt([recipient], str(answer), "rcpt"))
                again += [recipient] if answer.code // 100 == 4 else []
        if not taken:
            s.command("RSET")
            return again
        began = time.monotonic()
        by = self.chance.choice((s.data, s.bdat, lambda body: s.bdat(body, 30000)))
        answer = by(message.content)
        message.attempts.append(Attempt(taken, str(answer), "data", time.monotonic() - began))
        return again + (taken if answer.code // 100 == 4 else [])


class Program(threading.Thread):
    """swaks or smtp-source, a process for each attempt, one recipient; each attempt's name is in its recipient."""

    def __init__(self, name, send, gateway, stopping, seed):
        super().__init__()
        self.name, self.send, self.gateway, self.stopping = name, send, gateway, stopping
        self.chance = random.Random(f"{seed} {name}")
        self.messages, self.breaches = [], []

    def run(self):
        with tempfile.NamedTemporaryFile() as file:
            while not self.stopping.is_set():
                name = f"{self.name}.{len(self.messages)}"
                message = Message(self.name, name, content_of(name, self.chance, self.chance.choice((100, 3000))))
                self.messages.append(message)
                file.seek(0)
                file.truncate()
                file.write(message.content)
                file.flush()
                for number in range(ATTEMPTS):
                    attempt = self.attempt(message, f"{name}.{number}@a.test", pathlib.Path(file.name))
                    message.attempts.append(attempt)
                    if not (attempt.answer or "").startswith("4") or self.stopping.wait(self.chance.uniform(0.2, 2)):
                        break

    def attempt(self, message, recipient, file):
        began = time.monotonic()
        answer = "250"
        try:
            message.content = self.send(self.gateway, recipient, file)
        except peers.ClientFailed as failed:
            said = re.findall(r"\b([2-5]\d\d(?: \d\.\d+\.\d+)? [^\r\n]*)", failed.said)
            answer = said[-1] if said else None
            if not said:
                self.breaches.append(f"{recipient}: {self.name} was told nothing: {failed}")
        return Attempt([recipient], answer, "data", time.monotonic() - began)


class Bulk(threading.Thread):
    """smtp-source with many messages on some connections: it does not say what it was told, the log does."""

    def __init__(self, gateway, stopping):
        super().__init__()
        self.name, self.gateway, self.stopping = "source", gateway, stopping
        self.runs = 0
        self.breaches = []

    def run(self):
        while not self.stopping.is_set():
            self.runs += 1
            options = ["-A", "-N", "-s", "3", "-m", "50", "-l", "1000"] + (["-d"] if self.runs % 2 else [])
            recipient = f".{self.name}.{self.runs}@a.test"
            options += ["-M", "smtp-source.test", "-f", "sender@client.test", "-t", recipient]
            try:
                peers.run_client("smtp-source", *options, self.gateway.address)
            except peers.ClientFailed as failed:  # it goes on whatever it is told, but not without a connection
                self.breaches.append(f"{recipient}: {failed}")
            self.stopping.wait(0.5)


class Load:
    """`postern-bench load`. What it counted is compared with the log; the log says what each message was told."""

    def __init__(self, place, gateway, name, seconds, rate, *options):
        self.name = name
        command = [BENCH, "load", gateway.address, "-d", f"{seconds} s", "--rate", rate, "-c", 6, "--per-connection", 30, "--json"]
        command += ["--recipient", f"%n.{name}@a.test", "--from", f"{name}.test", "--timeout", f"{SYNC_LIMIT + 30} s"]
        self.process = place.add(Process([*command, *options], place.subfolder(name), name))

    def join(self):
        self.process.child.wait(SYNC_LIMIT + 60)
        self.report = json.loads(self.process.said())


# --- what came of it


class Copy:
    """A message as a host has it."""

    gateway_line = re.compile(rb"Received: [^\n]*\r\n")

    def __init__(self, host, recipient, own_lines, content):
        self.host, self.recipient = host, recipient
        line = self.gateway_line.match(content)
        received = line and RECEIVED.fullmatch(line[0])
        self.id = received["id"].decode() if received else None
        self.content = content[line.end() :] if received else content
        queue_id = re.search(rb"\bid (\S+)", own_lines)
        self.queue_id = queue_id and queue_id[1]


def one_line(answer):
    """As the log has it: code and enhanced code stand once."""
    return answer[:4].replace("-", " ") + re.sub(r"\n\d\d\d[ -]\d\.\d+\.\d+ ", "\n", answer[4:])


def rstripped(content):
    """smtp-source adds an empty line, and Python's parser may take one away."""
    return content.rstrip(b"\r\n")


class Judge:
    """Lays the three witnesses side by side."""

    def __init__(self, hosts, lines):
        self.breaches = []
        self.hosts = {host.address: host for host in hosts}
        self.lines = {line["id"]: line for line in lines}
        self.copies = collections.defaultdict(list)
        self.own_doubles = collections.Counter()
        self.strange = []
        self.by_from = collections.defaultdict(list)
        self.by_to = collections.defaultdict(list)
        self.told = set()
        for line in sorted(lines, key=lambda line: line["time"]):
            self.by_from[line.get("from", "")].append(line)
            for recipient in recipients_of(line):
                self.by_to[recipient].append(line)

    def breach(self, text):
        self.breaches.append(text)

    # --- the log against the hosts

    def read_copies(self):
        self.copies.clear(), self.own_doubles.clear(), self.strange.clear()
        for host in self.hosts.values():
            by_queue_id = {}
            for copy in (Copy(host, *parts) for parts in host.server.copies()):
                if copy.queue_id is None and host.queues:
                    self.own_doubles[host.address] += 1  # cut short inside its own lines
                elif copy.queue_id is None:
                    self.add(copy)
                else:
                    key = (copy.queue_id, copy.recipient)
                    self.own_doubles[host.address] += key in by_queue_id
                    by_queue_id[key] = max(copy, by_queue_id.get(key, copy), key=lambda c: len(c.content))
            for copy in by_queue_id.values():
                self.add(copy)

    def add(self, copy):
        if copy.id in self.lines:
            self.copies[copy.id].append(copy)
        elif copy.id is not None or copy.content.endswith(b"\n"):  # else: of a sink that was killed before it answered
            what = f"id {copy.id}, for {copy.recipient}: stored at {copy.host.name}, not in the log: {copy.content[:300]!r}"
            self.strange.append(what)

    def complete(self):
        """Whether all that real hosts took has come out of their queues."""
        self.read_copies()
        return all(
            len(self.copies[id]) >= len(recipients_of(line))
            for id, line in self.lines.items()
            if line["event"] == "delivered" and self.hosts[line["host"]].real
        )

    def check_copies(self):
        self.breaches += self.strange
        for id, line in self.lines.items():
            copies = self.copies[id]
            for recipient in recipients_of(line):
                mine = [c for c in copies if c.recipient in (None, recipient)]
                where = [c.host.name for c in mine]
                what = f"id {id}, from {line.get('from')} to {recipient}, {line['event']} at {self.name_of(line)}"
                if line["event"] == "delivered":
                    if [c.host.address for c in mine] != [line["host"]]:
                        more = "" if mine else f", which said {line['reply']!r}{self.hosts[line['host']].knows_of(line['reply'])}"
                        self.breach(f"{what}: stored at {where or 'no host'}{more}")
                elif line["event"] == "unknown":
                    if len(mine) > 1 or any(c.host.address != line["host"] for c in mine):
                        self.breach(f"{what}: stored at {where}")
                    ended = datetime.datetime.fromisoformat(line["time"]).timestamp()
                    host = self.hosts[line["host"]]
                    if not host.bad and not host.in_trouble(ended - line["ms"] / 1000 - 1, ended + 1):
                        self.breach(f"{what}: nothing was done to that host")
                elif mine:
                    self.breach(f"{what}, told {line['reply']!r}: stored at {where}")
            for copy in copies:
                if copy.recipient is not None and copy.recipient not in recipients_of(line):
                    self.breach(f"id {id} to {recipients_of(line)}: stored at {copy.host.name} for {copy.recipient}")

    def name_of(self, line):
        host = self.hosts.get(line.get("host"))
        return host.name if host else line.get("host", "no host")

    # --- what senders were told

    own_answers = re.compile(
        r"451 4\.4\.1 no smart host could be reached|451 4\.4\.2 the smart host did not answer|451 4\.4\.5 all smart hosts are busy"
    )
    divided = re.compile(r"451 4\.3\.0 recipients were answered differently")
    # What section 4 takes for the host's trouble, and what it changes on its way.
    never_told = {421, 502, 503, 521, 555, *range(530, 539)}

    def check_answer(self, what, answer, line, recipients=1):
        """`line`: the log's, None for an answer at RCPT that was kept from the attempt before."""
        found = re.match(r"(\d\d\d)[ -](\d)\.\d+\.\d+", answer)
        if not found or found[1][0] != found[2] or found[1][0] not in "245" or int(found[1]) in self.never_told:
            self.breach(f"{what}: told {answer!r}, which no sender may be")
            return
        code = int(found[1])
        if code // 100 == 2 or self.own_answers.match(answer) or (recipients > 1 and self.divided.match(answer)):
            events = {2: ["delivered"]}.get(code // 100, ["unknown"] if "4.4.2" in answer else ["deferred"])
            if line is None or line["event"] not in events:
                self.breach(f"{what}: told {answer!r}, and the log says {line and line['event']}")
            return
        if line and line["event"] != ("refused" if code // 100 == 5 else "deferred"):
            self.breach(f"{what}: told {answer!r}, and the log says {line['event']}")
        hosts = [self.hosts[line["host"]]] if line else self.hosts.values()
        if not any(self.may_have_said(host, code, answer) for host in hosts):
            self.breach(f"{what}: told {answer!r}, which {self.name_of(line or {})} can not have said")

    @staticmethod
    def may_have_said(host, code, answer):
        if host.real:
            return code // 100 == 4  # on its way down, or up; it has no reason to refuse anything for good
        told = re.search(r" as told at (\w+)", answer)
        if not told:
            return host.breaks_chunking and code == 500
        step = told[1]
        if step not in ("mail", "rcpt", "data", "body"):
            return False
        return any(
            step == s and code == (451 if c == 421 else 452 if (s, c) == ("rcpt", 552) else c) for s, c in host.faults
        )

    def check_log_answers(self):
        for id, line in self.lines.items():
            recipients = recipients_of(line)
            what = f"id {id}, from {line.get('from')} to {recipients}"
            self.check_answer(what, line["reply"], line, recipients=len(recipients))
            if line["ms"] > (SYNC_LIMIT + LATE) * 1000:
                self.breach(f"{what}: answered after {line['ms']} ms")

    def check_told(self, message):
        """That the sender saw what the log says, attempt by attempt, and that what was delivered is what it sent (where the answer
        was lost a host may have been killed while it wrote)."""
        for attempt in message.attempts:
            what = f"{message.name} to {attempt.recipients}"
            if attempt.ended_at == "rcpt":
                self.check_answer(what, attempt.answer, None)
                continue
            line = self.line_of(message, attempt)
            if line is None:
                self.breach(f"{what}: told {attempt.answer!r}, and the log has nothing of it")
                continue
            attempt.line = line
            if attempt.answer and attempt.answer != "250" and one_line(attempt.answer) != line["reply"]:
                self.breach(f"{what}: told {attempt.answer!r}, and the log says {line['reply']!r}")
            if attempt.answer == "250" and line["event"] != "delivered":
                self.breach(f"{what}: told 250, and the log says {line['event']}")
            if attempt.seconds > SYNC_LIMIT + LATE:
                self.breach(f"{what}: answered after {attempt.seconds:.1f} s")
            for copy in self.copies[line["id"]]:
                if rstripped(copy.content) != rstripped(message.content) and line["event"] == "delivered":
                    self.breach(f"{what}, id {line['id']}: what {copy.host.name} has is not what was sent")

    def line_of(self, message, attempt):
        """A message's attempts stand in the log in their order."""
        lines = self.by_from[f"{message.name}@client.test"] or self.by_to[attempt.recipients[0]]
        for line in lines:
            if line["id"] not in self.told and recipients_of(line) == attempt.recipients:
                self.told.add(line["id"])
                return line
        return None

    def check_bulk(self, bulk):
        """All its messages are of one length; they differ in digits, and each run names itself in To:."""
        bodies = set()
        for line in self.lines.values():
            for copy in self.copies[line["id"]]:
                (recipient, *_) = recipients_of(line)
                if f".{bulk.name}." in recipient and line["event"] == "delivered":
                    header, _, body = copy.content.partition(b"\r\n\r\n")
                    bodies.add(re.sub(rb"\d", b"", rstripped(body)))
                    if f"To: <{recipient.lstrip('0123456789')}>".encode() not in header or len(bodies) > 1:
                        self.breach(f"id {line['id']} to {recipient}: what {copy.host.name} has is another's")

    def check_load(self, load):
        """Content against recipient, bodies against each other, and the counts."""
        lines = [line for line in self.lines.values() if recipients_of(line)[0].endswith(f".{load.name}@a.test")]
        counted, events = load.report["messages"], collections.Counter(line["event"] for line in lines)
        if counted["accepted"] != events["delivered"] or counted["refused"] != events.total() - events["delivered"]:
            self.breach(f"{load.name}: counted {counted}, and the log {dict(events)}")
        if counted["unknown"] + counted["unsent"]:
            self.breach(f"{load.name}: the gateway broke sessions: {counted}, {load.report['errors']}")
        bodies = {}
        variants = 64
        for line in [line for line in lines if line["event"] == "delivered"]:
            number = int(recipients_of(line)[0].split(".")[0])
            for copy in self.copies[line["id"]]:
                header, _, body = copy.content.partition(b"\r\n\r\n")
                body = hashlib.sha256(rstripped(body)).digest()
                same = bodies.setdefault(number % variants, body) == body
                if b"Message-ID: <%s.%012x@" % (load.report["run"].encode(), number) not in header or not same:
                    self.breach(f"id {line['id']} to {recipients_of(line)}: what {copy.host.name} has is another's")


def recipients_of(line):
    return line["to"] if isinstance(line["to"], list) else [line["to"]]


# --- tables


class Fates:
    """What became of one sender's messages, recipient by recipient."""

    def __init__(self, judge, name, messages, attempts, units, refused_at_rcpt=()):
        """`units`: for each recipient of each message, the (line of the log, recipient) of its attempts."""
        self.counts = collections.Counter()
        for unit in units:
            self.count(judge, unit)
        lines = {line["id"]: line for unit in units for line, _ in unit}.values()
        told = collections.Counter(answer[0] for answer in [*(line["reply"] for line in lines), *refused_at_rcpt])
        self.row = {"sender": name, "messages": messages, "recipients": len(units), "attempts": attempts}
        self.row |= {"250": told["2"], "4xx": told["4"], "5xx": told["5"]}
        self.row |= {"answer lost": sum(line["event"] == "unknown" for line in lines)}
        self.row |= {"delivered": self.counts["delivered"], "lost": self.counts["lost"]}
        for what in ("doubled", "refused, stored"):
            self.row[f"{what} (explained)"] = f"{self.counts[what]} ({self.counts[what, 'explained']})"

    def count(self, judge, unit):
        copies = [line for line, to in unit for copy in judge.copies[line["id"]] if copy.recipient in (None, to)]
        accepted = any(line["event"] == "delivered" for line, _ in unit)
        # A copy whose answer was lost is nobody's fault; of those whose answer came there is one, and only where it was 250.
        answered = sum(line["event"] != "unknown" for line in copies)
        if accepted:
            self.counts["delivered" if copies else "lost"] += 1
        elif copies:
            self.counts["refused, stored"] += 1
            self.counts["refused, stored", "explained"] += answered == 0
        if len(copies) > 1:
            self.counts["doubled"] += 1
            self.counts["doubled", "explained"] += answered <= accepted


def fates_of_messages(judge, sender):
    units = collections.defaultdict(list)
    refused = []
    for message in sender.messages:
        for attempt in message.attempts:
            if attempt.ended_at == "rcpt":
                refused.append(attempt.answer)
            elif attempt.line:
                for recipient in attempt.recipients:
                    # A program's attempts have recipients of their own.
                    key = recipient if isinstance(sender, Client) else message.name
                    units[key].append((attempt.line, recipient))
    attempts = sum(len(message.attempts) for message in sender.messages)
    return Fates(judge, sender.name, len(sender.messages), attempts, list(units.values()), refused)


def fates_of_log(judge, name, belongs):
    units = [[(line, recipient) for line in lines] for recipient, lines in judge.by_to.items() if belongs(recipient)]
    return Fates(judge, name, len(units), sum(map(len, units)), units)


def host_rows(judge, hosts):
    lines = collections.defaultdict(list)
    for line in judge.lines.values():
        lines[line.get("host")].append(line)
    for host in hosts:
        mine = lines[host.address]
        events = collections.Counter(line["event"] for line in mine)
        copies = [line["id"] for line in mine for copy in judge.copies[line["id"]] if copy.host is host]
        ids = set(copies)
        stored = collections.Counter(line["event"] for line in mine if line["id"] in ids)
        yield {
            "host": host.name,
            **{how: host.done[how] for how in ("kill", "term", "stop", "faults")},
            **{"said 250": events["delivered"], "4xx": events["deferred"], "5xx": events["refused"]},
            "answer lost": events["unknown"],
            "copies": len(copies),
            "answer lost, stored": stored["unknown"],
            "lost": events["delivered"] - stored["delivered"],
            "own doubles": judge.own_doubles[host.address],
        }


def answer_rows(judge, hosts):
    names = {host.address: host.name for host in hosts}
    count = collections.Counter()
    for line in judge.lines.values():
        text = re.sub(r"\s+", " ", line["reply"])
        text = text if not text.startswith("2") else text[:9]
        host = names.get(line.get("host"), "(none)")
        count[(re.sub(r" \d+$", "", host) if not text.startswith("2") else "(all)", line["event"], text[:90])] += 1
    for (host, event, text), number in sorted(count.items(), key=lambda item: (item[0][2], item[0])):
        yield {"answer": text, "event": event, "of": host, "times": number}


def show(title, rows):
    rows = [{name: name for name in rows[0]}, *rows]
    widths = {name: max(len(str(row[name])) for row in rows) for name in rows[0]}
    print(f"\n{title}")
    for row in rows:
        first, *others = row.items()
        cells = [str(value).rjust(widths[name]) for name, value in others]
        print("  ".join([str(first[1]).ljust(widths[first[0]]), *cells]))


# --- the run


def good_hosts(place):
    # Their own retries are short, so that what a kill left in their queues is delivered before the end.
    soon = dict(minimal_backoff_time="1s", maximal_backoff_time="2s", queue_run_delay="1s", transport_retry_time="1s")
    return [
        Host("Postfix", peers.Postfix(place, **soon), real=True, queues=True),
        Host("Exim", peers.Exim(place, "-q2s"), real=True, queues=True),
        Host("OpenSMTPD", peers.OpenSmtpd(place), real=True, queues=True),
        Host("aiosmtpd", peers.AiosmtpdProgram(place), real=True),
        Host("sink", Sink(place, "sink")),
        Host("sink without CHUNKING", Sink(place, "sink", "--no-chunking")),
    ]


def bad_hosts(place):
    hosts = [Host(f"bad sink {number}", Sink(place, "bad")) for number in range(1, BAD_SINKS + 1)]
    for host in hosts:
        host.bad = True
    return hosts


def start_gateway(place, hosts, seed):
    chance = random.Random(f"{seed} gateway")
    pool = {"connections": chance.choice((2, 8, 32)), "pipeline": chance.choice((1, 4, 16, 64))}
    pool["max_age"] = chance.choice(("2 s", "5 s"))
    workers = chance.choice((1, 2, 3))
    print(f"{workers} workers, pool {pool}", flush=True)
    pool |= {"hosts": [host.address for host in hosts], "tls": "none"}
    gateway = place.add(
        Gateway(
            place,
            "a.test all\n",
            {"all": pool},
            workers=workers,
            delivery={"mode": "sync", "sync_limit": f"{SYNC_LIMIT} s"},
            timeouts={"connect": "2 s", "reply": "3 s", "busy": "2 s", "data_done": "4 s", "shutdown_grace": "3 s"},
        )
    )
    gateway.address = f"{LOOPBACK}:{gateway.port}"
    return gateway


def offer_mail(place, gateway, faults, options):
    """All senders at once, while the faults are made; returns when each has its last answer and the hosts are up."""
    seed, seconds = options.seed, options.seconds
    stopping = threading.Event()
    programs = [("swaks", peers.by_swaks), ("smtp-source", peers.by_smtp_source)]
    senders = [Client(f"client{number}", gateway, stopping, seed) for number in range(1, CLIENTS + 1)]
    senders += [Program(name, send, gateway, stopping, seed) for name, send in programs]
    bulk = Bulk(gateway, stopping)
    faults.start()
    loads = [
        Load(place, gateway, "load", seconds, options.rate),
        Load(place, gateway, "load-bdat", seconds, options.rate, "--bdat"),
    ]
    for thread in [*senders, bulk]:
        thread.start()
    time.sleep(seconds / 2)
    faults.stop_all()
    time.sleep(max(0, seconds / 2 - OUTAGE))
    stopping.set()
    for sender in [*senders, bulk, *loads]:
        sender.join()
    faults.stop()
    return senders, bulk, loads


def transactions(gateway):
    return [line for line in gateway.log() if "id" in line and line["event"] != "rejected"]


def campaign(place, options):
    seed = options.seed
    hosts = good_hosts(place) + bad_hosts(place)
    gateway = start_gateway(place, hosts, seed)
    faults = Faults(hosts, seed)
    senders, bulk, loads = offer_mail(place, gateway, faults, options)
    code = gateway.close()
    if options.keep:
        shutil.copytree(gateway.folder, options.keep, dirs_exist_ok=True)
    judge = Judge(hosts, transactions(gateway))
    with contextlib.suppress(TimeoutError):  # what is missing is told below
        wait_for(judge.complete, "the hosts to store what they took", SETTLE)
    for host in hosts:
        host.server.process.close()
    judge.read_copies()
    if code != 0:
        judge.breach(f"the gateway ended with {code}")
    if lines_lost := [line["count"] for line in gateway.log(event="dropped") if "id" not in line]:
        judge.breach(f"{sum(lines_lost)} lines of the log were dropped: it is no witness")
    judge.check_copies()
    judge.check_log_answers()
    for sender in senders:
        judge.breaches += sender.breaches
        for message in sender.messages:
            judge.check_told(message)
    judge.breaches += bulk.breaches
    judge.check_bulk(bulk)
    for load in loads:
        judge.check_load(load)
    fates = [fates_of_messages(judge, sender) for sender in senders]
    fates += [fates_of_log(judge, "smtp-source, many", lambda to: f".{bulk.name}." in to)]
    fates += [fates_of_log(judge, load.name, lambda to, end=f".{load.name}@a.test": to.endswith(end)) for load in loads]
    show("By sender (messages, attempts and answers; behind them, recipients)", [fate.row for fate in fates])
    show("By host (transactions; copies are recipients' but at sinks)", list(host_rows(judge, hosts)))
    show("Answers", list(answer_rows(judge, hosts)))
    met = sum(host.done["faults"] for host in hosts)
    print(f"\n{met} faults of bad sinks were met, of {faults.all} in the list; host trouble in the log:", end=" ")
    print(f"{len(gateway.log(event='host trouble'))} times; slowest answer {max(line['ms'] for line in judge.lines.values())} ms")
    for error in faults.errors:
        print(f"a fault could not be made: {error}")
    for breach in judge.breaches:
        print(f"breach: {breach}")
    print(f"\nseed {seed}: {len(judge.breaches)} breaches")
    return 1 if judge.breaches or faults.errors else 0


def main():
    arguments = argparse.ArgumentParser(description="other mail programs as hosts of one pool, under load and trouble")
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--rate", type=int, default=40, help="messages a second of each postern-bench load")
    arguments.add_argument("--keep", type=pathlib.Path, help="copies the gateway's folder there, with its log")
    options = arguments.parse_args()
    print(f"seed {options.seed}, {options.seconds} s", flush=True)
    with Place() as place:
        return campaign(place, options)


if __name__ == "__main__":
    sys.exit(main())
