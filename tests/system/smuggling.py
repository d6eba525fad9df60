"""No sequence of octets in makes a smart host see another message or command than Postern saw (CVE-2023-51764, -51765, -51766
and what is like them), in pairs of Postern and each of Postfix, Exim, OpenSMTPD and aiosmtpd as Debian ships them, and Postfix with
its own protection off. The everyday part; tests/campaigns/smuggling.py does all of it.

A sender sends a whole session in one stream, cut as the test likes. What Postern must see in it is what `Model` sees, which is
the letter of RFC 5321 and RFC 3030 in a few lines: a line ends in CRLF, the data in CRLF.CRLF, a chunk behind its octets, and in
nothing else. Then: as many answers as the model counts, and at the smart host exactly the messages that the sender was told 250
for, each with its own envelope and body, bare CR and LF repaired, and nothing else at all.
"""

import concurrent.futures
import contextlib
import re
import socket
import time
import unittest

import peers
from aiosmtpd.smtp import SMTP
from harness import LOOPBACK, Gateway, Place, behind_received, difference, wait_for

# All that a server would add where it is missing is there.
DATE = "Date: Wed, 25 Nov 2026 12:00:00 +0000"
SENDER, SMUGGLER = "sender@client.test", "smuggler@evil.test"

# What may stand around a dot in place of CRLF.
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\0\r\n", b"\r\0\n", b"\r\n\0", b""]
MORE_ENDS = [b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\0", b"\n\0", b"\r\0", b"\0\n", b"\0\r", b" \r\n", b"\r \n", b"\r\n ", b"\x0b", b"\x85", b"\x1a\r\n"]
DOTS = [b"."]
MORE_DOTS = [b"..", b"...", b".\0", b"\0.", b" .", b". "]
MODES = ("sync", "hybrid", "queue")
LENGTHS = [998, 1000, 1001, 2047, 2048, 4096, 65536]
MORE_LENGTHS = [997, 999, 1023, 1024, 2046, 2049, 4094, 4095, 4097, 8192, 16384, 32767, 32768, 61439, 61440, 65535, 65537, 100_000]


# --- what Postern must see


class Message:
    def __init__(self, sender, recipients, content):
        self.sender, self.recipients, self.content = sender, recipients, content
        self.bare = re.search(rb"(?<!\r)\n|\r(?!\n)", content) is not None
        self.answer = None  # which of the session's

    def repaired(self):
        return re.sub(rb"(?<!\r)\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", self.content))


class Model:
    """Reads a sender's whole stream: how many answers it gets, and which messages stand in it. A recipient of .test is taken."""

    def __init__(self, stream):
        self.stream, self.at, self.answers, self.messages = stream, 0, 1, []  # the greeting
        self.begun = None  # [sender, recipients, chunks, failed]
        while (end := stream.find(b"\r\n", self.at)) >= 0:
            line = stream[self.at : end]
            self.at = end + 2
            self.answers += 1
            if self.command(line) == "end":
                return
        raise AssertionError(f"the test's own stream has no QUIT where it is read: {stream[self.at:]!r}")

    def command(self, line):
        verb = line.split(b" ")[0].upper()
        if re.search(rb"[\r\n\0]", line):
            return None
        if verb == b"QUIT":
            return "end"
        if verb in (b"EHLO", b"RSET"):
            self.begun = None
        elif (mail := re.fullmatch(rb"MAIL FROM:<([^<>\s]*)>", line)) and not self.begun:
            self.begun = [mail[1].decode(), [], None, False]
        elif (rcpt := re.fullmatch(rb"RCPT TO:<([^<>\s]+\.test)>", line)) and self.begun and self.begun[2] is None:
            self.begun[1].append(rcpt[1].decode())
        elif line == b"DATA" and self.begun and self.begun[1] and self.begun[2] is None:
            self.answers += 1
            self.data()
        elif chunk := re.fullmatch(rb"BDAT (\d{1,10})( LAST)?", line):
            self.chunk(int(chunk[1]), bool(chunk[2]))
        elif verb == b"BDAT" and self.begun and self.begun[2] is not None:
            self.begun[3] = True
        return None

    def data(self):
        rest = b"\r\n" + self.stream[self.at :]
        end = rest.index(b"\r\n.\r\n")
        content = rest[2 : end + 2]
        self.at += end + 3
        self.finish(re.sub(rb"(\A|\r\n)\.", rb"\1", content))

    def chunk(self, size, last):
        octets = self.stream[self.at : self.at + size]
        self.at += size
        if not self.begun:
            return
        self.begun[2] = (self.begun[2] or b"") + octets
        self.begun[3] |= not self.begun[1]
        if last and self.begun[3]:
            self.begun = None
        elif last:
            self.finish(self.begun[2])

    def finish(self, content):
        message = Message(self.begun[0], self.begun[1], content)
        message.answer = self.answers - 1
        self.messages.append(message)
        self.begun = None


# --- what is sent


class Case:
    """A stream, with the recipients that stand for its domain and number."""

    def __init__(self, name, stream):
        self.name, self.stream = name, stream

    def made(self, number, domain):
        return self.stream.replace(b"@here", b"@" + domain.encode()).replace(b"#", str(number).encode())


def smuggled(end=b"\r\n"):
    """A message as a smuggler would have it follow."""
    lines = [f"MAIL FROM:<{SMUGGLER}>", "RCPT TO:<s#@here>", "DATA", DATE, "Message-Id: <y@evil.test>", "Subject: smuggled", "", "smuggled", "."]
    return b"".join(line.encode() + end for line in lines)


HELLO = b"EHLO client.test\r\n"
BEGIN = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<c#@here>\r\n".encode()
HEADER = DATE.encode() + b"\r\nMessage-Id: <x@client.test>\r\nSubject: x\r\n\r\n"
TEXT = HEADER + b"one"
QUIT = b"\r\n.\r\nQUIT\r\n"  # first the end of whatever data are open; a command that is not known elsewhere


def by_data(name, content):
    """`content` and what follows it behind DATA."""
    return Case(name, HELLO + BEGIN + b"DATA\r\n" + content + QUIT)


def by_bdat(name, content, sizes=None):
    pieces, at = [], 0
    for size in sizes or [len(content)]:
        pieces.append(content[at : at + size])
        at += size
    pieces += [content[at:]] if at < len(content) else []
    chunks = b"".join(
        b"BDAT %d%s\r\n" % (len(piece), b" LAST" if i + 1 == len(pieces) else b"") + piece for i, piece in enumerate(pieces)
    )
    return Case(name, HELLO + BEGIN + chunks + b"QUIT\r\n")


def endings(ends, dots):
    """Each way to write the end of the data that some server may take for one, and a message behind it."""
    for before in ends:
        for dot in dots:
            for behind in ends:
                sequence = before + dot + behind
                yield by_data(f"DATA {sequence!r}", TEXT + sequence + smuggled())
                # Not replaced by the number in a chunk, whose size is told in front.
                content = TEXT + sequence + smuggled().replace(b"#", b"").replace(b"@here", b"@chunk.test")
                yield by_bdat(f"BDAT {sequence!r}", content)


def bare_endings():
    """The smuggled message in bare newlines throughout."""
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r"):
        yield by_data(f"DATA all in {end!r}", TEXT + end + b"." + end + smuggled(end))
        content = TEXT + end + b"." + end + smuggled(end).replace(b"#", b"").replace(b"@here", b"@chunk.test")
        yield by_bdat(f"BDAT all in {end!r}", content)


def chunk_borders():
    """The octets that would end the data divided over chunks at every place."""
    for sequence in (b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n"):
        content = TEXT + sequence + b"MAIL FROM:<x@evil.test>\r\n" + sequence
        for first in range(len(HEADER), len(TEXT) + len(sequence) + 2):
            yield by_bdat(f"BDAT {first} of {sequence!r}", content, [first])
            yield by_bdat(f"BDAT {first}, 1, 1 of {sequence!r}", content, [first, 1, 1])


def refused_chunks():
    """Chunks that are refused, and whose octets are commands: they are read as octets all the same."""
    evil = f"MAIL FROM:<{SMUGGLER}>\r\nRCPT TO:<evil@chunk.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\n".encode()
    size = len(evil)
    honest = BEGIN.replace(b"<c", b"<d") + b"DATA\r\n" + TEXT + b"\r\n.\r\n"
    first = b"BDAT %d\r\n" % len(HEADER) + HEADER
    for last in (b"", b" LAST"):
        chunk = b"BDAT %d%s\r\n" % (size, last) + evil
        reset = b"RSET\r\n"
        yield Case(f"BDAT{last!r} before EHLO", chunk + HELLO + honest + b"QUIT\r\n")
        yield Case(f"BDAT{last!r} before MAIL", HELLO + chunk + honest + b"QUIT\r\n")
        yield Case(f"BDAT{last!r} without RCPT", HELLO + BEGIN[: BEGIN.index(b"RCPT")] + chunk + reset + honest + b"QUIT\r\n")
        refused = BEGIN.replace(b"@here", b"@refused.invalid")
        yield Case(f"BDAT{last!r} with refused RCPT", HELLO + refused + chunk + reset + honest + b"QUIT\r\n")
        yield Case(f"BDAT{last!r} behind a malformed one", HELLO + BEGIN + first + b"BDAT x\r\n" + chunk + reset + honest + b"QUIT\r\n")
        yield Case(f"BDAT{last!r} behind a message", HELLO + honest + chunk + honest.replace(b"<d", b"<e") + b"QUIT\r\n")
        yield Case(f"DATA within chunks{last!r}", HELLO + BEGIN + first + b"DATA\r\n" + chunk + reset + honest + b"QUIT\r\n")
    too_large = b"BDAT 300000 LAST\r\n" + (evil * (300_000 // size + 1))[:300_000]
    yield Case("BDAT too large", HELLO + BEGIN.replace(b"<c", b"<large") + too_large + honest + b"QUIT\r\n")


def command_lines():
    """What might make one command line two for the smart host."""
    for end in (b"\n", b"\r", b"\r\0\n", b"\0\r\n", b"\n\r"):
        for line in (
            b"MAIL FROM:<a@client.test>" + end + b"RCPT TO:<evil@here>",
            b"MAIL FROM:<\"a" + end + b"DATA" + end + b"\"@client.test>",
            b"MAIL FROM:<a@client.test> SIZE=1" + end + b"DATA",
            b"EHLO a" + end + b"MAIL FROM:<" + SMUGGLER.encode() + b">",
        ):
            yield Case(f"{line!r}", HELLO + line + b"\r\n" + b"RSET\r\n" + BEGIN + b"DATA\r\n" + TEXT + b"\r\n.\r\nQUIT\r\n")
        quoted = b"RCPT TO:<\"c" + end + b"DATA" + end + b"\"@here>\r\n"
        yield Case(f"{quoted!r}", HELLO + BEGIN + quoted + b"DATA\r\n" + TEXT + b"\r\n.\r\nQUIT\r\n")


def long_lines(lengths):
    """Lines that some server reads in pieces, with what ends data where a piece may end."""
    for length in lengths:
        for sequence in (b".\r\n", b"\r\n.\r\n", b"\n.\n", b"\r.\r\n", b"\r\n.\r", b"..\r\n"):
            content = HEADER + b"x" * (length - len(sequence) + sequence.index(b".")) + sequence
            yield by_data(f"DATA {length} and {sequence!r}", content + smuggled())


def pipelined():
    """What is legitimate stays so: messages one behind the other in one write."""
    message = BEGIN + b"DATA\r\n" + TEXT + b"\r\n..\r\n.. \r\n.\r\n"
    chunk = BEGIN.replace(b"<c", b"<d") + b"BDAT %d\r\n" % (len(HEADER) - 1) + HEADER[:-1] + b"BDAT 4 LAST\r\n\n.\r\n"
    yield Case("two behind one another", HELLO + message + chunk + b"QUIT\r\n")


def everyday():
    yield from endings(ENDS[:6], DOTS)
    yield from bare_endings()
    yield from refused_chunks()
    yield from command_lines()
    yield from long_lines(LENGTHS)
    yield from pipelined()


def everything():
    yield from endings(ENDS + MORE_ENDS, DOTS)
    yield from endings(ENDS, MORE_DOTS)
    yield from bare_endings()
    yield from chunk_borders()
    yield from refused_chunks()
    yield from command_lines()
    yield from long_lines(LENGTHS + MORE_LENGTHS)
    yield from pipelined()


# --- how it is cut


def whole(stream):
    return [stream]


def octets(stream):
    return [stream[i : i + 1] for i in range(len(stream))] if len(stream) < 2000 else [stream]


def at(place):
    """In two, so far behind the message's text."""

    def cut(stream):
        middle = stream.find(b"one") + 3 + place
        return [stream[:middle], stream[middle:]]

    return cut


# --- the pairs


class PlainAiosmtpd(peers.Aiosmtpd):
    """As Debian ships it, without the longer lines that real mail needs."""

    def factory(self):
        return SMTP(self, hostname="aiosmtpd.test", loop=self.loop)


class Way:
    """A domain of the gateway's, the server behind it, and how."""

    def __init__(self, domain, server, **pool):
        self.domain, self.server, self.pool = domain, server, {"hosts": server.address, "send_8bit": True, **pool}


class Pairs:
    """A gateway for each way to treat bare newlines and each of the modes, and all servers behind all of them."""

    def __init__(self, place, modes=MODES):
        self.place, self.number = place, 0
        self.servers = {
            "postfix": peers.Postfix(place),
            "unsafe": peers.Postfix(place, smtpd_forbid_bare_newline="no"),
            "exim": peers.Exim(place),
            "opensmtpd": peers.OpenSmtpd(place),
            "aiosmtpd": place.add(PlainAiosmtpd()),
        }
        self.ways = [Way(f"{name}.test", server) for name, server in self.servers.items()]
        for name in ("postfix", "unsafe", "exim"):  # by DATA too, which the others know alone
            self.ways.append(Way(f"{name}-data.test", self.servers[name], ehlo_ignore=["CHUNKING"]))
        rules = "".join(f"{way.domain} {way.domain.split('.')[0]}\n" for way in self.ways)
        # The commands inside a chunk name a domain of their own: whatever arrives there was smuggled.
        rules += "chunk.test postfix\n"
        self.gateways = {
            (mode, bare): place.add(
                Gateway(
                    place, rules, {way.domain.split(".")[0]: way.pool for way in self.ways}, listener={"bare_newline": bare},
                    limits={"message_size": "256 KiB", "connections_per_client": 0, "errors": 1000}, workers=2,
                    delivery={"mode": mode}, retry={"first": "1 s", "max": "2 s"},
                )
            )
            for mode in modes
            for bare in ("normalize", "reject")
        }
        self.expected = {name: {} for name in self.servers}  # recipient -> Message
        self.refused = set()  # recipients, behind our 250
        self.wrong = []

    def run(self, mode, bare, cases, cuts):
        """Every case by every way in every cut."""
        jobs = []
        for way in self.ways:
            for case in cases:
                for cut in cuts:
                    self.number += 1
                    jobs.append((way, case, cut, f"n{self.number}"))
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            for _ in threads.map(lambda job: self.send(mode, bare, *job), jobs):
                pass
        return len(jobs)

    def send(self, mode, bare, way, case, cut, number):
        stream = case.made(number, way.domain)
        model = Model(stream)
        answers = self.talk(self.gateways[mode, bare].port, cut(stream))
        name = f"{mode}, {bare}, {way.domain}, {case.name}, {cut.__name__}"
        if len(answers) != model.answers:
            self.wrong.append(f"{name}: {model.answers} answers were due, there are {answers}")
            return
        expected = self.expected[way.domain.split(".")[0].removesuffix("-data")]
        for message in model.messages:
            answer = answers[message.answer]
            too_large = len(message.content) > 256 << 10
            if message.bare and bare == "reject" and not too_large and not answer.startswith("550 5.5.2"):
                self.wrong.append(f"{name}: bare newlines were not refused: {answer}")
            if (not message.bare or bare == "normalize") and answer.startswith("550 5.5.2"):
                self.wrong.append(f"{name}: refused: {answer}")
            if answer.startswith("250"):
                message.name = name
                for recipient in message.recipients:
                    expected[recipient] = message

    def talk(self, port, pieces):
        with contextlib.closing(socket.create_connection((LOOPBACK, port), timeout=60)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received = s.recv(4096)
            for i, piece in enumerate(pieces):
                if 0 < i < 4:
                    time.sleep(0.002)  # read by itself
                s.sendall(piece)
            while data := s.recv(65536):
                received += data
        return [line for line in received.decode().split("\r\n") if line[3:4] == " "]

    def wait_for_queues(self):
        """Whom a smart host refused behind our 250, once nothing waits any more: no rule leads to their senders, so the notifications
        are buried."""
        for gateway in self.gateways.values():
            wait_for(lambda: gateway.numbers()["postern_spool_messages"] == 0, "the spool to be empty", 120)
            for file in (gateway.folder / "spool/dead").glob("*.eml"):
                self.refused.update(re.findall(r"(?m)^Final-Recipient: rfc822; (\S+)\r$", file.read_bytes().decode("latin-1")))

    def check(self):
        """What each server has is what was expected of it, and nothing else."""
        self.wait_for_queues()
        for name, server in self.servers.items():
            expected = self.expected[name]
            # Exim bounces a line that is longer than its transport takes: 998.
            may = self.refused | {r for r, m in expected.items() if name == "exim" and max(map(len, m.content.split(b"\r\n"))) > 900}
            with contextlib.suppress(TimeoutError):
                wait_for(lambda: server.count() >= len(expected.keys() - may), f"{len(expected)} messages at {name}", 120)
            arrived = self.arrived(server)
            for recipient in sorted(expected.keys() - may - arrived.keys()):
                self.wrong.append(f"{expected[recipient].name}: {recipient} was told 250 and nothing arrived")
            for recipient, copies in sorted(arrived.items()):
                if recipient not in expected:
                    self.wrong.append(f"{name}: nobody sent to {recipient}: {copies}")
                    continue
                message = expected[recipient]
                if len(copies) > 1:
                    self.wrong.append(f"{message.name}: {recipient} arrived {len(copies)} times")
                for sender, content in copies:
                    if sender != message.sender:
                        self.wrong.append(f"{message.name}: {recipient} arrived from {sender}")
                    if recipient in self.refused:
                        self.wrong.append(f"{message.name}: {recipient} arrived, and its sender was told that it did not")
                    if found := difference(*self.comparable(behind_received(content), message.repaired())):
                        self.wrong.append(f"{message.name}: {recipient} {found}")
        return self.wrong

    @staticmethod
    def comparable(got, expected):
        """Both, where a NUL is for each server to keep, to drop, or to stop the line at; and the last CRLF for us to add."""
        got, expected = (content.removesuffix(b"\r\n").split(b"\r\n") for content in (got, expected))
        for i, (one, other) in enumerate(zip(got, expected)):
            if b"\0" in other and one in (other.split(b"\0")[0], other.replace(b"\0", b"")):
                got[i] = other
        return b"\r\n".join(got), b"\r\n".join(expected)

    @staticmethod
    def arrived(server):
        """recipient -> [(sender, content)]; without what a server itself says to the senders."""
        found = {}
        if isinstance(server, PlainAiosmtpd):
            for sender, recipients, content in list(server.messages):
                for recipient in recipients:
                    found.setdefault(recipient, []).append((sender, content))
            return found
        for recipient, lines, content in server.copies():
            sender = re.search(rb"(?i)^Return-path: <(.*)>", lines)[1].decode()
            if sender or recipient not in (SENDER, SMUGGLER):
                found.setdefault(recipient, []).append((sender, content))
        return found


class TheModel(unittest.TestCase):
    """Is what the pairs are judged by what the RFCs say?"""

    def test_the_end_of_the_data(self):
        for sequence, count in ((b"\r\n.\r\n", 2), (b"\n.\r\n", 1), (b"\r\n.\n", 1), (b"\r.\r", 1), (b"\r\n.\r\r\n", 1)):
            model = Model(by_data("", TEXT + sequence + smuggled()).made("n1", "a.test"))
            self.assertEqual(len(model.messages), count, sequence)
        self.assertEqual(Model(by_data("", b".").made("n1", "a.test")).messages[0].content, b"")

    def test_repairs(self):
        self.assertEqual(Message("", [], b"a\nb\rc\r\r\nd\n\re").repaired(), b"a\r\nb c \r\nd\r\n e")

    def test_chunks_are_octets(self):
        for case in refused_chunks():
            for message in Model(case.made("n1", "a.test")).messages:
                self.assertEqual(message.sender, SENDER, case.name)


class Everyday(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = cls.enterClassContext(Place())

    def test_pairs(self):
        pairs = Pairs(self.place)
        cases = list(everyday())
        sent = pairs.run("sync", "normalize", cases, [whole, at(2)])
        sent += pairs.run("sync", "reject", cases, [at(1)])
        sent += pairs.run("sync", "normalize", list(endings(ENDS[:3], DOTS)), [octets])
        for number, mode in enumerate(("hybrid", "queue")):  # a third of the cases each
            sent += pairs.run(mode, "normalize", cases[number::3], [at(2)])
            sent += pairs.run(mode, "reject", cases[number + 1 :: 9], [at(1)])
        wrong = pairs.check()
        if wrong:
            self.fail(f"{len(wrong)} wrong of {sent}:\n" + "\n".join(wrong[:40]))
        self.assertGreater(sum(map(len, pairs.expected.values())) - len(pairs.refused), sent // 2)
