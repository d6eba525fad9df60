"""Limits by client: each rate has its answer, its counter, and no hold on anybody else."""

import contextlib
import json
import select
import threading
import time

from harness import STALL, Closed, Session, SystemTest, wait_for

BODY = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"


class Limits(SystemTest):
    limits = {}
    listener = {}

    def setUp(self):
        super().setUp()
        self.a = self.host()
        self.postern = self.gateway(
            "a.test a\nno.test reject\n",
            {"a": self.a.address},
            listener=self.listener,
            limits=self.limits,
            relay={"networks": ["127.0.88.0/24"]},
            workers=2,
        )

    def reached(self, limit):
        return sum(
            number
            for name, number in self.postern.numbers().items()
            if name.startswith("postern_limits_reached_total") and f'limit="{limit}"' in name
        )

    def raw(self, source):
        return self.place.add(Session(self.postern.port, source=source, ehlo=None, greeting=False))

    def of(self, source):
        return self.session(self.postern, source=source)


class ConnectionRate(Limits):
    limits = {"connection_rate": 5}

    def test_past_it_421(self):
        for _ in range(5):
            s = self.raw("127.0.66.1")
            self.assertEqual(s.read().code, 220)
            s.close()
        for _ in range(60):
            s = self.raw("127.0.66.1")
            self.assertRegex(s.rest(), rb"^421 4\.7\.0 [^\r\n]*\r\n$")
        self.assertEqual(self.reached("connection_rate"), 60)
        self.assertEqual(self.of("127.0.66.2").mail("x@a.test").code, 250)
        for _ in range(10):
            self.of("127.0.88.1").close()
        # The log says so: each worker for the first ten of a second.
        wait_for(lambda: self.postern.log(event="refusals suppressed", client="127.0.66.1"), "the sum of those left out")
        lines = self.postern.log(event="rejected", client="127.0.66.1")
        self.assertTrue(1 <= len(lines) <= 50 and all(line["reply"].startswith("421 4.7.0") for line in lines), lines)


class MessageRate(Limits):
    limits = {"message_rate": 3, "errors": 8}

    def test_past_it_450(self):
        sessions = [self.of("127.0.66.1"), self.of("127.0.66.1")]
        for number in range(3):
            self.assertEqual(sessions[number % 2].mail("x@a.test").code, 250)
        for s in sessions:
            self.assertTrue(str(s.command("MAIL FROM:<a@client.test>")).startswith("450 4.7.1 "))
            # A pipeline behind it comes to nothing, and the session goes on.
            s.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<x@a.test>\r\nDATA\r\nNOOP\r\n")
            self.assertEqual([s.read().code for _ in range(4)], [450, 503, 503, 250])
        self.assertEqual(self.reached("message_rate"), 4)
        # Nor is it an error, however often it comes; DATA by itself is.
        for _ in range(20):
            s.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<x@a.test>\r\nDATA\r\n")
            self.assertEqual([s.read().code for _ in range(3)], [450, 503, 503])
        for _ in range(7):
            self.assertEqual(s.command("DATA").code, 503)
        self.assertEqual(s.command("DATA").lines[0][:3], "503")
        self.assertRegex(s.rest(), rb"^421 4\.7\.0 ")
        self.assertEqual(self.of("127.0.66.2").mail("x@a.test").code, 250)
        s = self.of("127.0.88.1")
        for _ in range(10):
            self.assertEqual(s.mail("x@a.test").code, 250)


class RecipientRate(Limits):
    limits = {"recipient_rate": 6}

    def test_past_it_450(self):
        s = self.of("127.0.66.1")
        replies = s.envelope([f"x{n}@a.test" for n in range(4)] + ["a@no.test", "x5@a.test", "x6@a.test", "x7@a.test"])
        self.assertEqual([r.code for r in replies], [250, 250, 250, 250, 250, 550, 250, 450, 450])
        self.assertTrue(str(replies[-1]).startswith("450 4.7.1 "))
        # Those that were taken have the message.
        self.assertEqual(s.data(BODY).code, 250)
        self.assertEqual(len(self.a.messages[0].recipients), 5)
        self.assertEqual(self.reached("recipient_rate"), 2)


class RefusedRate(Limits):
    limits = {"refused_rate": 4}

    def test_past_it_450(self):
        s = self.of("127.0.66.1")
        s.command("MAIL FROM:<a@client.test>")
        for number in range(2):
            self.assertEqual(s.command(f"RCPT TO:<a{number}@no.test>").code, 550)
            self.assertEqual(s.command(f"RCPT TO:<a{number}@nowhere.test>").code, 550)
        self.assertTrue(str(s.command("RCPT TO:<a@no.test>")).startswith("450 4.7.1 "))
        self.assertTrue(str(s.command("RCPT TO:<a@a.test>")).startswith("450 4.7.1 "))
        self.assertEqual(self.reached("refused_rate"), 2)
        other = self.of("127.0.66.2")
        self.assertEqual(other.mail(["x@a.test"]).code, 250)

    def test_what_the_host_refuses_counts(self):
        """In the answer to the message: who tries names so would go on for ever. Not what is refused for its content."""
        self.a.rcpt = lambda p: "550 5.1.1 unknown" if "bad" in p else "250 2.1.5 ok"
        self.a.body = "554 5.7.1 spam"
        s = self.of("127.0.66.1")
        for number in range(4):
            self.assertEqual(s.mail(f"x{number}@a.test").code, 554)
        for number in range(4):
            self.assertEqual(s.mail(f"bad{number}@a.test").code, 550)
        self.assertTrue(str(s.envelope("bad@a.test")[-1]).startswith("450 4.7.1 "))


class ByteRate(Limits):
    limits = {"byte_rate": "100 KiB"}

    def test_past_it_450(self):
        body = b"A: b\r\n\r\n" + b"x" * 40_000 + b"\r\n"
        first, second = self.of("127.0.66.1"), self.of("127.0.66.1")
        self.assertEqual(first.mail("x@a.test", body).code, 250)
        self.assertEqual(second.mail("x@a.test", body).code, 250)
        # By what is declared, and by what comes.
        self.assertTrue(str(first.command("MAIL FROM:<a@client.test> SIZE=40000")).startswith("450 4.7.1 "))
        reply = first.mail("x@a.test", body)
        self.assertTrue(str(reply).startswith("450 4.7.1 "), reply)
        second.envelope("x@a.test")
        reply = second.bdat(body, 10_000)
        self.assertIn(reply.code, (450, 503))
        self.assertGreaterEqual(self.reached("byte_rate"), 3)
        self.assertEqual(first.command("NOOP").code, 250)
        self.assertEqual(self.of("127.0.66.2").mail("x@a.test", body).code, 250)
        trusted = self.of("127.0.88.1")
        for _ in range(5):
            self.assertEqual(trusted.mail("x@a.test", body).code, 250)
        self.assertEqual(len(self.a.messages), 8)


class ByListener(Limits):
    limits = {"message_rate": 1}
    listener = {"message_rate": 3}

    def test_a_listeners_rate_replaces_the_general_one(self):
        s = self.of("127.0.66.1")
        self.assertEqual([s.mail("x@a.test").code for _ in range(4)], [250, 250, 250, 450])

    def test_a_reload_changes_it(self):
        s = self.of("127.0.66.1")
        self.assertEqual([s.mail("x@a.test").code for _ in range(4)], [250, 250, 250, 450])
        text = self.postern.config.read_text()
        self.postern.config.write_text(text.replace("message_rate = 3", "message_rate = 0"))
        self.assertEqual(self.postern.reload().returncode, 0)
        self.assertEqual(s.mail("x@a.test").code, 250)


class SlowedDown(Limits):
    limits = {"errors": 8}

    def test_bad_commands(self):
        s = self.of("127.0.66.1")
        took = []
        with contextlib.suppress(Closed, ConnectionError):
            for _ in range(20):
                began = time.monotonic()
                self.assertEqual(s.command("WHAT").code, 500)
                took.append(time.monotonic() - began)
                if len(took) == 8:
                    break
        self.assertEqual(len(took), 8)
        self.assertLess(max(took[:5]), 0.1)
        self.assertGreater(took[5], 0.09)
        self.assertGreater(took[7], took[5] + 0.1)
        self.assertRegex(s.rest(), rb"^421 4\.7\.0 ")
        self.assertEqual(self.reached("errors"), 1)

    def test_wrong_recipients(self):
        s = self.of("127.0.66.1")
        s.command("MAIL FROM:<a@client.test>")
        s.send("".join(f"RCPT TO:<a{n}@no.test>\r\n" for n in range(60)))
        self.assertEqual({s.read().code for _ in range(60)}, {550})
        began = time.monotonic()
        self.assertEqual(s.command("RSET").code, 250)
        self.assertGreater(time.monotonic() - began, 0.5)
        # Others are not held up meanwhile.
        other = self.of("127.0.66.2")
        began = time.monotonic()
        self.assertEqual(other.mail("x@a.test").code, 250)
        self.assertLess(time.monotonic() - began, 0.5)


class SlowPool(SystemTest):
    """A pool whose host says nothing any more, at full load, beside one that works."""

    def setUp(self):
        super().setUp()
        self.dead, self.good = self.host(mail=STALL), self.host()
        self.sessions = 0

    def start(self, connections):
        self.postern = self.gateway(
            "dead.test dead\ngood.test good\n",
            {"dead": self.dead.address, "good": self.good.address},
            limits={"connections": connections, "connections_per_client": 0, "body_memory": "32 MiB"},
            relay={"networks": ["127.0.88.0/24"]},
        )

    def new(self):
        self.sessions += 1
        return self.session(self.postern, source=f"127.0.88.{self.sessions}")

    def submit(self, recipient, body=BODY):
        """The first refusal before the end of the body, which is not awaited."""
        s = self.new()
        for reply in s.envelope(recipient):
            if reply.code != 250:
                return reply
        s.send(b"BDAT %d LAST\r\n" % len(body) + body)
        return None

    def let_it_become_slow(self):
        self.assertIsNone(self.submit("x@dead.test"))
        time.sleep(2.2)

    def check_good(self, body=BODY):
        s = self.new()
        began = time.monotonic()
        self.assertEqual(s.mail("x@good.test", body).code, 250)
        self.assertLess(time.monotonic() - began, 0.5)

    def test_it_gets_half_of_the_sessions(self):
        self.start(connections=64)
        self.let_it_become_slow()
        refused = None
        while refused is None and self.sessions < 60:
            refused = self.submit("x@dead.test")
        self.assertTrue(str(refused).startswith("451 4.4.5 "), refused)
        self.assertTrue(31 <= self.sessions <= 34, self.sessions)
        for _ in range(10):
            self.check_good()
        # That session can send to the other one, and numbers show it.
        s = self.new()
        replies = s.envelope(["x@dead.test", "x@good.test"])
        self.assertEqual([r.code for r in replies], [250, 451, 250])
        self.assertEqual(s.data(BODY).code, 250)
        self.assertGreaterEqual(sum(n for name, n in self.postern.numbers().items() if 'limit="pool_share"' in name), 2)

    def test_it_gets_half_of_the_memory_for_bodies(self):
        self.start(connections=64)
        self.let_it_become_slow()
        body = b"A: b\r\n\r\n" + b"x" * (2 << 20) + b"\r\n"
        taken = 0
        while self.sessions < 40:
            s = self.new()
            s.envelope("x@dead.test")
            s.send(b"BDAT %d LAST\r\n" % len(body))
            with contextlib.suppress(ConnectionError):
                s.send(body)
            s.socket.settimeout(0.3)
            try:
                reply = s.read()
            except TimeoutError:
                taken += 1
                continue
            self.assertTrue(str(reply).startswith("452 4.3.1 "), reply)
            break
        self.assertTrue(4 <= taken <= 9, taken)
        self.check_good(b"A: b\r\n\r\n" + b"x" * (8 << 20) + b"\r\n")

    def test_the_other_one_stays_as_fast(self):
        # Half of them for those whose messages wait, and room for what the others open while a busy machine lets none be closed.
        self.start(connections=256)

        def slowest():
            s = self.new()
            took = []
            for _ in range(200):
                began = time.monotonic()
                self.assertEqual(s.mail("x@good.test").code, 250)
                took.append(time.monotonic() - began)
            return sorted(took)[-4]

        before = slowest()
        self.let_it_become_slow()
        stopping = threading.Event()

        def load():
            while not stopping.is_set():
                with contextlib.suppress(Closed, OSError), contextlib.closing(Session(self.postern.port)) as s:
                    s.socket.settimeout(0.2)
                    s.mail("x@dead.test")
                time.sleep(0.02)

        threads = [threading.Thread(target=load, daemon=True) for _ in range(40)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(1)
            self.assertLess(slowest(), 3 * before + 0.05)
        finally:
            stopping.set()
            for thread in threads:
                thread.join(10)


class UnderPressure(SystemTest):
    def test_idle_senders_make_room(self):
        """Near the bound on connections who is idle has 10 s, and who works is not disturbed."""
        a = self.host()
        postern = self.gateway("a.test a\n", {"a": a.address}, limits={"connections": 40, "connections_per_client": 0})
        self.assertEqual(json.loads(postern.ask("/health").text)["pressure"], [])
        working = self.session(postern)
        idle = [self.session(postern) for _ in range(37)]
        began = time.monotonic()
        pressed = lambda: json.loads(postern.ask("/health").text)["pressure"] == ["connections"]
        wait_for(pressed, "pressure to be seen", 5)
        self.assertEqual(postern.numbers()['postern_pressure{resource="connections"}'], 1)
        told = [s.socket for s in idle]
        while told and time.monotonic() < began + 20:
            self.assertEqual(working.mail("x@a.test").code, 250)
            ready, _, _ = select.select(told, [], [], 0.5)
            for s in ready:
                self.assertRegex(s.recv(200), rb"^421 4\.4\.2 ")  # and it is waited for no longer to end as well
                told.remove(s)
        self.assertEqual(told, [])
        self.assertGreater(time.monotonic() - began, 9)
        wait_for(lambda: not pressed(), "the end of the pressure", 5)
        later = self.session(postern)
        self.assertEqual(later.mail("x@a.test").code, 250)
