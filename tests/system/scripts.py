"""The dialogues of tests/script (their README says how they are written) against the real binary."""

import contextlib
import json
import re
import ssl

from authority import Authority
from harness import ROOT, Closed, SystemTest, behind_received, password_file

FOLDER = ROOT / "tests/script"
DEFAULT_RULES = ["example.com sink", 'refused.example reject:"not here"', 'deferred.example defer:"not now"']
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")


def unescape(text):
    plain = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
    return ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else plain[m[2]], text).encode("latin-1")


def parse(text):
    """Settings, rules, names with passwords, and the steps: (line number, kind, text)."""
    settings, rules, logins, steps = {}, [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("config: "):
            key, value = line.removeprefix("config: ").split(" = ", 1)
            table, _, name = key.partition(".")
            settings.setdefault(table, {})[name] = json.loads(value)
        elif line.startswith("rules: "):
            rules.append(line.removeprefix("rules: "))
        elif line.startswith("login: "):
            logins.append(line.split(" ", 2)[1:])
        elif line and not line.startswith("#") and line != "secure":
            steps.append((number, line[:2], line[3:]))
    return settings, rules or DEFAULT_RULES, logins, steps


class Dialogue:
    def __init__(self, test, name, steps, session, host):
        self.test, self.name, self.steps, self.session, self.host = test, name, steps, session, host
        self.reply = session.greeting
        self.pending = b""
        self.messages = 0

    def run(self):
        for at, (number, kind, text) in enumerate(self.steps):
            self.where = f"{self.name}:{number}"
            following = self.steps[at + 1 :]
            content = []
            for _, other, line in following:
                if other != "B:":
                    break
                content.append(unescape(line) + b"\r\n")
            getattr(
                self,
                "on_"
                + {":": "", "-": "part_", "*": "repeated_", "+": "more_", "!": "absent_", ".": "closed_"}[kind[1]]
                + kind[0].lower(),
            )(text, content)
        self.flush()
        self.where = f"{self.name}, at the end"
        if isinstance(self.session.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # it may have ended it already
                self.session.socket = self.session.socket.unwrap()
        with contextlib.suppress(OSError):
            self.session.socket.shutdown(1)
        self.test.assertEqual(self.session.rest(), b"", self.where)
        self.test.assertEqual(len(self.host.messages), self.messages, self.where)

    def flush(self):
        if self.pending:
            self.session.send(self.pending)
            self.pending = b""

    def on_c(self, text, _):
        self.pending += unescape(text) + b"\r\n"

    def on_part_c(self, text, _):
        self.pending += unescape(text)

    def on_repeated_c(self, text, _):
        times, _, part = text.partition(" ")
        self.pending += int(times) * unescape(part)

    def lines(self):
        return [line[:3] + " " + line[4:] for line in self.reply.lines]

    def on_s(self, text, _):
        self.flush()
        try:
            self.reply = self.session.read()
        except (Closed, OSError) as trouble:
            self.test.fail(f"{self.where}: expected {text}: {trouble}")
        self.on_more_s(text, _)

    def on_more_s(self, text, _):
        self.test.assertTrue(
            any(line.startswith(text) for line in self.lines()), f"{self.where}: expected {text}, got {self.reply}"
        )

    def on_absent_s(self, text, _):
        self.test.assertFalse(
            any(line.startswith(text) for line in self.lines()), f"{self.where}: expected no {text}, got {self.reply}"
        )

    def on_closed_s(self, text, _):
        self.flush()
        self.test.assertEqual(self.session.rest(), b"", self.where)

    def on_m(self, text, content):
        self.test.assertLess(self.messages, len(self.host.messages), f"{self.where}: the message has not come")
        message = self.host.messages[self.messages]
        self.messages += 1
        sender = re.match(r"(?i)FROM:<(.*?)>(?: |$)", message.sender)[1]
        recipients = [re.match(r"(?i)TO:<(.*)>$", r)[1] for r in message.recipients]
        self.test.assertEqual(f"{sender or '<>'} -> {' '.join(recipients)}".encode(), unescape(text), self.where)
        if content:
            self.test.assertEqual(behind_received(message.content), b"".join(content), self.where)

    def on_b(self, text, _):
        pass  # read with its M


class Scripts(SystemTest):
    pass


def script_test(path):
    def test(self):
        settings, rules, logins, steps = parse(path.read_text())
        # Who may relay is not what the dialogues are about: `* sink` is for anyone.
        settings.setdefault("listener", {})["trusted"] = True
        if logins:
            settings["listener"]["auth_file"] = str(password_file(self.place.folder, logins))
        secure = "\nsecure\n" in path.read_text()
        if secure:
            authority = Authority(self.place.folder / "authority")
            settings["listener"]["tls"] = "implicit"
            settings["tls"] = {"certificates": [authority.issue("gw.example.net")]}
        host = self.host(("PIPELINING", "8BITMIME", "SMTPUTF8"))  # by DATA each line that comes is ended
        gateway = self.gateway("\n".join(rules), {"sink": host.address}, hostname="gw.example.net", **settings)
        session = self.session(gateway, ehlo=None, greeting=not secure)
        if secure:
            context = ssl.create_default_context(cafile=authority.file)
            session.socket = context.wrap_socket(session.socket, server_hostname="gw.example.net")
            session.greeting = session.read()
        Dialogue(self, path.name, steps, session, host).run()

    return test


for script in sorted(FOLDER.glob("*.smtp")):
    setattr(Scripts, f"test_{script.stem}", script_test(script))
