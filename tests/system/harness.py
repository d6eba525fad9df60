"""What the system tests stand on: the real binaries as processes on free loopback ports, a bare SMTP client, and smart hosts
that do exactly what a test tells them. The other mail programs are in peers.py.

Everything a test starts it gives to `add` of its Place, which ends it, by its process id, when the test is over.
"""

import base64
import contextlib
import crypt
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", ROOT / "build"))
POSTERN = BUILD / "src/app/postern"
BENCH = BUILD / "bench/load/postern-bench"
CORPUS = ROOT / ".cache/corpus"
HOSTNAME = "gw.test"
LOOPBACK = "127.0.0.1"


def free_port():
    """One below those that outgoing connections get: none of these may sit on it while its server is started again."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(10000, first // 2), first), 1000):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind((LOOPBACK, port))
            return port
    raise RuntimeError("no free port")


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.01)
    return value


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return str(value) if isinstance(value, int) else json.dumps(value)


def toml_table(name, table):
    return f"\n[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items())


class Place:
    """A temporary folder and the processes, servers and sessions that live in it. A context manager."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        self.folder.chmod(0o755)  # the other mail programs run as users of their own
        self._exit = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._exit.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, thing):
        """`thing.close()` is called at the end, the last added first."""
        self._exit.callback(thing.close)
        return thing

    def subfolder(self, name):
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        folder.chmod(0o755)
        return folder


class SystemTest(unittest.TestCase):
    """A test case with a Place for each test."""

    def setUp(self):
        self.place = self.enterContext(Place())

    def gateway(self, rules, pools=None, **settings):
        return self.place.add(Gateway(self.place, rules, pools, **settings))

    def host(self, *extensions, **behaviour):
        return self.place.add(FakeHost(*extensions, **behaviour))

    def session(self, server, **options):
        return self.place.add(Session(server.port, **options))


class Process:
    """A child in the foreground, its output in a file, behind what one of that name said before it."""

    def __init__(self, arguments, folder, name, environment=None):
        self.output = folder / f"{name}.out"
        self.name = name
        with open(self.output, "ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.child.pid

    def said(self):
        return self.output.read_text(errors="replace")

    def check_running(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.said()[-4000:]}")

    def wait_listening(self, port, seconds=30):
        """Until something accepts on the port."""

        def accepts():
            self.check_running()
            with socket.socket() as s:
                return s.connect_ex((LOOPBACK, port)) == 0

        wait_for(accepts, f"{self.name} on port {port}", seconds)

    def signal(self, number):
        self.child.send_signal(number)

    def signal_all(self, number):
        """To it and its children, those too that outlive it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def close(self, seconds=20):
        """SIGTERM, then SIGKILL; returns the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode


def with_resolv_conf(folder, text):
    """What stands before a command that is to find that in /etc/resolv.conf; None: the system's own."""
    if text is None:
        return []
    file = folder / "resolv.conf"
    file.write_text(text)
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("postern", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        # A Unix socket's path is short; the test's folder need not be.
        folder = os.open(self.path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)


def ask(connection, target, method="GET", **headers):
    """One HTTP request; the answer, its body read to `text`."""
    with contextlib.closing(connection):
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        return answer


def numbers_in(text):
    """Of Prometheus' text: name{labels} -> number."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


class Gateway(Process):
    """`postern run`. `pools`: name -> hosts' address, a list of them, or a table of keys. Further settings are tables of the
    configuration, or its top-level keys: Gateway(place, rules, limits={"connections": 10}, workers=2). Delivery is `sync` unless they
    say another mode. `resolv_conf`: what it finds in /etc/resolv.conf, for which it gets a mount namespace."""

    count = 0

    def __init__(self, place, rules, pools=None, listener=None, environment=None, resolv_conf=None, start_seconds=30, **settings):
        Gateway.count += 1
        self.folder = place.folder / f"gateway{Gateway.count}"
        self.folder.mkdir()
        self.port = free_port()
        self.config = self.folder / "postern.toml"
        self.rules = self.folder / "main.rules"
        self.write_rules(rules)
        self.config.write_text(self.configuration(pools or {}, listener or {}, settings))
        command = with_resolv_conf(self.folder, resolv_conf) + [POSTERN, "run", "-c", self.config]
        super().__init__(command, self.folder, "postern", environment)
        self.wait_listening(self.port, start_seconds)

    def configuration(self, pools, listener, settings):
        top = {"hostname": HOSTNAME, "workers": 1}
        tables = {
            "rules": {"files": ["main.rules"]},
            "admin": {"address": "unix:admin.sock"},
            "spool": {"path": "spool", "min_free": "1 MiB"},
            "delivery": {"mode": "sync"},  # unless the test says another
            "log": {"output": "stderr"},
            "timeouts": {"shutdown_grace": "3 s"},
        }
        for key, value in settings.items():
            if isinstance(value, dict):
                tables[key] = {**tables.get(key, {}), **value}
            else:
                top[key] = value
        text = "".join(f"{key} = {toml(value)}\n" for key, value in top.items())
        text += toml_table("[listener]", {"address": f"{LOOPBACK}:{self.port}", **listener})
        text += "".join(toml_table(*item) for item in tables.items())
        for name, pool in pools.items():
            if not isinstance(pool, dict):
                pool = {"hosts": pool}
            if not isinstance(pool["hosts"], list):
                pool = {**pool, "hosts": [pool["hosts"]]}
            text += toml_table(f"pool.{name}", pool)
        return text

    def write_rules(self, text):
        self.rules.write_text(text if text.endswith("\n") else text + "\n")

    def log(self, **wanted):
        """The log's lines as dicts, those whose fields are as wanted."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def ask(self, target, method="GET", **headers):
        """The admin socket's answer."""
        return ask(UnixConnection(self.folder / "admin.sock"), target, method, **headers)

    def numbers(self):
        return numbers_in(self.ask("/metrics").text)

    def reload(self, *options):
        """`postern reload`, when it has ended."""
        return subprocess.run([POSTERN, "reload", "-c", self.config, *options], capture_output=True, text=True, timeout=60)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def close(self, seconds=20):
        code = super().close(seconds)
        # A sanitizer's report or an assertion is a failure of whatever test was running.
        if re.search(r"ERROR: \w+Sanitizer|runtime error:|assertion failed", self.said()):
            raise RuntimeError(f"postern reported an error of its own:\n{self.said()[-8000:]}")
        return code


class Reply:
    """An answer as a client reads it."""

    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = "\n".join(line[4:] for line in lines)

    def __str__(self):
        return "\n".join(self.lines)

    __repr__ = __str__


class Closed(Exception):
    """The other side closed the connection where an answer was expected."""


class Session:
    """A bare SMTP client: says what it is told and reads what comes. `source`: the loopback address to come from."""

    def __init__(self, port, source=LOOPBACK, ehlo="client.test", timeout=30, greeting=True):
        self.socket = socket.create_connection((LOOPBACK, port), timeout=timeout, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.greeting = self.read() if greeting else None
        self.extensions = self.command(f"EHLO {ehlo}").lines[1:] if ehlo else None

    def close(self):
        self.socket.close()

    def reset(self):
        """Goes away with a reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise Closed(f"closed; unread: {self.buffer!r}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("ascii")

    def read(self):
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return Reply(lines)

    def command(self, line):
        self.send(line + "\r\n")
        return self.read()

    def rest(self):
        """Everything until the other side closes."""
        data, self.buffer = self.buffer, b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.socket.recv(65536):
                data += more
        return data

    def envelope(self, recipients, sender="sender@client.test", parameters=""):
        """MAIL and the RCPTs, each answered before the next; returns their answers."""
        recipients = [recipients] if isinstance(recipients, str) else recipients
        return [self.command(f"MAIL FROM:<{sender}>{parameters}")] + [self.command(f"RCPT TO:<{r}>") for r in recipients]

    def data(self, body):
        """DATA and the body, which has CRLF lines; returns the final answer (or the refusal of DATA itself)."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        self.send(re.sub(rb"(?m)^\.", b"..", body) + b".\r\n")
        return self.read()

    def bdat(self, body, chunk=None):
        """The body in chunks of that many octets; returns the last answer."""
        chunk = chunk or len(body) or 1
        pieces = [body[i : i + chunk] for i in range(0, len(body), chunk)] or [b""]
        for number, piece in enumerate(pieces, 1):
            self.send(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if number == len(pieces) else b"") + piece)
        return [self.read() for _ in pieces][-1]

    def mail(self, recipients, body=b"Subject: x\r\n\r\nhello\r\n", **envelope):
        """A whole message by DATA: the first refusal, or the final answer."""
        for reply in self.envelope(recipients, **envelope):
            if reply.code != 250:
                return reply
        return self.data(body)


class Delivered:
    """A message that a FakeHost said it took, or was sent whole."""

    def __init__(self, connection, sender, recipients, content, by):
        self.connection = connection
        self.sender = sender  # the whole parameter of MAIL
        self.recipients = recipients  # those it accepted, in order: the whole parameters of RCPT
        self.content = content  # dots taken out
        self.by = by  # DATA or BDAT


CLOSE = object()  # as an answer: close the connection instead
STALL = object()  # as an answer: say nothing, for ever

ALL_EXTENSIONS = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES")


class FakeHost:
    """A smart host that a test scripts. `greeting`, `ehlo`, `helo`, `mail`, `rcpt`, `data`, `body` are answers, or functions of the
    command's parameter (of the Delivered, for `body`) that give one: text, several lines of it, CLOSE, STALL, or
    (seconds, answer) to answer late. What was said to it is in `lines`, what it took in `messages`. `tls`: an ssl.SSLContext, with
which STARTTLS is offered and answered by `starttls`. `auth`: the name and password that AUTH PLAIN must have, which is then offered
too."""

    def __init__(
        self,
        extensions=ALL_EXTENSIONS,
        greeting="220 fake.test ESMTP",
        ehlo=None,
        helo="250 fake.test",
        mail="250 2.1.0 ok",
        rcpt="250 2.1.5 ok",
        data="354 go on",
        body="250 2.0.0 taken",
        data_needs_recipients=True,
        port=0,
        ip=LOOPBACK,
        tls=None,
        starttls="220 2.0.0 go on",
        auth=None,
        xforward="250 2.0.0 ok",
    ):
        self.extensions = extensions
        self.greeting, self.ehlo, self.helo, self.mail, self.rcpt, self.data, self.body = greeting, ehlo, helo, mail, rcpt, data, body
        self.data_needs_recipients = data_needs_recipients
        self.tls, self.starttls, self.auth, self.xforward = tls, starttls, auth, xforward
        self.handshakes = []  # of each that was done: the ssl.SSLSocket
        self.lines = []  # (connection, line)
        self.messages = []  # Delivered, answered 250
        self.seen = []  # Delivered, whatever the answer
        self.connections = 0
        self.sockets = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.listener = socket.create_server((ip, port), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.address = f"{ip}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.closing.set()
        # shutdown wakes the thread that waits in accept; close alone would not.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop_connections()

    def drop_connections(self):
        """Closes what is open; the listener stays."""
        with self.lock:
            dropped, self.sockets = self.sockets, []
        for s in dropped:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def verbs(self, connection=None):
        return [
            line.split(" ", 1)[0].split(":", 1)[0].upper() for number, line in self.lines if connection in (None, number)
        ]

    def said(self, start):
        """The lines that begin with that."""
        return [line for _, line in self.lines if line.upper().startswith(start.upper())]

    def _accept(self):
        while not self.closing.is_set():
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
                self.sockets.append(s)
            threading.Thread(target=self._serve, args=(number, s), daemon=True).start()

    def offers(self, session):
        return [
            *self.extensions,
            *(["STARTTLS"] if self.tls and not session.secure else []),
            *(["AUTH PLAIN"] if self.auth else []),
        ]

    def _serve(self, number, s):
        # A connection ends whenever either side likes: nothing to report.
        with contextlib.suppress(OSError, Closed), s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            FakeSession(self, number, s).run()


class FakeSession:
    """One connection to a FakeHost."""

    def __init__(self, host, number, s):
        self.host, self.number, self.socket = host, number, s
        self.file = s.makefile("rb")
        self.secure = False
        self.begin()

    def begin(self):
        self.sender, self.recipients, self.chunks = None, [], b""

    def answer(self, answer, *arguments, taken=None):
        """Says it and returns its code. `taken`: what a 250 takes, before it is said."""
        if callable(answer):
            answer = answer(*arguments)
        if isinstance(answer, tuple):
            self.host.closing.wait(answer[0])
            answer = answer[1]
        if answer is CLOSE:
            raise Closed
        if answer is STALL:
            self.host.closing.wait()
            raise Closed
        if taken and answer.startswith("250"):
            self.host.messages.append(taken)
        self.socket.sendall(answer.replace("\n", "\r\n").encode("latin-1") + b"\r\n")
        return int(answer[:3]) if answer[:3].isdigit() else 0

    def run(self):
        if self.answer(self.host.greeting) != 220:
            return
        while line := self.file.readline():
            assert line.endswith(b"\r\n"), line
            line = line[:-2].decode("utf-8", "surrogateescape")
            self.host.lines.append((self.number, line))
            verb, _, parameter = line.partition(" ")
            handler = getattr(self, "on_" + verb.lower(), None)
            if not handler:
                self.answer("500 5.5.1 what?")
            elif handler(parameter) == "end":
                return

    def on_ehlo(self, parameter):
        lines = ["fake.test", *self.host.offers(self)]
        said = "\n".join(f"250{'-' if i + 1 < len(lines) else ' '}{line}" for i, line in enumerate(lines))
        self.answer(self.host.ehlo or said, *([parameter] if callable(self.host.ehlo) else []))

    def on_starttls(self, _):
        if self.answer(self.host.starttls) != 220:
            return None
        try:
            self.socket = self.host.tls.wrap_socket(self.socket, server_side=True)
        except OSError:  # ssl.SSLError is one
            return "end"
        self.file = self.socket.makefile("rb")
        self.secure = True
        self.host.handshakes.append(self.socket)
        self.begin()
        return None

    def on_auth(self, parameter):
        name, password = self.host.auth
        wanted = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        self.answer("235 2.7.0 welcome" if parameter == f"PLAIN {wanted}" else "535 5.7.8 who are you?")

    def on_xforward(self, parameter):
        self.answer(self.host.xforward)

    def on_helo(self, parameter):
        self.answer(self.host.helo)

    def on_mail(self, parameter):
        self.begin()
        if self.answer(self.host.mail, *([parameter] if callable(self.host.mail) else [])) // 100 == 2:
            self.sender = parameter

    def on_rcpt(self, parameter):
        if self.sender is None:
            self.answer("503 5.5.1 MAIL first")
        elif self.answer(self.host.rcpt, *([parameter] if callable(self.host.rcpt) else [])) // 100 == 2:
            self.recipients.append(parameter)

    def on_data(self, _):
        if self.host.data_needs_recipients and not self.recipients:
            self.answer("503 5.5.1 RCPT first")
            return
        if self.answer(self.host.data) != 354:
            return
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise Closed
            lines.append(line.removeprefix(b"."))
        self.finish(b"".join(lines), "DATA")

    def on_bdat(self, parameter):
        size, _, last = parameter.partition(" ")
        data = self.file.read(int(size))
        if len(data) != int(size):
            raise Closed
        if not self.recipients:
            self.answer("503 5.5.1 RCPT first")
            return
        self.chunks += data
        if last.upper() == "LAST":
            self.finish(self.chunks, "BDAT")
        else:
            self.answer("250 2.0.0 chunk")

    def finish(self, content, by):
        message = Delivered(self.number, self.sender, self.recipients, content, by)
        self.begin()
        self.host.seen.append(message)
        self.answer(self.host.body, *([message] if callable(self.host.body) else []), taken=message)

    def on_rset(self, _):
        self.begin()
        self.answer("250 2.0.0 ok")

    def on_noop(self, _):
        self.answer("250 2.0.0 ok")

    def on_quit(self, _):
        self.answer("221 2.0.0 bye")
        return "end"


RECEIVED = re.compile(
    rb"Received: from (?P<helo>\S+) \((?P<name>\S+) \[(?P<address>(?:IPv6:)?[0-9a-fA-F.:]+)\]\)"
    rb" by (?P<by>\S+) \(Postern\)"
    rb" with (?P<with>(?:ESMTP|UTF8SMTP|SMTP)S?A?) id (?P<id>[^\s;]+)(?: for <(?P<rcpt>[^>]+)>)?;"
    rb" (?P<date>(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9 ]?\d"
    rb" (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d \+0000)\r\n"
)


def behind_received(content):
    """What stands behind Postern's one Received: line; fails where the content does not begin with a well-formed one."""
    line, end, rest = content.partition(b"\r\n")
    if not RECEIVED.fullmatch(line + end):
        raise AssertionError(f"not Postern's Received: line: {line[:300]!r}")
    return rest


def password_file(folder, logins, name="passwords"):
    """An auth_file of names and passwords, hashed cheaply."""
    lines = [f"{login}:{crypt.crypt(password, crypt.mksalt(crypt.METHOD_SHA512, rounds=1000))}\n" for login, password in logins]
    file = folder / name
    file.write_text("".join(lines))
    return file


def difference(got, expected):
    """None when equal, else where and how they differ, shortly."""
    if got == expected:
        return None
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
    return (
        f"differs at octet {at} of {len(expected)} (got {len(got)}): "
        f"got {got[max(0, at - 40):at + 40]!r}, expected {expected[max(0, at - 40):at + 40]!r}"
    )
