"""`queue` delivery: 250 once the message is on stable storage, then delivery; and what becomes of all that is kept, whoever kept it:
retries, rules that change, processes that are killed, notifications, and letters that nobody takes."""

import os
import signal
import threading
import time

from delivery import BODY
from harness import ALL_EXTENSIONS, CLOSE, LOOPBACK, STALL, Session, behind_received, free_port, wait_for
from keeping import LATE, Keeping


class Kept(Keeping):
    mode = "queue"

    def test_accepted_then_delivered(self):
        gateway = self.start()
        id = self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (message,) = self.arrived(self.a)
        self.assertEqual(behind_received(message.content), BODY)
        self.assertIn(f" id {id} ".encode(), message.content)
        self.assertGreater(self.writes(gateway), 0)
        self.wait_empty(gateway)
        self.check_stays(self.a, 1)

    def test_the_answer_does_not_wait_for_a_host(self):
        # Longer than anybody here waits for an answer.
        gateway = self.start(self.host(greeting=STALL), timeouts={"connect": "60 s"})
        self.check_queued(self.session(gateway).mail("x@a.test"))
        self.assertEqual(self.a.seen, [])

    def test_a_host_has_the_time_that_it_needs_though_a_sender_would_have_waited_no_longer(self):
        """Nobody waits for what is kept, so sync_limit bounds no try: a slow host would get it again and again."""
        gateway = self.start(self.host(body=(LATE, "250 2.0.0 late")), delivery={"sync_limit": "1 s"})
        s = self.session(gateway)
        self.check_queued(s.mail("x@a.test", BODY))
        self.check_queued(s.mail("y@a.test", BODY))
        self.arrived(self.a, 2)
        self.wait_empty(gateway)
        self.check_stays(self.a, 2)
        self.assertEqual(len(self.logged(gateway, "delivered", 2)), 2)

    def test_a_tried_one_has_the_time_too(self):
        steps = iter(["450 4.2.1 later"])
        host = self.host(rcpt=lambda _: next(steps, "250 ok"), body=(LATE, "250 2.0.0 late"))
        gateway = self.start(host, delivery={"sync_limit": "1 s"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.arrived(host)
        self.wait_empty(gateway)
        self.check_stays(host, 1)

    def test_what_waits_for_a_host_that_says_nothing_is_not_in_memory(self):
        """Or new mail would be refused as soon as a host takes connections and does not greet."""
        limits = {"body_memory": "32 MiB", "message_size": "1 MiB"}
        gateway = self.start(self.host(greeting=STALL), timeouts={"connect": "60 s", "busy": "60 s"}, limits=limits)
        s = self.session(gateway)
        for number in range(300):
            self.check_queued(s.mail(f"x{number}@a.test", BODY))
        self.assertEqual(self.kept(gateway), 300)
        self.check_queued(s.mail("x@b.test", BODY))
        self.arrived(self.b)

    def test_a_host_that_is_down_and_comes_back(self):
        port = self.nowhere()
        gateway = self.start(port)
        s = self.session(gateway)
        ids = [self.check_queued(s.mail(f"x{number}@a.test", BODY)) for number in range(20)]
        self.assertEqual(len(set(ids)), 20)
        self.assertEqual(self.kept(gateway), 20)
        self.assertEqual([each["id"] for each in self.listed(gateway)], ids)
        host = self.host(port=port)
        self.arrived(host, 20)
        self.wait_empty(gateway)
        self.assertEqual(sorted(r for m in host.messages for r in m.recipients), sorted(f"TO:<x{n}@a.test>" for n in range(20)))
        self.assertEqual(host.messages[0].recipients, ["TO:<x0@a.test>"])  # the oldest
        self.check_stays(host, 20, 1)

    def test_it_ends_though_the_disk_takes_no_writes(self):
        """That the message was delivered can not be written down: it comes once more."""
        gateway = self.start(self.host(body=(1, "250 2.0.0 taken")), timeouts={"shutdown_grace": "1 s"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.writes_fail(gateway)
        self.arrived(self.a)
        wait_for(lambda: self.failures(gateway) >= 1, "a write that fails")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.child.wait(timeout=15), 0)
        self.kill_and_start(gateway)
        self.arrived(self.a, 2)
        self.wait_empty(gateway)

    def test_while_a_host_is_down_it_is_but_probed(self):
        """Attempts do not grow with the mail that waits."""
        host = self.host(greeting="421 4.3.2 not now")
        gateway = self.start(host)
        s = self.session(gateway)
        began = time.monotonic()
        for number in range(100):
            self.check_queued(s.mail(f"x{number}@a.test"))
        time.sleep(3)
        self.assertLess(host.connections, 7 + (time.monotonic() - began))
        host.greeting = "220 fake.test"
        self.arrived(host, 100, 40)
        self.wait_empty(gateway)

    def test_what_makes_a_host_say_that_it_is_in_trouble_holds_nobody_up(self):
        for how in ("530 5.7.0 who are you", "503 5.5.1 what", CLOSE):
            with self.subTest(how=how):
                host = self.host(rcpt=lambda path: how if "poison" in path else "250 2.1.5 ok")
                gateway = self.start(host, retry={"first": "30 s", "max": "30 s"})
                s = self.session(gateway)
                id = self.check_queued(s.mail("poison@a.test"))
                wait_for(lambda: host.said("RCPT TO:<poison"), "the first try")
                for number in range(5):
                    self.check_queued(s.mail(f"x{number}@a.test"))
                self.arrived(host, 5, 20)
                (message,) = wait_for(lambda: (kept := self.listed(gateway)) and len(kept) == 1 and kept, "the others are gone")
                self.assertEqual(message["id"], id)
                (recipient,) = message["recipients"]
                self.assertEqual((recipient["state"], recipient["attempts"]), ("waiting", 1))

    def test_a_refused_message_is_tried_again_with_growing_pauses(self):
        times = []

        def body(_):
            times.append(time.monotonic())
            return "250 2.0.0 taken" if len(times) == 4 else "450 4.2.0 not now"

        gateway = self.start(self.host(body=body), retry={"first": "1 s", "max": "3 s"})
        self.check_queued(self.session(gateway).mail("x@a.test"))
        self.arrived(self.a)
        pauses = [later - earlier for earlier, later in zip(times, times[1:])]
        for pause, expected in zip(pauses, (1, 2, 3)):
            self.assertGreater(pause, expected - 0.2)
            self.assertLess(pause, expected + 5)
        self.wait_empty(gateway)

    def test_no_room_no_mail(self):
        s = self.session(self.start(spool={"min_free": "1000000 GiB"}))
        self.check(s.mail("x@a.test"), 452, "4.3.1")
        self.check(s.command("NOOP"), 250)
        self.assertEqual(self.a.seen, [])

    def test_all_refused_at_once_is_no_answer_to_the_sender(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
        self.check_queued(self.session(gateway).mail("x@a.test"))
        (delivered,) = self.arrived(self.b)
        self.notification(delivered)

    def test_what_the_host_takes_is_learned_of_the_first_message(self):
        for limit, most in (("RCPTMAX=2", 2), ("RCPTDOMAINMAX=1", 3)):
            with self.subTest(limit=limit):
                gateway = self.start(self.host((*ALL_EXTENSIONS, "LIMITS " + limit)), retry={"first": "30 s", "max": "30 s"})
                recipients = [f"x{number}@{name}.a.test" for name in "pq" for number in range(3)]
                self.check_queued(self.session(gateway).mail(recipients, BODY))
                wait_for(lambda: sum(len(m.recipients) for m in self.a.messages) == 6, "all recipients, and no pause")
                self.assertEqual([len(m.recipients) for m in self.a.messages], [most] * (6 // most))
                self.wait_empty(gateway)

    def test_many_recipients_are_split_to_what_the_host_takes(self):
        gateway = self.start(pools={"recipients_max": 7})
        recipients = [f"x{number}@a.test" for number in range(20)]
        self.check_queued(self.session(gateway).mail(recipients, BODY))
        wait_for(lambda: sum(len(m.recipients) for m in self.a.messages) == 20, "all recipients")
        self.assertEqual(sorted(r for m in self.a.messages for r in m.recipients), sorted(f"TO:<{r}>" for r in recipients))
        self.assertLessEqual(max(len(m.recipients) for m in self.a.messages), 7)
        self.wait_empty(gateway)

    def test_several_groups(self):
        port = self.nowhere()
        gateway = self.start(port)
        self.check_queued(self.session(gateway).mail(["x@a.test", "y@b.test"], BODY))
        (message,) = self.arrived(self.b)
        self.assertEqual(message.recipients, ["TO:<y@b.test>"])
        self.wait_kept(gateway, 1)
        (message,) = self.arrived(self.host(port=port))
        self.assertEqual(message.recipients, ["TO:<x@a.test>"])
        self.wait_empty(gateway)
        self.check_stays(self.b, 1, 1)

    def test_a_large_message_gets_a_place_of_its_own(self):
        port = self.nowhere()
        gateway = self.start(port, limits={"message_size": "100 MiB", "body_memory": "1 GiB"}, trusted=True)
        body = b"Subject: x\r\n\r\n" + (b"y" * 998 + b"\r\n") * 70000
        self.check_queued(self.session(gateway).mail("x@a.test", body))
        self.check_queued(self.session(gateway).mail("y@a.test", BODY))
        host = self.host(port=port)
        wait_for(lambda: len(host.messages) == 2, "both", 60)
        contents = {m.recipients[0]: behind_received(m.content) for m in host.messages}
        self.assertEqual(contents["TO:<y@a.test>"], BODY)
        self.assertTrue(contents["TO:<x@a.test>"] == body)
        self.wait_empty(gateway)


    def test_large_messages_take_no_memory_while_they_arrive(self):
        """Ten of 8 MiB at a time, where there is memory for five; no more than three MiB of each are held."""
        port = self.nowhere()
        gateway = self.start(port, trusted=True, limits={"message_size": "12 MiB", "body_memory": "42 MiB"})
        line = b"y" * 998 + b"\r\n"
        bodies = [b"Subject: %d\r\n\r\n" % number + (b".%d\r\n" % number + line * 20) * 400 for number in range(10)]
        sessions = [self.session(gateway) for _ in bodies]
        for number, (s, body) in enumerate(zip(sessions, bodies)):
            s.envelope(f"x{number}@a.test")
            if number % 2 == 0:
                s.send(b"BDAT %d LAST\r\n" % len(body))
            else:
                s.command("DATA")
            stuffed = body if number % 2 == 0 else body.replace(b"\r\n.", b"\r\n..") + b".\r\n"
            bodies[number] = (body, stuffed)
        sent, size = 0, max(len(stuffed) for _, stuffed in bodies)
        while sent < size:
            for s, (_, stuffed) in zip(sessions, bodies):
                s.send(stuffed[sent : sent + 500_000])
            sent += 500_000
        for s in sessions:
            self.check_queued(s.read())
        # What does not become a message leaves nothing.
        s = self.session(gateway)
        s.envelope("gone@a.test")
        s.command("DATA")
        s.send(bodies[1][1][:5_000_000])
        s.close()
        host = self.host(port=port)
        self.arrived(host, 10, 60)
        for message in host.messages:
            number = int(message.recipients[0][5:].split("@")[0])
            self.assertTrue(behind_received(message.content) == bodies[number][0])
        self.wait_empty(gateway)
        self.check_stays(host, 10, 1)

    def test_the_log_says_what_became_of_each_recipient(self):
        answers = {"bad": "550 5.1.1 unknown", "tmp": "451 4.2.1 later"}
        host = self.host(rcpt=lambda p: next((answer for name, answer in answers.items() if name in p), "250 ok"))
        gateway = self.start(host, retry={"first": "10 min", "max": "1 h"})
        id = self.check_queued(self.session(gateway).mail(["ok@a.test", "bad@a.test", "tmp@a.test", "good@a.test"], BODY))
        self.arrived(host)
        for event, named, reply in (
            ("delivered", [["ok@a.test", "good@a.test"]], "250 "),
            ("refused", [["bad@a.test"]], "550 5.1.1 unknown"),
            ("deferred", [["tmp@a.test"]], "451 4.2.1 later"),
        ):
            lines = [line for line in self.logged(gateway, event) if line["id"] == id]
            self.assertEqual([line["to"] for line in lines], named)
            self.assertTrue(lines[0]["reply"].startswith(reply), lines)
            self.assertEqual(lines[0]["host"], host.address)
        self.wait_kept(gateway, 1)  # the notification is delivered
        self.queue(gateway, "remove", id)
        (line,) = self.logged(gateway, "removed")
        self.assertEqual(line["to"], ["tmp@a.test"])

    def test_one_larger_than_body_memory_hinders_nobody(self):
        """It came when there was more, or filled it nearly: it is delivered all the same, and those behind it too."""
        port, other_port = self.nowhere(), self.nowhere()
        limits = {"message_size": "12 MiB", "body_memory": "32 MiB"}
        gateway = self.start(port, other_port, trusted=True, limits=limits, workers=1)
        body = b"Subject: x\r\n\r\n" + (b"y" * 998 + b"\r\n") * 11_000
        s = self.session(gateway)
        for number in range(2):
            self.check_queued(s.mail(f"large{number}@a.test", body))
            self.check_queued(s.mail(f"large{number}@b.test", body))
        for number in range(5):
            self.check_queued(s.mail(f"x{number}@a.test", BODY))
            self.check_queued(s.mail(f"x{number}@b.test", BODY))

        def with_less():
            text = gateway.config.read_text()
            self.assertIn('"32 MiB"', text)
            gateway.config.write_text(text.replace('"32 MiB"', '"8 MiB"').replace('"12 MiB"', '"4 MiB"'))

        self.kill_and_start(gateway, with_less)
        # Another pool's host takes its time with each large one.
        slow = self.host(port=other_port, body=lambda m: (5, "250 2.0.0 taken") if "large" in m.recipients[0] else "250 2.0.0 taken")
        host = self.host(port=port)
        for each in (host, slow):
            self.arrived(each, 7, 60)
            large = [m for m in each.messages if "large" in m.recipients[0]]
            self.assertEqual([behind_received(m.content) == body for m in large], [True, True])
        self.wait_empty(gateway)


class Killed(Keeping):
    mode = "queue"

    def test_what_was_promised_is_there_after_kill_9(self):
        port = self.nowhere()
        gateway = self.start(port)
        s = self.session(gateway)
        ids = [self.check_queued(s.mail([f"x{number}@a.test", "z@a.test"], BODY)) for number in range(10)]
        host = None

        def come_back():
            nonlocal host
            host = self.host(port=port)

        self.kill_and_start(gateway, come_back)
        self.arrived(host, 10, 40)
        self.wait_empty(gateway)
        for id, message in zip(ids, sorted(host.messages, key=lambda m: int(m.recipients[0][5:].split("@")[0]))):
            self.assertIn(f" id {id};".encode(), message.content)
            self.assertEqual(behind_received(message.content), BODY)
            self.assertEqual(message.recipients[1:], ["TO:<z@a.test>"])
        self.check_stays(host, 10, 1)

    def test_what_was_delivered_does_not_come_again(self):
        port = self.nowhere()
        gateway = self.start(port)
        s = self.session(gateway)
        for number in range(10):
            self.check_queued(s.mail([f"x{number}@a.test", f"y{number}@b.test"]))
        self.arrived(self.b, 10)
        self.wait_written(gateway)
        self.kill_and_start(gateway)
        self.wait_kept(gateway, 10)
        self.check_stays(self.b, 10)
        self.arrived(self.host(port=port), 10, 40)
        self.wait_empty(gateway)

    def test_sigterm_too(self):
        port = self.nowhere()
        gateway = self.start(port)
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        os.kill(gateway.pid, signal.SIGTERM)
        self.assertEqual(gateway.child.wait(20), 0)
        self.kill_and_start(gateway)
        self.arrived(self.host(port=port), 1, 40)
        self.wait_empty(gateway)

    def test_under_load(self):
        """Nobody who was told 250 has sent in vain, whenever the process ends."""
        gateway = self.start(workers=2, trusted=True, limits={"connections_per_client": 0})
        promised = []
        over = threading.Event()

        def send(number):
            count = 0
            while not over.is_set():
                try:
                    s = self.session(gateway)
                    while not over.is_set():
                        count += 1
                        to = f"x{number}-{count}@a.test"
                        if s.mail(to, BODY).code == 250:
                            promised.append(f"TO:<{to}>")
                except Exception:  # noqa: BLE001: it was killed
                    time.sleep(0.02)

        senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for sender in senders:
            sender.start()
        for more in (40, 10, 80, 20):
            enough = len(promised) + more
            wait_for(lambda: len(promised) >= enough, f"{more} promises", 60)
            time.sleep(0.2)
            if more != 20:
                self.kill_and_start(gateway)
        over.set()
        for sender in senders:
            sender.join()

        def lost():
            got = {r for m in self.a.messages for r in m.recipients}
            return [to for to in promised if to not in got]

        wait_for(lambda: not lost(), f"what was promised: {lost()}", 60)
        self.wait_empty(gateway, 60)


class Rules(Keeping):
    """Every attempt looks the recipient up in the rules then in force."""

    mode = "queue"

    def reload(self, gateway, rules):
        gateway.write_rules(rules)
        done = gateway.reload("--force")
        self.assertEqual(done.returncode, 0, done)

    def test_another_pool_takes_what_waits(self):
        gateway = self.start(self.nowhere())
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.reload(gateway, "a.test b\nb.test b\nclient.test b\n")
        (message,) = self.arrived(self.b)
        self.assertEqual((message.recipients, behind_received(message.content)), (["TO:<x@a.test>"], BODY))
        self.wait_empty(gateway)

    def test_a_rewrite_that_came_meanwhile(self):
        gateway = self.start(self.nowhere(), self.host((*ALL_EXTENSIONS, "DSN")))
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.reload(gateway, "a.test b rewrite=new.test\nb.test b\n")
        (message,) = self.arrived(self.b)
        self.assertEqual(message.recipients, ["TO:<x@new.test> ORCPT=rfc822;x@a.test"])
        self.wait_empty(gateway)

    def test_permission_was_decided_when_it_was_accepted(self):
        gateway = self.start(self.nowhere())
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.reload(gateway, "a.test b restricted delivery=sync\nb.test b\n")
        self.arrived(self.b)
        self.wait_empty(gateway)

    def test_orphans_wait_and_are_listed(self):
        for rules in ("b.test b\n", "b.test b\na.test reject:gone\n", "b.test b\na.test defer\n", "b.test b\n* reject\n"):
            with self.subTest(rules=rules):
                gateway = self.start(self.nowhere(), rules="a.test a\nb.test b\n")
                s = self.session(gateway)
                id = self.check_queued(s.mail("x@a.test", BODY))
                self.assertEqual(self.listed(gateway, "--orphaned"), [])
                self.reload(gateway, rules)
                wait_for(lambda: [each["id"] for each in self.listed(gateway, "--orphaned")] == [id], "it to be orphaned")
                self.reload(gateway, "a.test b\nb.test b\n")
                self.arrived(self.b)
                self.wait_empty(gateway)


class Notifications(Keeping):
    """RFC 3464: who is told, of what, and where that goes."""

    mode = "queue"

    def test_a_refusal(self):
        gateway = self.start(self.host(rcpt=lambda p: "550-5.1.1 no such\n550 5.1.1 user here" if "bad" in p else "250 ok"))
        id = self.check_queued(self.session(gateway).mail(["bad@a.test", "good@a.test"], BODY))
        (delivered,) = self.arrived(self.b)
        text, message, recipients, original = self.notification(delivered)
        self.assertIn("bad@a.test", text)
        self.assertNotIn("good@a.test", text)
        self.assertEqual(message["Reporting-MTA"], "dns; gw.test")
        self.assertEqual(len(recipients), 1)
        self.assertEqual(recipients[0]["Final-Recipient"], "rfc822; bad@a.test")
        self.assertEqual((recipients[0]["Action"], recipients[0]["Status"]), ("failed", "5.1.1"))
        self.assertIn("no such", recipients[0]["Diagnostic-Code"])
        self.assertIn("text/rfc822-headers", original.get_content_type())
        self.assertIn(f"id {id}", original.get_payload())
        self.assertIn("Subject: hello", original.get_payload())
        self.assertEqual([m.recipients for m in self.a.messages], [["TO:<good@a.test>"]])
        self.wait_empty(gateway)
        self.check_stays(self.b, 1)

    def test_the_null_sender_is_told_nothing(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
        self.check_queued(self.session(gateway).mail("x@a.test", sender=""))
        self.wait_empty(gateway)
        self.check_stays(self.b, 0, 1)
        self.assertEqual(list((gateway.folder / "spool/dead").glob("*")), [])

    def test_a_message_expires(self):
        gateway = self.start(self.nowhere(), retry={"expire": "4 s"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (delivered,) = self.arrived(self.b)
        _, _, (report,), _ = self.notification(delivered)
        self.assertEqual(report["Action"], "failed")
        self.assertRegex(report["Status"], r"^[45]\.4\.\d$")
        self.wait_empty(gateway)
        self.assertEqual(len(self.logged(gateway, "expired")), 1)

    def test_behind_a_long_stop_each_recipient_is_tried_once_more(self):
        ports = self.nowhere(), self.nowhere()
        gateway = self.start(*ports, retry={"expire": "4 s"}, limits={"recipients": 400})
        recipients = ["y@b.test", *(f"x{n}@a.test" for n in range(230))]  # in four transactions
        self.check_queued(self.session(gateway).mail(recipients, BODY))
        hosts = []

        def down():
            time.sleep(5)
            hosts.extend(self.host(port=port) for port in ports)

        self.kill_and_start(gateway, down)
        a, b = hosts
        self.assertEqual(sum(len(each.recipients) for each in self.arrived(a, 3)), 230)
        self.wait_empty(gateway)
        self.check_stays(b, 1, 1)  # and no notification
        self.assertEqual(b.messages[0].recipients, ["TO:<y@b.test>"])

    def test_each_recipient_expires_by_its_own_pool(self):
        """Who waits for another pool is not given up with those of the impatient one."""
        full = ["y@b.test"]
        b = self.host(rcpt=lambda p: "452 4.2.2 full" if any(r in p for r in full) else "250 ok")
        gateway = self.start(self.nowhere(), b, pools={"expire": "3 s"})
        self.check_queued(self.session(gateway).mail(["x@a.test", "y@b.test"], BODY))
        (delivered,) = self.arrived(b)
        _, _, reports, _ = self.notification(delivered)
        self.assertEqual([r["Final-Recipient"] for r in reports], ["rfc822; x@a.test"])
        self.wait_kept(gateway, 1)  # that the notification was delivered follows
        full.clear()
        _, message = self.arrived(b, 2)
        self.assertEqual(message.recipients, ["TO:<y@b.test>"])
        self.wait_empty(gateway)
        self.check_stays(b, 2)

    def test_an_orphan_expires_too(self):
        gateway = self.start(self.nowhere(), rules="a.test a\nb.test b\nclient.test b\n", retry={"expire": "4 s"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        gateway.write_rules("b.test b\nclient.test b\n")
        self.assertEqual(gateway.reload("--force").returncode, 0)
        (delivered,) = self.arrived(self.b)
        self.notification(delivered)
        self.wait_empty(gateway)

    def test_where_no_rule_is_for_the_sender(self):
        """Along the rules; else notify_pool; else to the postmaster; else it is buried, and kept."""
        rules = "a.test a\nb.test b\n"
        for delivery, recipient in (
            ({"notify_pool": "b"}, "sender@client.test"),
            ({"notify_pool": "c"}, "sender@client.test"),  # no rule leads there
            ({"postmaster": "pm@b.test"}, "pm@b.test"),
            ({"notify_pool": "b", "postmaster": "pm@b.test"}, "sender@client.test"),
            ({}, None),
        ):
            with self.subTest(delivery=delivery):
                c = self.host()
                gateway = self.start(
                    self.host(rcpt="550 5.1.1 unknown"), rules=rules, delivery=delivery, **{"pool.c": {"hosts": [c.address]}}
                )
                self.check_queued(self.session(gateway).mail("x@a.test", BODY))
                dead = gateway.folder / "spool/dead"
                if recipient is None:
                    (file,) = wait_for(lambda: list(dead.glob("*.eml")), "a dead letter")
                    self.assertIn(b"x@a.test", file.read_bytes())
                else:
                    (delivered,) = self.arrived(c if delivery.get("notify_pool") == "c" else self.b)
                    self.assertEqual(delivered.recipients, [f"TO:<{recipient}>"])
                    self.assertTrue(delivered.sender.startswith("FROM:<>"))
                self.wait_empty(gateway)

    def test_a_sender_at_a_domain_that_can_not_be(self):
        """It is shaped like an address, and nobody can be there."""
        for sender in ("x@1.2.3.4", "x@foo.1", "x@[foo:bar]", "x@\u0378.test"):
            with self.subTest(sender=sender):
                gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
                s = self.session(gateway)
                utf8 = "" if sender.isascii() else " SMTPUTF8"
                s.send(f"MAIL FROM:<{sender}>{utf8}\r\nRCPT TO:<x@a.test> NOTIFY=SUCCESS,FAILURE\r\n".encode())
                self.assertEqual([s.read().code, s.read().code], [250, 250])
                self.check_queued(s.data(BODY))
                wait_for(lambda: list((gateway.folder / "spool/dead").glob("*.eml")), "a dead letter")
                self.wait_empty(gateway)
                self.assertEqual(gateway.close(), 0)

    def test_postmaster_when_nobody_is_it_any_more(self):
        """What waits for it waits on, listed as orphaned, and goes out when there is one again."""
        port = self.nowhere()
        gateway = self.start(port, delivery={"postmaster": "pm@a.test"})
        self.check_queued(self.session(gateway).mail("postmaster", BODY))
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace('postmaster = "pm@a.test"', ""))
        self.assertEqual(gateway.reload().returncode, 0)
        wait_for(lambda: self.listed(gateway, "--orphaned"), "an orphan")
        self.kill_and_start(gateway)
        wait_for(lambda: self.listed(gateway, "--orphaned"), "an orphan behind a start")
        gateway.config.write_text(text)
        self.assertEqual(gateway.reload().returncode, 0)
        host = self.host(port=port)
        (message,) = self.arrived(host)
        self.assertEqual(message.recipients, ["TO:<pm@a.test>"])
        self.wait_empty(gateway)

    def test_postmaster_of_a_listener(self):
        """The first listener does not say who that is."""
        port = free_port()
        gateway = self.start(**{"[listener]": {"address": f"{LOOPBACK}:{port}", "postmaster": "pm@b.test"}})
        gateway.wait_listening(port)
        s = self.place.add(Session(port))
        self.check_queued(s.mail("postmaster", BODY))
        (message,) = self.arrived(self.b)
        self.assertEqual(message.recipients, ["TO:<pm@b.test>"])
        self.wait_empty(gateway)

    def test_a_listeners_own_pool_for_them(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"), rules="a.test a\nb.test b\n", listener={"notify_pool": "b"})
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (delivered,) = self.arrived(self.b)
        self.assertEqual(delivered.recipients, ["TO:<sender@client.test>"])
        self.wait_empty(gateway)

    def test_a_restricted_rule_is_open_to_our_own(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"), rules="a.test a\nclient.test b restricted\n")
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        self.notification(*self.arrived(self.b))

    def test_a_notification_that_is_refused_is_buried(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"), self.host(rcpt="550 5.7.1 none of that"))
        self.check_queued(self.session(gateway).mail("x@a.test", BODY))
        (file,) = wait_for(lambda: list((gateway.folder / "spool/dead").glob("*.eml")), "a dead letter")
        self.assertIn(b"multipart/report", file.read_bytes())
        self.wait_empty(gateway)
        self.assertIn("dead", gateway.ask("/health").text)

    def test_a_sender_not_in_ascii(self):
        extensions = ("PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING")
        gateway = self.start(self.host(extensions, rcpt="550 5.1.1 unknown"), self.host(extensions), rules="a.test a\nb\u00fccher.test b\n")
        s = self.session(gateway)
        s.send("MAIL FROM:<gr\u00fc\u00dfe@b\u00fccher.test> SMTPUTF8\r\nRCPT TO:<j\u00f6rg@a.test>\r\n".encode())
        self.assertEqual([s.read().code, s.read().code], [250, 250])
        self.check_queued(s.data(BODY))
        (delivered,) = self.arrived(self.b)
        self.assertEqual(delivered.recipients, ["TO:<gr\u00fc\u00dfe@b\u00fccher.test>"])
        self.assertIn("SMTPUTF8", delivered.sender)
        self.assertIn("utf-8; j\u00f6rg@a.test".encode(), delivered.content)  # RFC 6533


class Asked(Keeping):
    """The DSN extension (RFC 3461): what the sender asked to be told."""

    mode = "queue"
    with_dsn = ("PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN")

    def send(self, gateway, notify, to="x@a.test", more="", mail=""):
        s = self.session(gateway)
        self.check(s.command(f"MAIL FROM:<sender@client.test>{mail}"), 250)
        self.check(s.command(f"RCPT TO:<{to}>{notify and ' NOTIFY=' + notify}{more}"), 250)
        return s.data(BODY)

    def test_offered_unless_hidden(self):
        self.assertIn("250 DSN", self.session(self.start()).extensions)
        s = self.session(self.start(listener={"ehlo_hide": ["DSN"]}))
        self.assertNotIn("DSN", "".join(s.extensions))
        self.check(s.command("MAIL FROM:<sender@client.test> RET=HDRS"), 555, "5.5.4")

    def test_never(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
        self.check_queued(self.send(gateway, "NEVER"))
        self.wait_empty(gateway)
        self.check_stays(self.b, 0, 1)

    def test_failure_is_what_nothing_means(self):
        for notify, told in (("", 1), ("FAILURE", 1), ("SUCCESS", 0), ("DELAY", 0), ("SUCCESS,DELAY", 0)):
            with self.subTest(notify=notify):
                gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
                self.check_queued(self.send(gateway, notify))
                self.wait_empty(gateway)
                self.check_stays(self.b, told, 0.5)

    def test_success_where_the_host_has_no_dsn_is_relayed(self):
        for mode in ("sync", "hybrid", "queue"):
            with self.subTest(mode=mode):
                gateway = self.start(delivery={"mode": mode})
                self.check(self.send(gateway, "SUCCESS", more=" ORCPT=rfc822;first+2Bme@old.test", mail=" ENVID=env+3Did RET=FULL"), 250)
                (delivered,) = self.arrived(self.b)
                _, message, (report,), original = self.notification(delivered)
                self.assertEqual(report["Action"], "relayed")
                self.assertRegex(report["Status"], r"^2\.")
                self.assertEqual(report["Original-Recipient"], "rfc822; first+me@old.test")
                self.assertEqual(message["Original-Envelope-Id"], "env=id")
                self.assertEqual(original.get_content_type(), "text/rfc822-headers")  # RET=FULL is for failures
                self.wait_empty(gateway)
                self.check_stays(self.b, 1, 1)

    def test_a_flood_of_such_waits_for_the_disk_in_a_bound(self):
        gateway = self.start(delivery={"mode": "sync"})
        sessions, each = [self.session(gateway) for _ in range(4)], 250
        message = b"MAIL FROM:<x@nowhere.test>\r\nRCPT TO:<x@a.test> NOTIFY=SUCCESS\r\nBDAT %d LAST\r\n%s" % (len(BODY), BODY)
        senders = [threading.Thread(target=s.send, args=(message * each,), daemon=True) for s in sessions]
        for thread in senders:
            thread.start()
        for s in sessions:
            self.assertEqual([s.read().code for _ in range(3 * each)], [250] * (3 * each))
        for thread in senders:
            thread.join(10)

        def told():
            letters = len(list((gateway.folder / "spool/dead").glob("*.eml")))
            return letters and letters + len(gateway.log(event="notification")) >= len(sessions) * each

        wait_for(told, "each to be a dead letter or a line of the log")
        letters = len(list((gateway.folder / "spool/dead").glob("*.eml")))
        self.assertEqual(letters + len(gateway.log(event="notification")), len(sessions) * each)
        self.check(self.send(gateway, "SUCCESS"), 250)  # room again: this one has a way
        self.arrived(self.b)

    def test_a_host_with_dsn_is_told_and_answers_for_it(self):
        for mode in ("sync", "hybrid", "queue"):
            with self.subTest(mode=mode):
                gateway = self.start(self.host(self.with_dsn), delivery={"mode": mode})
                self.check(self.send(gateway, "SUCCESS,DELAY", more=" ORCPT=rfc822;x@old.test", mail=" RET=HDRS ENVID=1"), 250)
                (message,) = self.arrived(self.a)
                self.assertIn(" RET=HDRS ENVID=1", message.sender)
                self.assertEqual(message.recipients, ["TO:<x@a.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@old.test"])
                self.wait_empty(gateway)
                self.check_stays(self.b, 0, 1)

    def test_delay(self):
        port = self.nowhere()
        gateway = self.start(port, retry={"expire": "12 s"})
        self.check_queued(self.send(gateway, "DELAY"))
        (delivered,) = self.arrived(self.b)
        _, _, (report,), _ = self.notification(delivered)
        self.assertEqual(report["Action"], "delayed")
        self.assertRegex(report["Status"], r"^4\.")
        self.assertTrue(report["Will-Retry-Until"])
        self.arrived(self.host(port=port))
        self.wait_empty(gateway)
        self.check_stays(self.b, 1, 1)

    def test_delay_and_expiry_name_who_said_so(self):
        gateway = self.start(self.host(rcpt="451 4.2.1 mailbox busy"), retry={"expire": "4 s"})
        self.check_queued(self.send(gateway, "DELAY,FAILURE"))
        for n, action in enumerate(("delayed", "failed")):
            text, _, (report,), _ = self.notification(self.arrived(self.b, n + 1)[n])
            self.assertEqual(report["Action"], action)
            self.assertEqual(report["Diagnostic-Code"], "smtp; 451 4.2.1 mailbox busy")
            self.assertEqual(report["Remote-MTA"], f"dns; [{LOOPBACK}]")
            self.assertIn(f"The last answer, from {self.a.address}:", text)

    def test_delay_behind_a_restart_does_not_guess_who_said_so(self):
        gateway = self.start(self.host(rcpt="451 4.2.1 mailbox busy"), retry={"first": "20 s", "max": "20 s", "expire": "20 s"})
        self.check_queued(self.send(gateway, "DELAY"))
        wait_for(lambda: gateway.log(event="deferred"), "a first try")
        self.wait_written(gateway)
        self.kill_and_start(gateway)
        text, _, (report,), _ = self.notification(*self.arrived(self.b))
        self.assertEqual(report["Diagnostic-Code"], "smtp; 451 4.2.1 mailbox busy")
        self.assertIsNone(report["Remote-MTA"])
        self.assertIn("The last answer:\r\n", text)

    def test_full_returns_the_whole_message(self):
        gateway = self.start(self.host(rcpt="550 5.1.1 unknown"))
        self.check_queued(self.send(gateway, "", mail=" RET=FULL"))
        (delivered,) = self.arrived(self.b)
        _, _, _, original = self.notification(delivered)
        self.assertEqual(original.get_content_type(), "message/rfc822")
        self.assertIn(b"last\r\n", delivered.content)

    def test_full_is_the_header_where_the_host_takes_no_more(self):
        content = b"Subject: h\xe9llo\r\n\r\nb\xf6dy\r\n"
        no_8bit = tuple(e for e in self.with_dsn if e != "8BITMIME")
        for host, returned in (
            (self.host(self.with_dsn), "message/rfc822"),
            (self.host(no_8bit), "text/rfc822-headers"),
            (self.host(body=lambda m: "554 5.6.3 no" if b"b\xf6dy" in m.content else "250 2.0.0 taken"), "text/rfc822-headers"),
        ):
            with self.subTest(returned=returned):
                gateway = self.start(self.host(rcpt="550 5.1.1 unknown"), host)
                s = self.session(gateway)
                self.check(s.command("MAIL FROM:<sender@client.test> BODY=8BITMIME RET=FULL"), 250)
                self.check(s.command("RCPT TO:<x@a.test>"), 250)
                self.check_queued(s.data(content))
                (delivered,) = self.arrived(self.b)
                text, _, (report,), original = self.notification(delivered)
                self.assertEqual(report["Final-Recipient"], "rfc822; x@a.test")
                self.assertEqual(original.get_content_type(), returned)
                self.assertEqual(content in delivered.content, returned == "message/rfc822")
                if returned != "message/rfc822":
                    self.assertIn("Its header is returned below.", text)
                    self.assertIn("Subject: h?llo", original.get_payload())
                    self.assertTrue(delivered.content.isascii())
                self.wait_empty(gateway)
                self.assertEqual(list((gateway.folder / "spool/dead").glob("*.eml")), [])

    def test_it_outlives_a_kill(self):
        port = self.nowhere()
        gateway = self.start(port)
        self.check_queued(self.send(gateway, "SUCCESS", more=" ORCPT=rfc822;x@old.test", mail=" RET=HDRS ENVID=1"))
        self.kill_and_start(gateway)
        (message,) = self.arrived(self.host(self.with_dsn, port=port))
        self.assertIn(" RET=HDRS ENVID=1", message.sender)
        self.assertEqual(message.recipients, ["TO:<x@a.test> NOTIFY=SUCCESS ORCPT=rfc822;x@old.test"])
        self.wait_empty(gateway)
