"""Line endings and loops, senders that go, the gateway's own end, and what the log says, through the real binary."""

import signal
import socket
import time

from delivery import BODY, PIPELINING_ONLY, Delivery
from harness import RECEIVED, STALL, Session, behind_received, wait_for


class Endings(Delivery):
    """Line endings and loops."""

    def test_normalized(self):
        gateway = self.start(self.host(PIPELINING_ONLY))
        for sent, expected in (
            (b"A: b\n\nx\ry\r\n", b"A: b\r\n\r\nx y\r\n"),
            (b"A: b\r\n\r\nx\n.\ny\r\n", b"A: b\r\n\r\nx\r\n.\r\ny\r\n"),
            (b"A: b\r\n\r\nx\r\r\ny\r\n", b"A: b\r\n\r\nx \r\ny\r\n"),
            (b"A: b\r\n\r\nx\n\r\ny\r\n", b"A: b\r\n\r\nx\r\n\r\ny\r\n"),
        ):
            for send in ("data", "bdat"):
                with self.subTest(sent=sent, send=send):
                    s = self.session(gateway)
                    s.envelope("x@a.test")
                    if send == "data":
                        s.command("DATA")
                        s.send(sent + b".\r\n")
                        self.check(s.read(), 250)
                    else:
                        self.check(s.bdat(sent), 250)
                    self.assertEqual(behind_received(self.a.messages[-1].content), expected)

    def test_smuggling(self):
        # Whatever looks like an end of data to somebody else: one message, its insides harmless.
        for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n"):
            with self.subTest(end=end):
                s = self.session(self.start(self.host(PIPELINING_ONLY)))
                s.envelope("x@a.test")
                s.command("DATA")
                s.send(
                    b"A: b\r\n\r\none" + end + b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<y@a.test>\r\nDATA\r\nevil\r\n.\r\n"
                )
                self.check(s.read(), 250)
                self.check(s.command("NOOP"), 250)
                self.assertEqual([m.recipients for m in self.a.seen], [["TO:<x@a.test>"]])
                self.assertNotRegex(self.a.seen[0].content, rb"\r(?!\n)|(?<!\r)\n")

    def test_reject(self):
        gateway = self.start(listener={"bare_newline": "reject"})
        for sent in (b"A: b\n\r\n", b"A: b\r\n\r\nx\ry\r\n"):
            s = self.session(gateway)
            s.envelope("x@a.test")
            s.command("DATA")
            s.send(sent + b".\r\n")
            self.check(s.read(), 550, "5.5.2")
            s.envelope("x@a.test")
            self.check(s.bdat(sent), 550, "5.5.2")
            self.check(s.mail("x@a.test"), 250)
        self.assertEqual(len(self.a.messages), 2)

    def test_loops(self):
        gateway = self.start(limits={"received_max": 10})
        s = self.session(gateway)
        other = b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        self.check(s.mail("x@a.test", other * 9 + b"\r\n"), 250)
        self.check(s.mail("x@a.test", other * 11 + b"\r\n"), 554, "5.4.6")
        self.check(s.mail("x@a.test"), 250)
        own = self.a.messages[-1].content.split(b"\r\n")[0] + b"\r\n"
        self.check(s.mail("x@a.test", own * 3 + b"\r\n"), 250)
        self.check(s.mail("x@a.test", own * 4 + b"\r\n"), 554, "5.4.6")
        # In a body they mean nothing.
        self.check(s.mail("x@a.test", b"A: b\r\n\r\n" + other * 50), 250)


class SenderGone(Delivery):
    def send_and_go(self, host, go):
        s = self.session(self.start(host))
        s.envelope(["x@a.test", "y@a.test"])
        s.send(b"BDAT %d LAST\r\n" % len(BODY) + BODY)
        wait_for(lambda: host.said("RCPT"), "the RCPTs to reach the host")
        go(s)
        time.sleep(1.5)
        return host

    def slow_host(self):
        return self.host(rcpt=(0.4, "250 ok"))

    def test_reset(self):
        host = self.send_and_go(self.slow_host(), Session.reset)
        self.assertEqual(host.seen, [])

    def test_end_of_stream(self):
        host = self.send_and_go(self.slow_host(), Session.close)
        self.assertEqual(host.seen, [])

    def test_end_of_stream_behind_a_command(self):
        def quit_and_shut(s):
            s.send("QUIT\r\n")
            s.socket.shutdown(socket.SHUT_WR)

        host = self.send_and_go(self.slow_host(), quit_and_shut)
        self.assertEqual(len(host.messages), 1)

    def test_still_there(self):
        host = self.send_and_go(self.slow_host(), lambda s: None)
        self.assertEqual(len(host.messages), 1)

    def test_one_recipient_while_the_host_is_reached(self):
        host = self.host(greeting=(1, "220 at last"))
        s = self.session(self.start(host))
        s.envelope("x@a.test")
        s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        wait_for(lambda: host.connections, "the connection")
        s.reset()
        time.sleep(2)
        self.assertEqual(host.seen, [])


class Ending(Delivery):
    def test_sigterm_when_idle(self):
        gateway = self.start()
        s = self.session(gateway)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        self.check(s.read(), 421, "4.3.2")
        self.assertEqual(s.rest(), b"")
        self.assertEqual(gateway.child.wait(10), 0)
        self.assertLess(time.monotonic() - began, 3)

    def test_an_owed_answer_is_awaited(self):
        gateway = self.start(self.host(body=(5, "250 2.0.0 at last")))  # longer than the grace of 3 s
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        wait_for(lambda: self.a.seen, "the message")
        gateway.signal(signal.SIGTERM)
        time.sleep(0.2)
        with self.assertRaises(OSError):
            self.session(gateway)  # nobody new
        self.check(s.read(), 250, "2.0.0", "at last")
        self.check(s.read(), 421, "4.3.2")
        self.assertEqual(gateway.child.wait(10), 0)

    def test_not_for_ever(self):
        gateway = self.start(self.host(body=STALL), timeouts={"data_done": "4 s"})
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        wait_for(lambda: self.a.seen, "the message")
        gateway.signal(signal.SIGTERM)
        self.check(s.read(), 451, "4.4.2")
        self.assertEqual(gateway.child.wait(10), 0)

    def test_a_transaction_that_has_begun_may_finish(self):
        gateway = self.start()
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send("BDAT 6 LAST\r\nA: ")
        time.sleep(0.2)
        gateway.signal(signal.SIGTERM)
        time.sleep(0.5)
        s.send("b\r\n")
        self.check(s.read(), 250)
        self.assertEqual(gateway.child.wait(10), 0)

    def test_a_body_that_does_not_end_is_cut_after_the_grace(self):
        gateway = self.start()
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send("BDAT 6 LAST\r\nA: ")
        time.sleep(0.2)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        self.check(s.read(), 421, "4.3.2")
        self.assertEqual(gateway.child.wait(10), 0)
        self.assertLess(time.monotonic() - began, 8)
        self.assertEqual(self.a.seen, [])


class Log(Delivery):
    def test_one_line_a_message(self):
        gateway = self.start(self.host(body=lambda m: "250 2.0.0 fine" if "x@" in m.recipients[0] else "554 5.7.1 no"))
        s = self.session(gateway)
        s.mail("x@a.test")
        s.mail("y@a.test")
        identity = RECEIVED.match(self.a.messages[0].content)["id"].decode()
        (line,) = wait_for(lambda: gateway.log(id=identity), "the line")
        for key in (
            "time",
            "event",
            "listener",
            "client",
            "helo",
            "from",
            "to",
            "rule",
            "generation",
            "pool",
            "host",
            "reply",
            "ms",
        ):
            self.assertIn(key, line)
        self.assertEqual(
            (line["from"], line["helo"], line["pool"], line["host"]),
            ("sender@client.test", "client.test", "a", self.a.address),
        )
        self.assertIn("x@a.test", str(line["to"]))
        self.assertIn("127.0.0.1", line["client"])
        self.assertIn("fine", str(line["reply"]))
        refused = [line for line in gateway.log() if "y@a.test" in str(line.get("to"))]
        self.assertEqual(len(refused), 1)
        self.assertIn("5.7.1", str(refused[0]["reply"]))

    def test_refusals_of_one_client_are_summarised(self):
        gateway = self.start()
        for _ in range(25):  # so few each that nobody is slowed down
            s = self.session(gateway)
            s.command("MAIL FROM:<>")
            for _ in range(8):
                s.command("RCPT TO:<x@nowhere.test>")
        time.sleep(2.5)
        lines = [line for line in gateway.log() if "127.0.0.1" in str(line.get("client"))]
        self.assertGreaterEqual(len(lines), 10)
        self.assertLess(len(lines), 60)

    def test_client_text_is_escaped(self):
        gateway = self.start()
        s = self.session(gateway, ehlo='x"}{"event":"forged')
        s.command('EHLO a\x01b\\n"c')
        s.mail("x@a.test", sender='"a b\\"c"@client.test')
        s.command("MAIL FROM:<>")
        s.command('RCPT TO:<"q\\"x"@nowhere.test>')
        time.sleep(0.5)
        # Every line is one JSON object, or the log would not parse.
        self.assertTrue(gateway.log())
        self.assertNotIn('"event":"forged"', gateway.said())
