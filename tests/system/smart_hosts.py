"""Smart hosts in trouble, their connections, and what lesser ones lack, through the real binary."""

import re
import time

from delivery import BODY, PIPELINING_ONLY, Delivery
from harness import ALL_EXTENSIONS, CLOSE, STALL, behind_received, wait_for


class Trouble(Delivery):
    def test_nobody_listens(self):
        host = self.host()
        host.close()
        s = self.session(self.start(host))
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        self.check(s.mail("x@b.test"), 250)

    def test_a_host_that_comes_back(self):
        host = self.host()
        host.close()
        s = self.session(self.start(host))
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        back = self.host(port=host.port)
        wait_for(lambda: s.mail("x@a.test").code == 250, "the host to be trusted again", 15)
        self.assertEqual(len(back.messages), 1)

    def test_the_hosts_own_trouble(self):
        for trouble in (
            {"greeting": "554 5.3.2 no"},
            {"greeting": "421 4.3.2 busy"},
            {"greeting": CLOSE},
            {"ehlo": "554 5.5.1 not for you"},
            {"ehlo": "521 5.3.2 no"},
            {"ehlo": "502 5.5.1 what", "helo": "554 5.3.2 no"},
            {"ehlo": "421 4.3.2 no"},
            {"ehlo": CLOSE},
            {"mail": "530 5.7.0 authenticate"},
            {"mail": "502 5.5.1 no"},
            {"mail": "503 5.5.1 no"},
            {"rcpt": "521 5.3.2 no"},
            {"mail": "538 5.7.11 TLS"},
            {"mail": "555 5.5.4 parameters"},
            {"body": "503 5.5.1 no"},
        ):
            with self.subTest(trouble=trouble):
                s = self.session(self.start(self.host(**trouble)))
                self.check(s.mail("x@a.test"), 451, "4.4.1")
                for key in trouble:
                    setattr(self.a, key, {"greeting": "220 ok", "ehlo": None}.get(key, "250 ok"))
                # Set aside, tried again, trusted again.
                wait_for(lambda: s.mail("x@a.test").code == 250, "the host to be trusted again", 15)
                wait_for(lambda: len(self.a.messages) == 1, "the message at the host")

    def test_a_host_that_knows_no_ehlo(self):
        s = self.session(self.start(self.host(ehlo="502 5.5.1 what")))
        self.check(s.mail("x@a.test", BODY), 250)
        self.assertEqual(self.a.verbs(), ["EHLO", "HELO", "MAIL", "RCPT", "DATA"])
        self.assertEqual(self.a.said("MAIL"), ["MAIL FROM:<sender@client.test>"])

    def test_set_aside_is_not_asked_for_every_message(self):
        s = self.session(self.start(self.host(greeting="554 5.3.2 no")))
        began = time.monotonic()
        while time.monotonic() < began + 5:
            self.check(s.mail("x@a.test"), 451, "4.4.1")
        # 1 s, 2 s, 4 s: asked at 0, 1 and 3 s.
        self.assertLessEqual(self.a.connections, 4)

    def test_answer_lost(self):
        for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, ()):
            with self.subTest(extensions=extensions):
                s = self.session(self.start(self.host(extensions, body=CLOSE)))
                self.check(s.mail("x@a.test", BODY), 451, "4.4.2")
                self.assertEqual(len(self.a.seen), 1)  # never sent a second time
                self.a.body = "250 ok"
                self.check(s.mail("x@a.test", BODY), 250)

    def test_closed_before_the_body(self):
        # Nothing of the body was sent: not unknown. One host: unreachable.
        s = self.session(self.start(self.host((), rcpt=CLOSE)))
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        self.assertEqual(self.a.seen, [])

    def test_idle_connection_gone_stale(self):
        s = self.session(self.start())
        for _ in range(3):
            self.check(s.mail("x@a.test"), 250)
            self.a.drop_connections()
            time.sleep(0.2)
        self.check(s.mail("x@a.test"), 250)
        self.assertEqual(self.a.connections, 4)
        self.assertEqual(len(self.a.messages), 4)

    def test_host_that_says_421_when_idle_and_closes(self):
        s = self.session(self.start())
        self.check(s.mail("x@a.test"), 250)
        for connection in self.a.sockets:
            connection.sendall(b"421 4.4.2 idle too long\r\n")
        self.a.drop_connections()
        time.sleep(0.2)
        self.check(s.mail("x@a.test"), 250)

    def test_host_that_restarts_under_load(self):
        # A restart of the smart host loses nothing: a 250 means it arrived, a 4.4.1 that it did not.
        s = self.session(self.start(self.host(PIPELINING_ONLY)))
        told = []
        for number in range(60):
            if number % 10 == 5:
                self.a.drop_connections()
            told.append((number, str(s.mail(f"x{number}@a.test"))[:9]))
        arrived = {message.recipients[0] for message in self.a.messages}
        for number, answer in told:
            with self.subTest(number=number):
                self.assertIn(answer, ("250 2.0.0", "451 4.4.2", "451 4.4.1"))
                if answer == "250 2.0.0":
                    self.assertIn(f"TO:<x{number}@a.test>", arrived)
                if answer == "451 4.4.1":
                    self.assertNotIn(f"TO:<x{number}@a.test>", arrived)
        self.assertGreaterEqual(sum(answer == "250 2.0.0" for _, answer in told), 50)

    def test_timeouts(self):
        for behaviour, timeout, enhanced in (
            ({"greeting": STALL}, "connect", "4.4.1"),
            ({"ehlo": STALL}, "reply", "4.4.1"),
            ({"body": STALL}, "data_done", "4.4.2"),
            ({"extensions": (), "mail": STALL}, "reply", "4.4.1"),
            ({"extensions": (), "rcpt": STALL}, "reply", "4.4.1"),
            ({"extensions": (), "data": STALL}, "reply", "4.4.1"),
        ):
            with self.subTest(behaviour=behaviour):
                s = self.session(self.start(self.host(**behaviour), timeouts={timeout: "1 s"}))
                began = time.monotonic()
                self.check(s.mail("x@a.test"), 451, enhanced)
                self.assertLess(time.monotonic() - began, 6)

    def test_sync_limit(self):
        s = self.session(self.start(self.host(body=STALL), delivery={"sync_limit": "1 s"}))
        self.check(s.mail("x@a.test"), 451, "4.4.2")

    def test_all_busy(self):
        host = self.host(body=lambda m: STALL if "stall" in m.recipients[0] else "250 ok")
        gateway = self.start(host, pool={"connections": 1, "pipeline": 1}, timeouts={"busy": "1 s"})
        first, second = self.session(gateway), self.session(gateway)
        first.envelope("stall@a.test")
        first.send(b"BDAT 6 LAST\r\nA: b\r\n")
        wait_for(lambda: host.seen, "the first message")
        self.check(second.mail("x@a.test"), 451, "4.4.5")
        self.assertEqual(host.connections, 1)

    def test_slow_hosts_do_not_hold_up_others(self):
        gateway = self.start(self.host(body=(3, "250 2.0.0 at last")))
        slow = [self.session(gateway) for _ in range(10)]
        for s in slow:
            s.envelope("x@a.test")
            s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        began = time.monotonic()
        other = self.session(gateway)
        for _ in range(20):
            self.check(other.mail("x@b.test"), 250)
        self.assertLess(time.monotonic() - began, 2)
        for s in slow:
            self.check(s.read(), 250, "2.0.0", "at last")


class Connections(Delivery):
    def test_none_until_a_message_is_whole(self):
        gateway = self.start()
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send(b"BDAT 100 LAST\r\nSubject: ")
        time.sleep(0.3)
        self.assertEqual((self.a.connections, self.b.connections), (0, 0))
        s.send(b"x" * 89 + b"\r\n")
        self.check(s.read(), 250)
        self.assertEqual((self.a.connections, self.b.connections), (1, 0))

    def test_idle_ones_are_closed_orderly(self):
        s = self.session(self.start(pool={"idle": "1 s"}))
        self.check(s.mail("x@a.test"), 250)
        wait_for(lambda: self.a.verbs()[-1] == "QUIT", "QUIT")
        self.check(s.mail("x@a.test"), 250)
        self.assertEqual(self.a.connections, 2)

    def test_old_ones_are_replaced(self):
        s = self.session(self.start(pool={"max_age": "1 s"}))
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            self.check(s.mail("x@a.test"), 250)
        self.assertGreaterEqual(self.a.connections, 3)
        self.assertLessEqual(self.a.connections, 6)

    def test_a_host_that_has_enough_of_a_connection(self):
        """OpenSMTPD answers the 101st MAIL with 452, Exim the 1,001st with 421: no sender hears of it."""
        for enough in ("452 4.5.3 Too many messages sent", "421 4.7.0 too many messages in this connection"):
            with self.subTest(enough=enough):

                def mail(_):
                    number = host.lines[-1][0]
                    sent = sum(n == number and line.startswith("MAIL") for n, line in host.lines)
                    return "250 2.1.0 ok" if sent <= 3 else enough

                host = self.host(mail=mail)
                s = self.session(self.start(host))
                for _ in range(10):
                    self.check(s.mail("x@a.test"), 250)
                self.assertEqual(len(host.messages), 10)
                self.assertEqual(host.connections, 4)

    def test_a_host_that_takes_nothing_at_all(self):
        host = self.host(mail="452 4.3.1 full")
        s = self.session(self.start(host))
        for _ in range(3):
            self.check(s.mail("x@a.test"), "452 4.3.1 full")
        self.assertEqual(host.messages, [])

    def test_mailmax_of_the_host(self):
        s = self.session(self.start(self.host((*ALL_EXTENSIONS, "LIMITS MAILMAX=3"))))
        for _ in range(7):
            self.check(s.mail("x@a.test"), 250)
        self.assertEqual(self.a.connections, 3)
        self.assertLessEqual(max(self.a.verbs(c).count("MAIL") for c in (1, 2, 3)), 3)

    def test_bounds_on_connections(self):
        host = self.host(body=(0.3, "250 ok"))
        gateway = self.start(host, pool={"connections": 3, "pipeline": 2})
        sessions = [self.session(gateway) for _ in range(24)]
        for s in sessions:
            s.envelope("x@a.test")
            s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        for s in sessions:
            self.check(s.read(), 250)
        self.assertLessEqual(host.connections, 3)
        self.assertEqual(len(host.messages), 24)

    def test_helo_and_source(self):
        s = self.session(self.start(pool={"helo": "other.test", "source": ["127.0.0.77"]}))
        self.check(s.mail("x@a.test"), 250)
        self.assertEqual(self.a.said("EHLO"), ["EHLO other.test"])

    def test_ehlo_ignore(self):
        s = self.session(self.start(pool={"ehlo_ignore": ["CHUNKING"]}))
        self.check(s.mail("x@a.test"), 250)
        self.assertEqual(self.a.messages[0].by, "DATA")


class LesserHosts(Delivery):
    def test_size(self):
        s = self.session(self.start(self.host(("SIZE 1000", "PIPELINING"))))
        self.check(s.mail("x@a.test", b"A: b\r\n\r\n" + b"x" * 70 * 20 + b"\r\n"), 552, "5.3.4")
        self.assertEqual(self.a.said("DATA"), [])
        self.check(s.mail("x@a.test"), 250)

    def test_size_is_told(self):
        s = self.session(self.start())
        self.check(s.mail("x@a.test", BODY), 250)
        size = re.search(r"SIZE=(\d+)", self.a.messages[0].sender)
        self.assertEqual(int(size[1]), len(self.a.messages[0].content))

    def test_eight_bit(self):
        body = "Subject: x\r\n\r\n\u00e4\r\n".encode()
        s = self.session(self.start(self.host(("PIPELINING",))))
        s.envelope("x@a.test", parameters=" BODY=8BITMIME")
        self.check(s.data(body), 554, "5.6.3")
        self.assertEqual(self.a.messages, [])
        s = self.session(self.start(self.host(("PIPELINING",)), pool={"send_8bit": True}))
        s.envelope("x@a.test", parameters=" BODY=8BITMIME")
        self.check(s.data(body), 250)
        self.assertEqual(behind_received(self.a.messages[0].content), body)
        s = self.session(self.start())
        s.envelope("x@a.test", parameters=" BODY=8BITMIME")
        self.check(s.data(body), 250)
        self.assertIn("BODY=8BITMIME", self.a.messages[0].sender)

    def test_smtputf8(self):
        lesser = ("PIPELINING", "8BITMIME", "CHUNKING")
        gateway = self.start(self.host(lesser), rules="a.test a\nb\u00fccher.test a\n")
        s = self.session(gateway)
        # Not learned yet what the host can: the answer comes with the body; 553 5.6.7 at RCPT is right once it is known.
        replies = s.envelope("\u00fc@a.test", parameters=" SMTPUTF8")
        final = replies[-1] if replies[-1].code != 250 else s.data(BODY)
        self.assertIn(str(final)[:9], ("553 5.6.7", "554 5.6.9"))
        self.assertEqual(self.a.messages, [])
        s.command("RSET")
        # A non-ASCII header.
        replies = s.envelope("x@a.test", parameters=" SMTPUTF8 BODY=8BITMIME")
        self.check(replies[-1], 250)
        self.check(s.data("Subject: \u00fc\r\n\r\n".encode()), 554, "5.6.9")
        # Asked for and not needed: it goes.
        s.envelope("x@a.test", parameters=" SMTPUTF8")
        self.check(s.data(BODY), 250)
        self.assertNotIn("SMTPUTF8", self.a.messages[-1].sender)
        # Only the domain is not ASCII: it goes as A-label.
        s.envelope("x@b\u00fccher.test", parameters=" SMTPUTF8")
        self.check(s.data(BODY), 250)
        self.assertEqual(self.a.messages[-1].recipients, ["TO:<x@xn--bcher-kva.test>"])

    def test_smtputf8_to_a_host_that_has_it(self):
        s = self.session(self.start())
        s.envelope("\u00fc@a.test", parameters=" SMTPUTF8 BODY=8BITMIME")
        self.check(s.data("Subject: \u00fc\r\n\r\n".encode()), 250)
        self.assertIn("SMTPUTF8", self.a.messages[0].sender)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<\u00fc@a.test>"])

    def test_more_recipients_than_it_takes(self):
        s = self.session(self.start(pool={"recipients_max": 3}))
        replies = s.envelope([f"x{n}@a.test" for n in range(5)])
        self.assertEqual([r.code for r in replies], [250] * 4 + [452] * 2)
        self.check(replies[-1], 452, "4.5.3")
        self.check(s.data(BODY), 250)
        self.assertEqual(len(self.a.messages[0].recipients), 3)

    def test_domains_that_the_host_takes(self):
        s = self.session(self.start(self.host((*ALL_EXTENSIONS, "LIMITS RCPTDOMAINMAX=2"))))
        self.check(s.mail("x@a.test"), 250)
        replies = s.envelope(["x@p.a.test", "x@q.a.test", "x@r.a.test", "y@q.a.test"])
        self.assertEqual([r.code for r in replies], [250, 250, 250, 452, 250])
        self.check(replies[3], 452, "4.5.3")
        self.check(s.data(BODY), 250)
        self.assertEqual(len(self.a.messages[1].recipients), 3)

    def test_what_the_host_takes_is_not_known_yet(self):
        s = self.session(self.start(self.host((*ALL_EXTENSIONS, "LIMITS RCPTMAX=2"))))
        recipients = [f"x{n}@a.test" for n in range(3)]
        self.check(s.mail(recipients, BODY), 452, "4.5.3")
        self.assertEqual([r.code for r in s.envelope(recipients)], [250, 250, 250, 452])

    def test_rcptmax_of_the_host(self):
        s = self.session(self.start(self.host((*ALL_EXTENSIONS, "LIMITS RCPTMAX=2"))))
        self.check(s.mail("x@a.test"), 250)
        replies = s.envelope([f"x{n}@a.test" for n in range(3)])
        self.assertEqual([r.code for r in replies], [250, 250, 250, 452])
