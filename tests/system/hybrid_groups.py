"""`hybrid` delivery of a message that goes in several transactions, for several pools or more recipients than a host takes: no body goes
before the answers to all RCPTs are known, and what all of them come to is the sender's answer, or the spool's."""

import json
import signal
import threading
import time

from delivery import BODY
from harness import ALL_EXTENSIONS, CLOSE, LOOPBACK, STALL, behind_received, wait_for
from keeping import LATE, TIMES, Keeping

RULES = "a.test a\nb.test b\nclient.test c\n"  # whoever sent it is told at c
BOTH = ["x@a.test", "y@b.test"]


class Groups(Keeping):
    """One gateway before `a`, `b` and `c`."""

    def start(self, a=None, b=None, pools=None, trusted=False, **settings):
        """`a` and `b` may be ports at which nobody listens yet. `pools`: more keys for a."""
        self.a, self.b, self.c = a or self.host(), b or self.host(), self.host()
        at = [f"{LOOPBACK}:{host}" if isinstance(host, int) else host.address for host in (self.a, self.b)]
        return self.gateway(
            RULES,
            {"a": {"hosts": at[0], **(pools or {})}, "b": at[1], "c": self.c.address},
            delivery={"mode": "hybrid", "hybrid_deadline": "5 s", **settings.pop("delivery", {})},
            retry={"first": "1 s", "max": "2 s"},
            timeouts={**TIMES, **settings.pop("timeouts", {})},
            relay={"networks": ["127.0.0.0/8"]} if trusted else {},
            **settings,
        )

    def check_untouched(self, gateway):
        """Nothing is kept, and nothing was."""
        self.assertEqual((self.kept(gateway), self.writes(gateway)), (0, 0))

    def check_has(self, host, *recipients):
        """It was given the message once, for these, and whole."""
        self.assertEqual([each.recipients for each in host.seen], [[f"TO:<{each}>" for each in recipients]])
        self.assertEqual(behind_received(host.seen[0].content), BODY)

    def check_told(self, gateway, *recipients, status):
        """The sender gets one notification, of these."""
        wait_for(lambda: self.c.messages, "a notification")
        self.wait_empty(gateway)
        self.assertEqual(len(self.c.messages), 1)
        reports = self.notification(self.c.messages[0])[2]
        self.assertEqual(
            [(each["Final-Recipient"], each["Action"], each["Status"]) for each in reports],
            [(f"rfc822; {each}", "failed", status) for each in recipients],
        )

    def check_nobody_told(self, gateway):
        self.wait_empty(gateway)
        self.assertEqual(self.c.seen, [])


def once(answer, then="250 2.0.0 ok"):
    """The answer to the first, and to all others."""
    answers = iter([answer])
    return lambda _: next(answers, then)


class Asked(Groups):
    """What the answers to the RCPTs come to."""

    def test_all_accepted(self):
        for trusted in (False, True):
            for extensions in (ALL_EXTENSIONS, (), ("PIPELINING", "8BITMIME")):
                with self.subTest(trusted=trusted, extensions=extensions):
                    gateway = self.start(self.host(extensions), self.host(extensions, body="250 2.0.0 mine"), trusted=trusted)
                    s = self.session(gateway)
                    self.check(s.mail(["x@a.test", "y@b.test", "z@a.test"], BODY), 250, "2.0.0", "taken")
                    self.check_has(self.a, "x@a.test", "z@a.test")
                    self.check_has(self.b, "y@b.test")
                    self.check(s.mail("x@a.test", BODY), 250)  # the connections go on
                    self.assertEqual((self.a.connections, self.b.connections), (1, 1))
                    self.check_untouched(gateway)
                    self.assertEqual({line["host"] for line in self.logged(gateway, "delivered", 3)}, {self.a.address, self.b.address})

    def test_no_body_goes_before_all_have_answered(self):
        answered = []

        def late(_):
            time.sleep(0.5)
            answered.append(time.monotonic())
            return "250 2.1.5 ok"

        begun = []
        gateway = self.start(self.host(body=lambda _: begun.append(time.monotonic()) or "250 2.0.0 taken"), self.host(rcpt=late))
        self.check(self.session(gateway).mail(BOTH, BODY), 250)
        self.assertGreater(begun[0], answered[0])
        self.assertEqual(self.a.verbs()[-1], "BDAT")
        self.check_untouched(gateway)

    def test_a_5xx_in_one_group_for_others(self):
        for step in ("rcpt", "mail"):
            with self.subTest(step=step):
                gateway = self.start(b=self.host(**{step: "550 5.1.1 unknown"}))
                s = self.session(gateway)
                self.check(s.mail([*BOTH, "z@a.test"], BODY), 451, "4.3.0", "recipients were answered differently, try again")
                self.assertEqual((self.a.seen, self.b.seen), ([], []))
                replies = s.envelope([*BOTH, "z@a.test"])
                self.assertEqual([r.code for r in replies], [250, 250, 550, 250])
                self.assertEqual(str(replies[2]), "550 5.1.1 unknown")
                self.check(s.data(BODY), 250, "2.0.0", "taken")
                self.check_has(self.a, "x@a.test", "z@a.test")
                wait_for(lambda: "RSET" in self.a.verbs(), "RSET at a")
                self.check_untouched(gateway)
                self.assertEqual(self.c.seen, [])

    def test_a_5xx_before_the_deadline_for_others(self):
        """No notification goes to who may be forged: nobody gets it."""
        slow = self.host(rcpt=lambda _: (time.sleep(LATE), "250 ok")[1])
        gateway = self.start(slow, self.host(rcpt="550 5.1.1 unknown"), delivery={"hybrid_deadline": "2 s"})
        s = self.session(gateway)
        self.check(s.mail(BOTH, BODY), 451, "4.3.0")
        self.assertEqual([r.code for r in s.envelope(BOTH)], [250, 250, 550])
        self.check_queued(s.data(BODY))
        self.arrived(slow)
        self.check_has(slow, "x@a.test")
        self.check_nobody_told(gateway)

    def test_a_5xx_in_one_group_and_a_host_that_is_down_for_others(self):
        port = self.nowhere()
        gateway = self.start(port, self.host(rcpt="550 5.1.1 unknown"))
        s = self.session(gateway)
        self.check(s.mail(BOTH, BODY), 451, "4.3.0")
        self.assertEqual([r.code for r in s.envelope(BOTH)], [250, 250, 550])
        self.check_queued(s.data(BODY))
        host = self.host(port=port)
        self.arrived(host)
        self.check_has(host, "x@a.test")
        self.check_nobody_told(gateway)

    def test_each_refusal_is_kept_for_its_own(self):
        gateway = self.start(self.host(rcpt=lambda p: "452 4.2.2 full" if "full" in p else "250 ok"), self.host(rcpt="550 5.1.1 unknown"))
        s = self.session(gateway)
        named = ["x@a.test", "full@a.test", "y@b.test"]
        self.check(s.mail(named, BODY), 451, "4.3.0")
        self.assertEqual([str(r)[:9] for r in s.envelope(named)[1:]], ["250 2.1.5", "452 4.2.2", "550 5.1.1"])
        self.check(s.data(BODY), 250)
        self.check_has(self.a, "x@a.test")
        self.check_untouched(gateway)

    def test_a_5xx_in_one_group_for_trusted_clients(self):
        gateway = self.start(b=self.host(rcpt="550 5.1.1 unknown"), trusted=True)
        self.check_queued(self.session(gateway).mail(BOTH, BODY))
        self.check_has(self.a, "x@a.test")
        self.check_told(gateway, "y@b.test", status="5.1.1")
        (report,) = self.notification(self.c.messages[0])[2]
        self.assertEqual(report["Remote-MTA"], f"dns; [{LOOPBACK}]")
        self.assertEqual([line["host"] for line in self.logged(gateway, "delivered")][:1], [self.a.address])
        self.assertEqual(len(self.a.seen), 1)

    def test_a_4xx_in_one_group(self):
        for trusted in (False, True):
            for step in ("rcpt", "mail"):
                with self.subTest(trusted=trusted, step=step):
                    gateway = self.start(b=self.host(**{step: once("450 4.2.1 busy")}), trusted=trusted)
                    self.check_queued(self.session(gateway).mail(BOTH, BODY))
                    self.check_has(self.a, "x@a.test")
                    self.arrived(self.b)
                    self.check_nobody_told(gateway)
                    self.check_has(self.b, "y@b.test")
                    self.assertEqual(len(self.a.seen), 1)

    def test_none_accepted(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(
                    self.host(rcpt=lambda p: "551 5.1.6 moved" if "over" in p else "550 5.1.1 unknown"),
                    self.host(rcpt=lambda p: "452 4.2.2 full" if "full" in p else "554 5.7.1 no"),
                    trusted=trusted,
                )
                s = self.session(gateway)
                self.check(s.mail(BOTH, BODY), 550, "5.1.1", "unknown")
                self.check(s.mail(["y@b.test", "over@a.test"], BODY), 554, "5.7.1", "no")
                self.check(s.mail(["x@a.test", "full@b.test"], BODY), 452, "4.2.2", "full")
                self.assertEqual((self.a.seen, self.b.seen), ([], []))
                self.check_untouched(gateway)

    def test_none_accepted_and_deferred_to_the_spool(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(
                    self.host(rcpt=once("450 4.2.1 a")), self.host(rcpt=once("451 4.2.1 b")), trusted=trusted, delivery={"defer": "spool"})
                self.check_queued(self.session(gateway).mail(BOTH, BODY))
                self.arrived(self.a), self.arrived(self.b)
                self.check_nobody_told(gateway)

    def test_a_group_whose_host_is_away(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                port = self.nowhere()
                gateway = self.start(b=port, trusted=trusted)
                self.check_queued(self.session(gateway).mail(BOTH, BODY))
                self.check_has(self.a, "x@a.test")
                self.b = self.host(port=port)
                self.arrived(self.b)
                self.check_nobody_told(gateway)
                self.check_has(self.b, "y@b.test")
                self.assertEqual(len(self.a.seen), 1)

    def test_both_are_away(self):
        at = self.nowhere(), self.nowhere()
        gateway = self.start(*at)
        self.check_queued(self.session(gateway).mail(BOTH, BODY))
        self.a, self.b = (self.host(port=port) for port in at)
        self.arrived(self.a), self.arrived(self.b)
        self.check_nobody_told(gateway)

    def test_a_host_that_is_too_slow(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(b=self.host(rcpt=(LATE, "250 2.1.5 ok")), delivery={"hybrid_deadline": "300 ms"}, trusted=trusted)
                self.check_queued(self.session(gateway).mail(BOTH, BODY))
                self.assertEqual(self.b.messages, [])
                self.arrived(self.a), self.arrived(self.b)
                self.check_nobody_told(gateway)
                time.sleep(2)
                self.check_has(self.a, "x@a.test")
                self.check_has(self.b, "y@b.test")

    def test_a_host_that_says_no_too_late(self):
        gateway = self.start(b=self.host(rcpt=(1.5, "550 5.1.1 unknown")), delivery={"hybrid_deadline": "300 ms"})
        self.check_queued(self.session(gateway).mail(BOTH, BODY))
        self.check_told(gateway, "y@b.test", status="5.1.1")
        self.check_has(self.a, "x@a.test")


class Given(Groups):
    """What the answers to the bodies come to."""

    def test_a_5xx_to_one_of_them(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(b=self.host(body="554 5.7.1 spam"), trusted=trusted)
                self.check_queued(self.session(gateway).mail(BOTH, BODY))
                self.check_told(gateway, "y@b.test", status="5.7.1")
                self.check_has(self.a, "x@a.test")
                self.check_has(self.b, "y@b.test")

    def test_a_4xx_to_one_of_them(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(b=self.host(body=once("451 4.7.1 later", "250 2.0.0 taken")), trusted=trusted)
                self.check_queued(self.session(gateway).mail(BOTH, BODY))
                self.arrived(self.b)
                self.check_nobody_told(gateway)
                self.check_has(self.a, "x@a.test")
                self.assertEqual(len(self.b.seen), 2)

    def test_no_answer_from_one_of_them(self):
        gateway = self.start(b=self.host(body=once(CLOSE, "250 2.0.0 taken")))
        self.check_queued(self.session(gateway).mail(BOTH, BODY))
        self.arrived(self.b)
        self.check_nobody_told(gateway)
        self.check_has(self.a, "x@a.test")

    def test_all_refuse(self):
        for answers, told in ((("554 5.7.1 a", "550 5.7.1 b"), (554, "5.7.1", "a")), (("554 5.7.1 a", "451 4.7.1 b"), (451, "4.7.1", "b"))):
            with self.subTest(answers=answers):
                gateway = self.start(*(self.host(body=answer) for answer in answers))
                self.check(self.session(gateway).mail(BOTH, BODY), *told)
                self.check_untouched(gateway)
                self.assertEqual(self.c.seen, [])

    def test_the_deadline_passes_when_bodies_are_under_way(self):
        gateway = self.start(b=self.host(body=(LATE, "250 2.0.0 taken")), delivery={"hybrid_deadline": "300 ms"})
        self.check_queued(self.session(gateway).mail(BOTH, BODY))
        self.arrived(self.b)
        self.check_nobody_told(gateway)
        time.sleep(2)
        self.check_has(self.a, "x@a.test")
        self.check_has(self.b, "y@b.test")


class Held(Groups):
    """While one group waits for another."""

    def mail_in_background(self, gateway, recipients=BOTH):
        """The session, and where its answer will be."""
        s = self.session(gateway)
        s.envelope(recipients)
        s.command("DATA")
        replies = []
        thread = threading.Thread(target=lambda: replies.append(s.read()))
        s.send(BODY.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        thread.start()
        self.addCleanup(thread.join)
        wait_for(lambda: "RCPT" in self.a.verbs() and "RCPT" in self.b.verbs(), "both to be asked")
        time.sleep(0.2)
        return s, thread, replies

    def test_the_connection_breaks(self):
        gateway = self.start(b=self.host(rcpt=(1.0, "250 2.1.5 ok")))
        _, thread, replies = self.mail_in_background(gateway)
        self.a.drop_connections()
        thread.join()
        self.check(replies[0], 250, "2.0.0", "taken")
        self.check_has(self.a, "x@a.test")
        self.check_has(self.b, "y@b.test")
        self.assertEqual(self.a.connections, 2)
        self.check_untouched(gateway)

    def test_the_host_is_lost(self):
        gateway = self.start(b=self.host(rcpt=(1.0, "250 2.1.5 ok")))
        _, thread, replies = self.mail_in_background(gateway)
        self.a.close()
        thread.join()
        self.check_queued(replies[0])
        self.check_has(self.b, "y@b.test")
        self.assertEqual(self.kept(gateway), 1)

    def test_the_sender_leaves(self):
        gateway = self.start(b=self.host(rcpt=(1.0, "250 2.1.5 ok")))
        s = self.session(gateway)
        s.envelope(BOTH)
        s.command("DATA")
        s.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        wait_for(lambda: "RCPT" in self.b.verbs(), "b to be asked")
        s.reset()
        wait_for(lambda: "RSET" in self.a.verbs() and "RSET" in self.b.verbs(), "the transactions to end")
        self.assertEqual((self.a.seen, self.b.seen), ([], []))
        self.check_untouched(gateway)

    def test_other_mail_goes_meanwhile(self):
        gateway = self.start(b=self.host(rcpt=(1.5, "250 2.1.5 ok")))
        _, thread, replies = self.mail_in_background(gateway)
        self.check(self.session(gateway).mail("z@a.test", BODY), 250, "2.0.0", "taken")
        self.assertEqual(replies, [])
        thread.join()
        self.check(replies[0], 250, "2.0.0", "taken")
        self.assertEqual(self.a.connections, 2)

    def test_it_is_not_the_hosts_turn_while_it_is_held(self):
        """It is held for longer than an answer may take."""
        slow = self.host(mail=(0.8, "250 2.1.0 ok"), rcpt=(0.8, "250 2.1.5 ok"))
        gateway = self.start(b=slow, timeouts={"reply": "1500 ms"}, delivery={"hybrid_deadline": "30 s"})
        self.check(self.session(gateway).mail([*BOTH, "y2@b.test", "y3@b.test"], BODY), 250, "2.0.0", "taken")
        self.assertEqual((self.a.connections, self.b.connections), (1, 1))

    def test_shutting_down(self):
        gateway = self.start(b=self.host(rcpt=STALL), timeouts={"shutdown_grace": "1 s"}, delivery={"hybrid_deadline": "30 s"})
        _, thread, replies = self.mail_in_background(gateway)
        gateway.signal(signal.SIGTERM)
        thread.join()
        self.check_queued(replies[0])
        self.assertEqual(gateway.child.wait(20), 0)
        self.assertEqual((self.a.seen, self.b.seen), ([], []))
        self.b.rcpt = "250 2.1.5 ok"
        self.kill_and_start(gateway)
        self.arrived(self.a), self.arrived(self.b)
        self.check_nobody_told(gateway)

    def test_two_that_wait_for_each_others_connections(self):
        """With one connection to each host somebody waits, and nobody for ever."""
        gateway = self.start(self.host(rcpt=(0.3, "250 ok")), self.host(rcpt=(0.3, "250 ok")), pools={"connections": 1})
        replies = []

        def send(recipients):
            replies.append(self.session(gateway).mail(recipients, BODY))

        threads = [threading.Thread(target=send, args=(each,)) for each in (BOTH, BOTH[::-1]) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([reply.code for reply in replies], [250] * 6)
        self.arrived(self.a, 6), self.arrived(self.b, 6)
        self.check_nobody_told(gateway)
        self.assertEqual((len(self.a.seen), len(self.b.seen)), (6, 6))


    def test_a_host_that_is_silent_takes_no_other_hosts_connections(self):
        """What waits for it stands in line before the others' connections are gone, and is kept in the end."""
        gateway = self.start(b=self.host(rcpt=STALL), pools={"connections": 8}, delivery={"hybrid_deadline": "6 s"})
        waiting = [self.mail_in_background(gateway) for _ in range(12)]
        began = time.monotonic()
        self.check(self.session(gateway).mail("z@a.test", BODY), 250, "2.0.0", "taken")
        self.assertLess(time.monotonic() - began, 2)
        self.assertLessEqual(self.a.connections, 5)
        turns = [self.turns(gateway), time.sleep(0.5), self.turns(gateway)]
        self.assertLess(turns[2] - turns[0], 500, "who stands in line is not looked at without end")
        for _, thread, replies in waiting:
            thread.join()
            self.check_queued(replies[0])
        self.b.rcpt = "250 2.1.5 ok"
        self.b.drop_connections()
        self.arrived(self.a, 13), self.arrived(self.b, 12)
        self.check_nobody_told(gateway)

    def turns(self, gateway):
        return sum(each["turns"] for each in json.loads(gateway.ask("/health").text)["workers"])

    def test_who_has_gone_when_the_time_is_over(self):
        gateway = self.start(b=self.host(rcpt=(3, "250 ok")), delivery={"hybrid_deadline": "1500 ms"})
        s = self.session(gateway)
        s.envelope(BOTH)
        s.command("DATA")
        s.send(b"Subject: gone\r\n\r\n.\r\n")
        time.sleep(0.5)
        s.close()
        self.check_stays(self.a, 0, 4)
        self.assertEqual((self.kept(gateway), self.b.seen), (0, []))


class Split(Groups):
    """More recipients than the host takes at once."""

    NAMED = [f"x{number}@a.test" for number in range(5)]

    def taken(self, host):
        return sorted(each for message in host.seen for each in message.recipients)

    def test_all_accepted(self):
        gateway = self.start(pools={"recipients_max": 2})
        self.check(self.session(gateway).mail(self.NAMED, BODY), 250, "2.0.0", "taken")
        self.assertEqual(sorted(len(each.recipients) for each in self.a.seen), [1, 2, 2])
        self.assertEqual(self.taken(self.a), [f"TO:<{each}>" for each in self.NAMED])
        self.check_untouched(gateway)

    def test_what_the_host_says_it_takes(self):
        gateway = self.start(self.host((*ALL_EXTENSIONS, "LIMITS RCPTMAX=2")))
        s = self.session(gateway)
        self.check(s.mail("x@a.test", BODY), 250)
        self.check(s.mail(self.NAMED, BODY), 250, "2.0.0", "taken")
        self.assertEqual(len(self.taken(self.a)), 6)

    def test_what_the_host_takes_is_not_known_yet(self):
        """It is by the first message: that is the gateway's promise, and split."""
        for limit in ("RCPTMAX=2", "RCPTDOMAINMAX=1"):
            with self.subTest(limit=limit):
                gateway = self.start(self.host((*ALL_EXTENSIONS, "LIMITS " + limit)))
                s = self.session(gateway)
                recipients = ["x@p.a.test", "y@p.a.test", "z@q.a.test"]
                self.check_queued(s.mail(recipients, BODY))
                wait_for(lambda: self.taken(self.a) == [f"TO:<{each}>" for each in recipients], "all of them")
                self.wait_empty(gateway)
                self.assertEqual(len(self.a.seen), 2)
                self.check(s.mail(recipients, BODY), 250, "2.0.0", "taken")
                self.assertEqual(sorted(len(each.recipients) for each in self.a.seen), [1, 1, 2, 2])
                self.assertEqual(self.c.seen, [])

    def test_a_5xx(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                host = self.host(rcpt=lambda p: "550 5.1.1 unknown" if "x3@" in p else "250 ok")
                gateway = self.start(host, pools={"recipients_max": 2}, trusted=trusted)
                s = self.session(gateway)
                reply = s.mail(self.NAMED, BODY)
                if trusted:
                    self.check_queued(reply)
                    self.check_told(gateway, "x3@a.test", status="5.1.1")
                else:
                    self.check(reply, 451, "4.3.0")
                    self.assertEqual(self.a.seen, [])
                    self.assertEqual([r.code for r in s.envelope(self.NAMED)], [250] * 4 + [550, 250])
                    self.check(s.data(BODY), 250, "2.0.0", "taken")
                    self.check_untouched(gateway)
                self.assertEqual(self.taken(self.a), [f"TO:<{each}>" for each in self.NAMED if each != "x3@a.test"])

    def test_not_more_than_there_are_connections_for(self):
        gateway = self.start(pools={"recipients_max": 2, "connections": 1})
        s = self.session(gateway)
        replies = s.envelope(self.NAMED)
        self.assertEqual([str(r)[:9] for r in replies[1:]], ["250 2.1.5"] * 2 + ["452 4.5.3"] * 3)
        self.check(s.data(BODY), 250, "2.0.0", "taken")
        self.check_untouched(gateway)

    def test_for_trusted_clients_it_is_queued_then(self):
        gateway = self.start(pools={"recipients_max": 2, "connections": 1}, trusted=True)
        self.check_queued(self.session(gateway).mail(self.NAMED, BODY))
        self.check_nobody_told(gateway)
        self.assertEqual(self.taken(self.a), [f"TO:<{each}>" for each in self.NAMED])
