"""`hybrid` delivery: the sender's answer is the smart host's own while that comes in time; else the message is on stable storage
before the sender is told 250, and arrives later, once."""

import time

from delivery import BODY
from harness import ALL_EXTENSIONS, CLOSE, STALL, behind_received, wait_for
from keeping import LATE, Keeping


class Healthy(Keeping):
    """The smart host has the say, and the disk is not touched."""

    def test_the_answer_is_the_hosts_own(self):
        answers = iter(["250 2.6.0 as you wish", "550 5.7.1 not this", "450 4.2.0 not now", "421 4.3.2 closing"])
        gateway = self.start(self.host(body=lambda _: next(answers)))
        s = self.session(gateway)
        self.check(s.mail("x@a.test", BODY), 250, "2.6.0", "as you wish")
        self.check(s.mail("x@a.test", BODY), 550, "5.7.1", "not this")
        self.check(s.mail("x@a.test", BODY), 450, "4.2.0", "not now")
        self.check(s.mail("x@a.test", BODY), 451, "4.3.2", "closing")
        self.assertEqual((self.kept(gateway), self.writes(gateway)), (0, 0))

    def test_the_answers_to_rcpt_too(self):
        gateway = self.start(self.host(rcpt=lambda p: "550 5.1.1 unknown" if "bad" in p else "452 4.2.2 full" if "full" in p else "250 ok"))
        s = self.session(gateway)
        self.check(s.mail("bad@a.test"), 550, "5.1.1", "unknown")
        self.check(s.mail("full@a.test"), 452, "4.2.2", "full")
        self.check(s.mail(["bad@a.test", "bad2@a.test"]), 550, "5.1.1", "unknown")
        self.assertEqual((self.kept(gateway), self.writes(gateway), self.a.seen), (0, 0, []))

    def test_much_mail_without_a_write(self):
        gateway = self.start()
        s = self.session(gateway)
        for number in range(200):
            self.check(s.mail(f"x{number}@a.test", BODY), 250, "2.0.0", "taken")
        self.assertEqual(len(self.a.messages), 200)
        self.assertEqual(self.writes(gateway), 0)

    def test_it_is_the_default(self):
        gateway = self.start(self.nowhere())
        text = gateway.config.read_text()
        self.assertIn('mode = "hybrid"\n', text)
        gateway.config.write_text(text.replace('mode = "hybrid"\n', ""))
        self.assertEqual(gateway.reload().returncode, 0)
        self.check_queued(self.session(gateway).mail("x@a.test"))


class Kept(Keeping):
    """No answer in time."""

    def test_a_host_that_is_down(self):
        port = self.nowhere()
        gateway = self.start(port)
        id = self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.assertEqual(self.kept(gateway), 1)
        self.assertGreater(self.writes(gateway), 0)
        (line,) = self.logged(gateway, "queued")
        self.assertEqual((line["id"], line["from"]), (id, "sender@client.test"))
        host = self.host(port=port)
        (message,) = self.arrived(host)
        self.assertEqual(behind_received(message.content), BODY)
        self.assertIn(f" id {id} ".encode(), message.content)
        self.assertTrue(message.sender.startswith("FROM:<sender@client.test>"), message.sender)
        self.assertEqual(message.recipients, ["TO:<x@a.test>"])
        self.wait_empty(gateway)
        self.check_stays(host, 1)

    def test_the_first_message_waits_for_what_connecting_comes_to(self):
        """Hosts that greet with a refusal, or not at all, are as good as none."""
        for greeting in ("554 5.3.2 no", CLOSE, STALL):
            with self.subTest(greeting=greeting):
                host = self.host(greeting=greeting)
                gateway = self.start(host)
                began = time.monotonic()
                self.check_queued(self.session(gateway).mail("x@a.test"))
                self.assertLess(time.monotonic() - began, 6)
                host.greeting = "220 fake.test ESMTP"
                host.drop_connections()
                self.arrived(host, seconds=40)
                self.wait_empty(gateway)

    def test_a_late_answer_settles_the_spooled_copy(self):
        gateway = self.start(self.host(body=(LATE, "250 2.0.0 late")), delivery={"hybrid_deadline": "300 ms"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.assertEqual(self.a.messages, [])
        self.arrived(self.a)
        self.wait_empty(gateway)
        self.check_stays(self.a, 1)

    def test_a_host_has_the_time_that_it_needs_once_it_is_stored(self):
        gateway = self.start(self.host(body=(LATE, "250 2.0.0 late")), delivery={"hybrid_deadline": "300 ms", "sync_limit": "2 s"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.arrived(self.a)
        self.wait_empty(gateway)
        self.check_stays(self.a, 1)

    def test_the_deadline_holds_beside_mail_that_waits_for_long(self):
        gateway = self.start(
            self.host(body="450 4.2.1 later"), delivery={"hybrid_deadline": "300 ms", "defer": "spool"},
            retry={"first": "1 min", "max": "1 h"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        time.sleep(0.3)  # it is in the schedule now, far away
        self.a.body = (LATE, "250 2.0.0 late")
        self.check_queued(self.session(gateway).mail("y@a.test", BODY))
        self.assertEqual(self.a.messages, [])

    def test_what_waits_for_a_host_that_says_nothing_is_not_in_memory(self):
        """Once it is stored: or new mail would be refused as soon as a host takes connections and does not greet."""
        limits = {"body_memory": "32 MiB", "message_size": "1 MiB"}
        timeouts = {"connect": "60 s", "busy": "60 s"}
        gateway = self.start(self.host(greeting=STALL), timeouts=timeouts, limits=limits, delivery={"hybrid_deadline": "100 ms"})
        s = self.session(gateway)
        for number in range(40):
            self.check_queued(s.mail(f"x{number}@a.test", BODY + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 2000))
        self.assertEqual(self.kept(gateway), 40)
        self.check(s.mail("x@b.test", BODY), 250, "2.0.0", "taken")

    def test_a_late_refusal_is_told_by_a_notification(self):
        gateway = self.start(self.host(body=(LATE, "554 5.7.1 spam")), delivery={"hybrid_deadline": "300 ms"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (delivered,) = self.arrived(self.b)
        _, _, (report,), _ = self.notification(delivered)
        self.assertEqual((report["Action"], report["Status"]), ("failed", "5.7.1"))
        self.wait_empty(gateway)
        self.check_stays(self.a, 1)

    def test_a_late_4xx_is_tried_again(self):
        answers = iter([(1.0, "450 4.2.0 not now")])
        gateway = self.start(self.host(body=lambda _: next(answers, "250 2.0.0 taken")), delivery={"hybrid_deadline": "300 ms"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (message,) = self.arrived(self.a)
        self.assertEqual(behind_received(message.content), BODY)
        self.wait_empty(gateway)
        self.check_stays(self.a, 2)

    def test_an_answer_that_never_came_is_unknown_and_tried_again(self):
        answers = iter([CLOSE])
        gateway = self.start(self.host(body=lambda _: next(answers, "250 2.0.0 taken")))
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.arrived(self.a)
        self.wait_empty(gateway)
        self.check_stays(self.a, 2)  # twice is possible, never is not

    def test_the_deadline_counts_from_the_last_byte(self):
        gateway = self.start(self.host(body=(0.5, "250 2.0.0 taken")), delivery={"hybrid_deadline": "1 s"})
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.command("DATA")
        s.send(BODY)
        time.sleep(1.5)
        s.send(b".\r\n")
        self.check(s.read(), 250, "2.0.0", "taken")

    def test_what_could_not_be_stored_first_and_then_was(self):
        """The deadline comes while the disk takes no writes, so the host goes on; then it fails, and now the disk takes it."""
        answers = iter([(1, "250 2.0.0 late"), (10, CLOSE)])
        gateway = self.start(self.host(body=lambda _: next(answers, "250 2.0.0 taken")), delivery={"hybrid_deadline": "300 ms"})
        s = self.session(gateway)
        self.check_queued(s.mail("w@a.test", BODY))  # a segment is there
        self.wait_empty(gateway)
        self.writes_fail(gateway)
        s.envelope("x@a.test")
        s.command("DATA")
        s.send(b"Subject: kept\r\n\r\n.\r\n")
        wait_for(lambda: self.failures(gateway) >= 1, "a write that fails")
        time.sleep(6)  # nor can another segment be had
        self.writes_fail(gateway, False)
        self.logged(gateway, "not stored")
        id = self.check_queued(s.read())
        port = int(self.a.address.rsplit(":", 1)[1])
        self.a.close()  # so that nothing but the spool has it
        self.kill_and_start(gateway)
        (message,) = self.arrived(self.host(port=port))
        self.assertEqual(behind_received(message.content), b"Subject: kept\r\n\r\n")
        self.wait_empty(gateway)
        self.assertEqual(self.logged(gateway, "delivered", 2)[-1]["id"], id)

    def test_the_sender_may_be_gone_once_it_is_told(self):
        port = self.nowhere()
        gateway = self.start(port)
        s = self.session(gateway)
        self.check_queued(s.mail("x@a.test", BODY))
        s.reset()
        self.arrived(self.host(port=port))
        self.wait_empty(gateway)

    def test_a_large_body(self):
        port = self.nowhere()
        gateway = self.start(port)
        body = b"Subject: x\r\n\r\n" + b"".join(b"%d %s\r\n" % (i, b"x" * (i % 900)) for i in range(20000))
        self.check_queued(self.session(gateway).mail("x@a.test", body))
        (message,) = self.arrived(self.host(port=port))
        self.assertEqual(behind_received(message.content), body)
        self.wait_empty(gateway)

    def test_a_host_that_offers_less_gets_it_by_data(self):
        port = self.nowhere()
        gateway = self.start(port)
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (message,) = self.arrived(self.host((), port=port))
        self.assertEqual((behind_received(message.content), message.by), (BODY, "DATA"))

    def test_without_room_it_is_as_sync(self):
        gateway = self.start(self.nowhere(), spool={"min_free": "1000000 GiB"})
        self.check(self.session(gateway).mail("x@a.test"), 451, "4.4.1")
        self.assertEqual((self.kept(gateway), self.writes(gateway)), (0, 0))


class Deferred(Keeping):
    """A smart host's own 4xx for all recipients."""

    def start_deferring(self, step, **settings):
        answers = iter(["450 4.2.0 not now"])
        return self.start(self.host(**{step: lambda _: next(answers, "250 2.0.0 taken")}), **settings)

    def test_goes_to_the_sender(self):
        for step in ("mail", "rcpt", "body"):
            with self.subTest(step=step):
                gateway = self.start_deferring(step)
                self.check(self.session(gateway).mail("x@a.test"), 450, "4.2.0", "not now")
                self.assertEqual((self.kept(gateway), self.writes(gateway)), (0, 0))

    def test_or_the_message_to_the_spool(self):
        for step in ("mail", "rcpt", "body"):
            for where in ("delivery", "pools"):
                with self.subTest(step=step, where=where):
                    gateway = self.start_deferring(step, **{where: {"defer": "spool"}})
                    self.check_queued(self.session(gateway).mail("x@a.test", BODY))
                    (message,) = self.arrived(self.a)
                    self.assertEqual(behind_received(message.content), BODY)
                    self.wait_empty(gateway)

    def test_a_pool_that_passes_where_the_others_do_not(self):
        gateway = self.start_deferring("body", delivery={"defer": "spool"}, pools={"defer": "pass"})
        self.check(self.session(gateway).mail("x@a.test"), 450, "4.2.0", "not now")

    def test_a_5xx_is_the_senders_all_the_same(self):
        gateway = self.start(self.host(body="554 5.7.1 no"), delivery={"defer": "spool"})
        self.check(self.session(gateway).mail("x@a.test"), 554, "5.7.1", "no")
        self.assertEqual((self.kept(gateway), self.writes(gateway)), (0, 0))


class Divided(Keeping):
    """Some recipients accepted, some refused."""

    def dividing(self, **answers):
        def rcpt(parameter):
            return next((answer for name, answer in answers.items() if f"<{name}@" in parameter), "250 2.1.5 ok")

        return self.host(rcpt=rcpt)

    def test_for_others_a_5xx_among_them_is_as_in_sync(self):
        gateway = self.start(self.dividing(bad="550 5.1.1 unknown", full="452 4.2.2 full"))
        s = self.session(gateway)
        recipients = ["good@a.test", "bad@a.test", "full@a.test"]
        self.check(s.mail(recipients, BODY), 451, "4.3.0", "recipients were answered differently, try again")
        self.assertEqual((self.a.seen, self.writes(gateway)), ([], 0))
        self.assertEqual([r.code for r in s.envelope(recipients)], [250, 250, 550, 452])
        self.check(s.data(BODY), 250, "2.0.0", "taken")
        self.assertEqual(self.a.messages[0].recipients, ["TO:<good@a.test>"])

    def test_for_others_a_5xx_that_came_before_the_deadline_is_told_by_no_notification(self):
        """Who sent it may be forged: it is not kept while it is known that one is refused."""
        def rcpt(parameter):
            return "550 5.1.1 unknown" if "bad" in parameter else (time.sleep(LATE), "250 ok")[1]

        gateway = self.start(self.host(rcpt=rcpt), delivery={"hybrid_deadline": "2 s"})
        s = self.session(gateway)
        self.check(s.mail(["bad@a.test", "slow@a.test"], BODY), 451, "4.3.0")
        self.assertEqual([r.code for r in s.envelope(["bad@a.test", "slow@a.test"])], [250, 550, 250])
        self.check_queued(s.data(BODY))
        (message,) = self.arrived(self.a)
        self.assertEqual(message.recipients, ["TO:<slow@a.test>"])
        self.wait_empty(gateway)
        self.assertEqual(self.b.seen, [])

    def test_for_others_where_all_refusals_are_4xx_the_rest_is_spooled(self):
        for extensions in ((), ALL_EXTENSIONS):
            with self.subTest(extensions=extensions):
                full = iter(["452 4.2.2 full", "450 4.2.1 busy"])
                host = self.host(extensions, rcpt=lambda p: next(full, "250 ok") if "full" in p else "250 ok")
                gateway = self.start(host)
                self.check_queued(self.session(gateway).mail(["good@a.test", "full@a.test", "fine@a.test"], BODY))
                first, second = self.arrived(host, 2)
                self.assertEqual(first.recipients, ["TO:<good@a.test>", "TO:<fine@a.test>"])
                self.assertEqual(second.recipients, ["TO:<full@a.test>"])
                self.assertEqual([behind_received(each.content) for each in (first, second)], [BODY] * 2)
                self.wait_empty(gateway)
                self.check_stays(host, 2, 1)

    def test_for_trusted_clients_a_notification_tells_of_the_refused(self):
        gateway = self.start(self.dividing(bad="550 5.1.1 unknown"), trusted=True)
        self.check_queued(self.session(gateway).mail(["good@a.test", "bad@a.test"], BODY))
        self.assertEqual([each.recipients for each in self.arrived(self.a)], [["TO:<good@a.test>"]])
        (delivered,) = self.arrived(self.b)
        _, _, (report,), _ = self.notification(delivered)
        self.assertEqual((report["Action"], report["Status"]), ("failed", "5.1.1"))
        self.assertEqual(report["Final-Recipient"], "rfc822; bad@a.test")
        self.assertIn("550 5.1.1 unknown", report["Diagnostic-Code"])
        self.wait_empty(gateway)
        self.check_stays(self.a, 1, 1)
        self.assertEqual(self.logged(gateway, "delivered")[0]["to"], ["good@a.test"])
        (line,) = self.logged(gateway, "refused")
        self.assertEqual((line["to"], line["reply"], line["host"]), (["bad@a.test"], "550 5.1.1 unknown", self.a.address))

    def test_a_refused_body_is_no_answer_about_who_was_deferred(self):
        for trusted, defer in ((False, "pass"), (False, "spool"), (True, "pass"), (True, "spool")):
            with self.subTest(trusted=trusted, defer=defer):
                full = iter(["452 4.2.2 full"])
                refuses = iter(["554 5.7.1 no"])
                host = self.host(
                    rcpt=lambda p: next(full, "250 ok") if "full" in p else "250 ok", body=lambda m: next(refuses, "250 2.0.0 taken")
                )
                gateway = self.start(host, trusted=trusted, delivery={"defer": defer})
                reply = self.session(gateway).mail(["good@a.test", "full@a.test"], BODY)
                if not trusted or defer == "pass":
                    self.check(reply, 452, "4.2.2", "full")
                    self.assertEqual(self.writes(gateway), 0)
                    continue
                self.check_queued(reply)
                (delivered,) = self.arrived(host)
                self.assertEqual(delivered.recipients, ["TO:<full@a.test>"])
                _, _, (report,), _ = self.notification(self.arrived(self.b)[-1])
                self.assertEqual(report["Final-Recipient"], "rfc822; good@a.test")
                self.wait_empty(gateway)

    def test_none_accepted_passes_the_answer(self):
        for trusted in (False, True):
            with self.subTest(trusted=trusted):
                gateway = self.start(self.dividing(bad="550 5.1.1 unknown", full="452 4.2.2 full"), trusted=trusted)
                s = self.session(gateway)
                self.check(s.mail(["bad@a.test", "bad@a.test"]), 550, "5.1.1", "unknown")
                self.check(s.mail(["bad@a.test", "full@a.test"]), 452, "4.2.2", "full")
                self.assertEqual((self.a.seen, self.writes(gateway)), ([], 0))


class Groups(Keeping):
    def test_two_pools_in_one_transaction(self):
        gateway = self.start()
        s = self.session(gateway)
        self.check(s.mail(["x@a.test", "y@b.test", "z@a.test"], BODY), 250, "2.0.0")
        (at_a,), (at_b,) = self.arrived(self.a), self.arrived(self.b)
        self.assertEqual(sorted(at_a.recipients), ["TO:<x@a.test>", "TO:<z@a.test>"])
        self.assertEqual(at_b.recipients, ["TO:<y@b.test>"])
        self.assertEqual([behind_received(each.content) for each in (at_a, at_b)], [BODY] * 2)
        self.wait_empty(gateway)
        self.check_stays(self.a, 1)
        self.check_stays(self.b, 1, 0)

    def test_one_of_them_down(self):
        port = self.nowhere()
        gateway = self.start(port)
        self.check_queued(self.session(gateway).mail(["x@a.test", "y@b.test"], BODY))
        self.arrived(self.b)
        host = self.host(port=port)
        (message,) = self.arrived(host)
        self.assertEqual(message.recipients, ["TO:<x@a.test>"])
        self.wait_empty(gateway)
        self.check_stays(self.b, 1)

    def test_a_recipient_of_another_mode_goes_separately(self):
        rules = "a.test a\nb.test b\nsync.test a delivery=sync\nqueue.test a delivery=queue\n"
        s = self.session(self.start(rules=rules))
        for first, others in (("x@a.test", ["sync", "queue"]), ("x@sync.test", ["a", "b", "queue"]), ("x@queue.test", ["a", "sync"])):
            replies = s.envelope([first, *(f"y@{name}.test" for name in others)])
            self.assertEqual([r.code for r in replies], [250, 250] + [452] * len(others), first)
            self.assertIn("4.5.3", str(replies[2]))
            self.check(s.data(BODY), 250)
        wait_for(lambda: len(self.a.messages) == 3, "all three")

    def test_who_says_the_mode(self):
        """Rule before pool before listener before [delivery]."""
        rules = "a.test a\nsync.test a delivery=sync\nb.test b\nnowhere.test 127.0.0.1:%d\n" % self.nowhere()
        gateway = self.start(
            self.nowhere(), self.nowhere(), rules, pools={"delivery": "queue"}, listener={"mode": "hybrid"}, delivery={"mode": "sync"}
        )
        s = self.session(gateway)
        self.check(s.mail("x@sync.test"), 451, "4.4.1")
        self.check_queued(s.mail("x@b.test"))  # b's pool says none, the listener says hybrid
        self.check_queued(s.mail("x@nowhere.test"))
        self.check_queued(s.mail("x@a.test"))
