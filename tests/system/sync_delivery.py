"""`sync` delivery through the real binary against smart hosts that do what the test says: what a smart host answers is what
the sender is told, and nobody gets mail that its sender was not told of."""

import time

from delivery import BODY, PIPELINING_ONLY, Delivery
from harness import ALL_EXTENSIONS, HOSTNAME, RECEIVED, ROOT, behind_received, wait_for


class Accepted(Delivery):
    def test_the_answer_is_the_hosts_own(self):
        s = self.session(self.start(self.host(body="250 2.6.0 as you wish <id@a>")))
        self.check(s.mail("x@a.test"), 250, "2.6.0", "as you wish <id@a>")

    def test_other_2xx_becomes_250(self):
        s = self.session(self.start(self.host(rcpt="251 2.1.5 will forward", body="252 2.0.0 well")))
        self.check(s.mail("x@a.test"), 250, "2.0.0", "well")

    def test_content_behind_one_received_line(self):
        for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, (), ("CHUNKING",)):
            for send in ("data", "bdat"):
                with self.subTest(extensions=extensions, send=send):
                    s = self.session(self.start(self.host(extensions)))
                    self.check(s.envelope("x@a.test")[-1], 250)
                    self.check(getattr(s, send)(BODY), 250)
                    (message,) = self.a.messages
                    self.assertEqual(behind_received(message.content), BODY)
                    self.assertEqual(message.by, "BDAT" if "CHUNKING" in extensions else "DATA")
                    self.assertTrue(message.sender.upper().startswith("FROM:<SENDER@CLIENT.TEST>"), message.sender)
                    self.assertEqual(message.recipients, ["TO:<x@a.test>"])

    def test_received_line(self):
        gateway = self.start()
        s = self.session(gateway, ehlo="[127.0.0.1]")
        s.mail("x@a.test")
        s.mail(["x@a.test", "y@a.test"])
        s.envelope("x@a.test", parameters=" SMTPUTF8")
        s.data(BODY)
        old = self.session(gateway, ehlo=None)
        self.check(old.command("HELO old.test"), 250)
        self.check(old.mail("x@a.test"), 250)
        lines = [RECEIVED.match(message.content) for message in self.a.messages]
        self.assertTrue(all(lines), [message.content[:300] for message in self.a.messages])
        self.assertEqual([line["with"] for line in lines], [b"ESMTP", b"ESMTP", b"UTF8SMTP", b"SMTP"])
        self.assertEqual([line["rcpt"] for line in lines], [b"x@a.test", None, b"x@a.test", b"x@a.test"])
        self.assertEqual([line["helo"] for line in lines], [b"[127.0.0.1]"] * 3 + [b"old.test"])
        self.assertEqual(
            {(line["name"], line["address"], line["by"]) for line in lines}, {(b"unknown", b"127.0.0.1", HOSTNAME.encode())}
        )
        self.assertEqual(len({line["id"] for line in lines}), 4)

    def test_many_on_one_connection_with_rset_between(self):
        s = self.session(self.start())
        for number in range(20):
            self.check(s.mail(f"x{number}@a.test"), 250)
        self.assertEqual(self.a.connections, 1)
        verbs = self.a.verbs()
        self.assertEqual(verbs[0], "EHLO")
        self.assertEqual(self.a.said("EHLO"), [f"EHLO {HOSTNAME}"])
        self.assertEqual(verbs[1:], (["MAIL", "RCPT", "BDAT", "RSET"] * 20)[:-1])

    def test_hundred_recipients_in_one_transaction(self):
        s = self.session(self.start())
        recipients = [f"x{number}@a.test" for number in range(100)]
        self.check(s.mail(recipients), 250)
        (message,) = self.a.messages
        self.assertEqual(message.recipients, [f"TO:<{r}>" for r in recipients])

    def test_null_sender(self):
        s = self.session(self.start())
        self.check(s.mail("x@a.test", sender=""), 250)
        self.assertTrue(self.a.messages[0].sender.upper().startswith("FROM:<>"))

    def test_pipelined_burst(self):
        s = self.session(self.start())
        one = b"MAIL FROM:<s@client.test>\r\nRCPT TO:<x@a.test>\r\nBDAT 14 LAST\r\nSubject: a\r\n\r\n"
        s.send(one * 30 + b"QUIT\r\n")
        replies = [s.read().code for _ in range(91)]
        self.assertEqual(replies, [250] * 90 + [221])
        self.assertEqual(len(self.a.messages), 30)

    def test_empty_body_and_body_without_final_crlf(self):
        for extensions, send, body, expected in (
            (ALL_EXTENSIONS, "bdat", b"", b""),
            ((), "bdat", b"", b""),
            ((), "data", b"", b""),
            (ALL_EXTENSIONS, "bdat", b"A: b\r\n\r\nend", b"A: b\r\n\r\nend"),
            ((), "bdat", b"A: b\r\n\r\nend", b"A: b\r\n\r\nend\r\n"),
            ((), "bdat", b"A: b\r\n\r\n.", b"A: b\r\n\r\n.\r\n"),
        ):
            with self.subTest(extensions=extensions, send=send, body=body):
                s = self.session(self.start(self.host(extensions)))
                s.envelope("x@a.test")
                self.check(getattr(s, send)(body), 250)
                self.assertEqual(behind_received(self.a.messages[0].content), expected)

    def test_chunks_of_every_size(self):
        s = self.session(self.start(self.host(PIPELINING_ONLY)))
        for chunk in (1, 2, 3, 7, len(BODY)):
            s.envelope("x@a.test")
            self.check(s.bdat(BODY, chunk), 250)
            self.assertEqual(behind_received(self.a.messages[-1].content), BODY)

    def test_a_large_message(self):
        body = b"Subject: large\r\n\r\n" + b"".join(b".%070d\r\n" % i for i in range(200_000))
        gateway = self.start(self.host(PIPELINING_ONLY))
        s = self.session(gateway)
        self.check(s.mail("x@a.test", body), 250)
        self.assertEqual(behind_received(self.a.messages[0].content), body)

    def test_hosts_without_pipelining_are_asked_step_by_step(self):
        said = []

        def rcpt(_):
            said.append(self.a.verbs())
            time.sleep(0.1)
            said.append(self.a.verbs())
            return "250 ok"

        self.a = self.host((), rcpt=rcpt)
        s = self.session(self.start(self.a))
        self.check(s.mail(["x@a.test", "y@a.test"]), 250)
        self.assertEqual([verbs[-1] for verbs in said], ["RCPT"] * 4)
        self.assertEqual(self.a.verbs()[:5], ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"])


class Refused(Delivery):
    def test_codes_as_they_pass(self):
        for host, told in (
            ("554 5.7.1 spam", ("554 5.7.1", "spam")),
            ("550 no code", ("550 5.0.0", "no code")),
            ("550 4.7.1 wrong class", ("550 5.0.0", None)),
            ("450 4.2.0 later", ("450 4.2.0", "later")),
            ("452 4.3.1 full", ("452 4.3.1", "full")),
            ("421 4.3.2 going down", ("451 4.3.2", "going down")),
            ("552 5.2.2 over quota", ("552 5.2.2", "over quota")),
        ):
            with self.subTest(host=host):
                s = self.session(self.start(self.host(body=host)))
                reply = s.mail("x@a.test")
                self.check(reply, told[0])
                if told[1]:
                    self.assertEqual(reply.text.split(" ", 1)[1], told[1])
                self.assertEqual(self.a.messages, [])
                self.check(s.command("NOOP"), 250)

    def test_mail_refused(self):
        for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, ()):
            for answer in (
                "550 5.7.1 not from you",
                "451 4.7.1 greylisted",
                "500 5.5.2 too long",
                "501 5.1.7 bad sender",
                "504 5.5.4 no",
            ):
                with self.subTest(extensions=extensions, answer=answer):
                    s = self.session(self.start(self.host(extensions, mail=answer)))
                    self.check(s.mail("x@a.test"), *answer.split(" ", 2))
                    self.a.mail = "250 ok"
                    self.check(s.mail("x@a.test"), 250)

    def test_the_only_recipient_refused(self):
        for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, ()):
            for answer, told in (
                ("550 5.1.1 unknown", "550 5.1.1 unknown"),
                ("452 4.2.2 full", "452 4.2.2 full"),
                ("552 5.2.2 full", "452 4.0.0 full"),
                ("421 4.3.0 gone", "451 4.3.0 gone"),
                ("500 5.5.2 what", "500 5.5.2 what"),
            ):
                with self.subTest(extensions=extensions, answer=answer):
                    s = self.session(self.start(self.host(extensions, rcpt=answer)))
                    reply = s.mail("x@a.test")
                    if answer.startswith("552"):
                        # The code becomes 452; the enhanced code's class no longer agrees.
                        self.check(reply, 452, "4.")
                    else:
                        self.assertEqual(str(reply), told)
                    self.assertEqual(self.a.messages, [])

    def test_lone_dot_when_354_came_though_all_were_refused(self):
        # With PIPELINING alone DATA rides behind RCPT; a host that says 354 all the same is owed the end, not the data.
        host = self.host(
            PIPELINING_ONLY, rcpt="550 5.1.1 unknown", data_needs_recipients=False, body="554 5.5.1 no recipients"
        )
        s = self.session(self.start(host))
        self.check(s.mail("x@a.test", BODY), 550, "5.1.1", "unknown")
        wait_for(lambda: host.seen, "the lone dot")
        self.assertEqual(host.seen[0].content, b"")

    def test_text_of_the_host(self):
        text = (
            "550-5.7.1 one\n550-5.7.1 "
            + "x" * 600
            + "\n"
            + "".join(f"550-5.7.1 line {n}\n" for n in range(3, 12))
            + "550 5.7.1 last"
        )
        s = self.session(self.start(self.host(body=text)))
        reply = s.mail("x@a.test")
        self.check(reply, 550)
        self.assertLessEqual(len(reply.lines), 8)
        self.assertEqual(reply.lines[0], "550-5.7.1 one")
        self.assertTrue(all(len(line) + 2 <= 512 for line in reply.lines), [len(line) for line in reply.lines])
        self.assertTrue(reply.lines[1].startswith("550-5.7.1 xxxx"))

    def test_odd_bytes_in_the_text(self):
        s = self.session(self.start(self.host(body="550 5.7.1 na\x01\x7f\xe9\tve")))
        self.check(s.mail("x@a.test"), 550, "5.7.1", "na????ve")

    def test_a_bare_code(self):
        s = self.session(self.start(self.host(body="550")))
        reply = s.mail("x@a.test")
        self.check(reply, 550, "5.0.0")

    def test_malformed_answers_close_the_connection(self):
        for answer in ("abc", "25 0", "250-ok\n251 other", "999 what", "2500 x"):
            with self.subTest(answer=answer):
                s = self.session(self.start(self.host(body=answer)))
                reply = s.mail("x@a.test")
                # Sent whole, and no answer that counts: unknown.
                self.check(reply, 451, "4.4.2")
                self.a.body = "250 ok"
                self.check(s.mail("x@a.test"), 250)
                self.assertEqual(self.a.connections, 2)


class Divided(Delivery):
    """Some recipients accepted, some refused."""

    def divided_host(self, extensions=ALL_EXTENSIONS, bad="550 5.1.1 unknown"):
        return self.host(extensions, rcpt=lambda p: bad if "bad" in p else "250 2.1.5 ok")

    def test_nobody_gets_it_then_the_refusal_comes_at_rcpt_once(self):
        for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, ()):
            with self.subTest(extensions=extensions):
                s = self.session(self.start(self.divided_host(extensions)))
                recipients = ["good1@a.test", "bad@a.test", "good2@a.test"]
                self.check(s.mail(recipients, BODY), 451, "4.3.0", "recipients were answered differently, try again")
                self.assertEqual(self.a.seen, [])
                # The next try: the refused one has its answer, the others are delivered.
                replies = s.envelope(recipients)
                self.assertEqual([r.code for r in replies], [250, 250, 550, 250])
                self.check(replies[2], 550, "5.1.1", "unknown")
                self.check(s.data(BODY), 250)
                (message,) = self.a.messages
                self.assertEqual(message.recipients, ["TO:<good1@a.test>", "TO:<good2@a.test>"])
                self.assertEqual(behind_received(message.content), BODY)
                # Given once: it is asked again now.
                self.check(s.envelope("bad@a.test")[-1], 250)
                self.check(s.data(BODY), 550, "5.1.1", "unknown")

    def test_the_next_try_may_write_the_addresses_otherwise(self):
        """A domain's case and a local part's quotes say nothing (product.md, section 1)."""
        for again in ("bad@A.TEST", '"bad"@a.test', "bad@a.test."):
            with self.subTest(again=again):
                s = self.session(self.start(self.divided_host()))
                self.check(s.mail(["good@a.test", "bad@a.test"], BODY), 451, "4.3.0")
                replies = s.envelope(["good@a.test", again])
                self.assertEqual([r.code for r in replies], [250, 250, 550])
                self.check(s.data(BODY), 250)

    def test_one_that_is_named_twice_has_its_answer_twice(self):
        """Or it would be divided again at each try, and the others never have it."""
        for twice in ("bad@a.test", "bad@A.TEST", '"bad"@a.test'):
            with self.subTest(twice=twice):
                s = self.session(self.start(self.divided_host()))
                recipients = ["bad@a.test", "good@a.test", twice]
                self.check(s.mail(recipients, BODY), 451, "4.3.0")
                self.assertEqual([r.code for r in s.envelope(recipients)], [250, 550, 250, 550])
                self.check(s.data(BODY), 250)
                self.assertEqual([each.recipients for each in self.a.messages], [["TO:<good@a.test>"]])
                self.check(s.envelope("bad@a.test")[-1], 250)  # another transaction

    def test_several_refused_each_has_its_own_answer(self):
        answers = {"bad1": "550 5.1.1 unknown", "bad2": "450 4.2.1 locked", "bad3": "552 5.2.2 full"}
        host = self.host(rcpt=lambda p: next((a for name, a in answers.items() if name in p), "250 ok"))
        s = self.session(self.start(host))
        recipients = ["good@a.test", "bad1@a.test", "bad2@a.test", "bad3@a.test"]
        self.check(s.mail(recipients), 451, "4.3.0")
        replies = s.envelope(recipients)
        self.assertEqual([r.code for r in replies], [250, 250, 550, 450, 452])
        self.check(s.data(BODY), 250)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<good@a.test>"])

    def test_all_refused(self):
        for answers, told in (
            (["550 5.1.1 one", "551 5.1.6 two"], "550 5.1.1 one"),
            (["550 5.1.1 one", "450 4.2.1 two", "451 4.2.2 three"], "450 4.2.1 two"),
        ):
            for extensions in (ALL_EXTENSIONS, PIPELINING_ONLY, ()):
                with self.subTest(answers=answers, extensions=extensions):
                    s = self.session(self.start(self.host(extensions, rcpt=lambda p: answers[int(p[4])])))
                    self.assertEqual(str(s.mail([f"{n}@a.test" for n in range(len(answers))])), told)
                    self.assertEqual(self.a.seen, [])
                    self.check(s.command("NOOP"), 250)

    def test_another_sender_or_recipient_is_not_concerned(self):
        s = self.session(self.start(self.divided_host()))
        self.check(s.mail(["good@a.test", "bad@a.test"]), 451, "4.3.0")
        self.check(s.envelope("bad@a.test", sender="other@client.test")[-1], 250)
        s.command("RSET")
        self.check(s.envelope("bad@b.test")[-1], 250)
        s.command("RSET")
        self.check(s.envelope("bad@a.test")[-1], 550, "5.1.1")

    def test_kept_by_client_network_unless_about_the_address(self):
        for bad, others_too in (
            ("550 5.1.1 unknown", True),
            ("452 4.2.2 full", True),
            ("550 5.7.1 not you", False),
            ("550 no code", False),
        ):
            with self.subTest(bad=bad):
                gateway = self.start(self.divided_host(bad=bad))
                first = self.session(gateway, source="127.0.1.1")
                self.check(first.mail(["good@a.test", "bad@a.test"]), 451, "4.3.0")
                other = self.session(gateway, source="127.0.2.1")
                self.check(other.envelope("bad@a.test")[-1], int(bad[:3]) if others_too else 250)
                if not others_too:
                    near = self.session(gateway, source="127.0.1.77")
                    self.check(near.envelope("bad@a.test")[-1], int(bad[:3]))

    def test_known_to_all_workers(self):
        gateway = self.start(self.divided_host(), workers=4)
        self.check(self.session(gateway).mail(["good@a.test", "bad@a.test"]), 451, "4.3.0")
        # Whichever worker takes these sessions, exactly one of them is told.
        codes = [self.session(gateway).envelope("bad@a.test")[-1].code for _ in range(16)]
        self.assertEqual(sorted(codes), [250] * 15 + [550])

    def test_the_body_waits_for_the_answers(self):
        host = self.host(rcpt=lambda _: (0.3, "250 ok"))
        s = self.session(self.start(host))
        s.envelope(["x@a.test", "y@a.test"])
        s.send(b"BDAT %d LAST\r\n" % len(BODY) + BODY)
        wait_for(lambda: len(host.said("RCPT")) == 1, "the first RCPT")
        self.assertEqual(host.said("BDAT"), [])
        self.check(s.read(), 250)
        self.assertEqual(len(host.messages), 1)


class Groups(Delivery):
    def test_second_group_is_asked_to_come_again(self):
        s = self.session(self.start())
        replies = s.envelope(["x@a.test", "y@b.test", "z@a.test"])
        self.assertEqual([r.code for r in replies], [250, 250, 452, 250])
        self.check(replies[2], 452, "4.5.3")
        self.check(s.data(BODY), 250)
        self.check(s.mail("y@b.test", BODY), 250)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<x@a.test>", "TO:<z@a.test>"])
        self.assertEqual(self.b.messages[0].recipients, ["TO:<y@b.test>"])

    def test_rules_decide_by_recipient(self):
        self.a, self.b = self.host(), self.host()
        rules = f"""
a.test a
#a.test b
one@a.test a
.sub.test b
sub.test a
direct.test {self.b.address}
gone.test reject:"went away"
later.test defer:"not yet"
[192.0.2.7] b always-relay
* reject:"no such domain here"
"""
        s = self.session(self.start(self.a, self.b, rules=rules))
        for recipient, host in (
            ("x@deep.er.a.test", self.a),
            ("x@a.test", self.b),
            ("ONE@A.TEST.", self.a),
            ("one+tag@a.test", self.a),
            ('"one"@a.test', self.a),
            ("x@sub.test", self.a),
            ("x@y.sub.test", self.b),
            ("x@direct.test", self.b),
            ("x@[192.0.2.7]", self.b),
        ):
            with self.subTest(recipient=recipient):
                before = len(host.messages)
                self.check(s.mail(recipient), 250)
                self.assertEqual(host.messages[before].recipients, [f"TO:<{recipient.removesuffix('.')}>"])
        for recipient, answer in (
            ("x@gone.test", "550 5.1.2"),
            ("x@later.test", "450 4.1.2"),
            ("x@nota.test", "550 5.7.1"),
            ("x@[192.0.2.8]", "550 5.7.1"),
            ("x@" + "a" * 64 + ".test", "553 5.1.3"),
        ):
            with self.subTest(recipient=recipient):
                self.check(s.envelope(recipient)[-1], answer)
                self.check(s.command("RSET"), 250)
        self.assertIn("went away", str(s.envelope("x@gone.test")[-1]))

    def test_relaying_denied(self):
        gateway = self.start(
            rules="a.test a\nb.test b restricted\n* a\n", relay={"networks": ["127.0.3.0/24"], "deny": ["127.0.3.9"]}
        )
        stranger, friend, denied = (
            self.session(gateway, source=source) for source in ("127.0.9.1", "127.0.3.1", "127.0.3.9")
        )
        for s in (stranger, denied):
            self.check(s.envelope("x@elsewhere.test")[-1], 550, "5.7.1", "<x@elsewhere.test>: relaying denied")
            self.check(s.command("RCPT TO:<x@b.test>"), 550, "5.7.1")
            self.check(s.command("RCPT TO:<x@a.test>"), 250)
        self.check(friend.mail("x@elsewhere.test"), 250)
        self.check(friend.mail("x@b.test"), 250)

    def test_routed_local_parts(self):
        gateway = self.start(relay={"networks": ["127.0.3.0/24"]})
        stranger, friend = self.session(gateway), self.session(gateway, source="127.0.3.1")
        stranger.command("MAIL FROM:<>")
        for local in ("a%b", "a!b", '"a@b"', '"a:b"', "/etc/x", "|prog", '"a\\@b"'):
            self.check(stranger.command(f"RCPT TO:<{local}@a.test>"), 553, "5.1.3")
        self.check(friend.mail('"a@b"@a.test'), 250)
        self.assertEqual(self.a.messages[0].recipients, ['TO:<"a@b"@a.test>'])

    def test_source_route_is_dropped(self):
        s = self.session(self.start())
        self.check(s.mail("@one.test,@two.test:x@a.test"), 250)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<x@a.test>"])

    def test_rewrite(self):
        s = self.session(self.start(rules="old.test a rewrite=new.test\n"))
        self.check(s.mail("X.y@old.test"), 250)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<X.y@new.test>"])

    def test_postmaster(self):
        s = self.session(self.start())
        self.check(s.envelope("Postmaster")[-1], 550, "5.1.1")
        s = self.session(self.start(delivery={"postmaster": "admin@a.test"}))
        for name in ("postmaster", "POSTMASTER", f"postmaster@{HOSTNAME}", "postmaster@[127.0.0.1]"):
            self.check(s.mail(name), 250)
            self.assertEqual(self.a.messages[-1].recipients, ["TO:<admin@a.test>"])

    def test_a_hundred_thousand_domains(self):
        domains = (ROOT / ".cache/domains.txt").read_text().split()
        rules = "".join(
            f"{d} {'a' if i % 2 else 'b'}{' always-relay' if '.' not in d else ''}\n" for i, d in enumerate(domains)
        )
        s = self.session(self.start(rules=rules))
        for i in range(0, len(domains), len(domains) // 50):
            host = self.a if i % 2 else self.b
            before = len(host.messages)
            self.check(s.mail(f"x@sub.{domains[i]}"), 250)
            self.assertEqual(len(host.messages), before + 1)
