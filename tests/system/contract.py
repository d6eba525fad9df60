"""Sentences of the contract that no other test holds Postern to."""

import pathlib
import signal
import subprocess

from harness import ALL_EXTENSIONS, POSTERN, SystemTest, wait_for

RULES = "a.test a\nb\u00fccher.test a\n"


class ContractTest(SystemTest):
    def start(self, rules=RULES, host=None, **settings):
        self.a = host or self.host()
        return self.gateway(rules, {"a": self.a.address}, **settings)

    def check(self, reply, code, enhanced=""):
        self.assertEqual(str(reply)[: 4 + len(enhanced)], f"{code} {enhanced}")

    def refusal(self, gateway, reply):
        """The log's one line about it."""
        lines = lambda: [line for line in gateway.log(event="rejected") if line["reply"].startswith(reply)]
        wait_for(lines, f"a line about {reply}")
        self.assertEqual(len(lines()), 1)
        return lines()[0]


class Postmaster(ContractTest):
    """Where delivery.postmaster is not set, nobody gets by a restricted rule in the postmaster's name."""

    def test_no_way_through_restricted_rules(self):
        s = self.session(self.start("* a\n"))
        s.command("MAIL FROM:<x@client.test>")
        for address in ("postmaster", "postmaster@gw.test", '"PostMaster"@gw.test', "postmaster@[127.0.0.1]"):
            self.check(s.command(f"RCPT TO:<{address}>"), 550, "5.1.1")

    def test_the_hostnames_own_rule_holds(self):
        s = self.session(self.start("gw.test a\n"))
        self.check(s.mail("postmaster@gw.test"), 250)


class Connections(ContractTest):
    def test_a_listeners_own_limit(self):
        gateway = self.start(listener={"connections": 1})
        first = wait_for(lambda: self.admitted(gateway), "the connection that waited for the start to be gone")
        refused = self.session(gateway, ehlo=None)
        self.check(refused.greeting, 421, "4.7.0")
        self.assertEqual(refused.rest(), b"")
        first.command("QUIT")
        first.close()
        wait_for(lambda: self.admitted(gateway), "a free place")

    def admitted(self, gateway):
        session = self.session(gateway, ehlo=None)
        return session if session.greeting.code == 220 else None


class Refusals(ContractTest):
    """Each refusal has a line that says whose mail it was."""

    def test_a_rules_refusal_names_the_rule_and_the_generation(self):
        gateway = self.start("a.test a\ngone.test reject\nours.test a restricted\n")
        s = self.session(gateway)
        s.command("MAIL FROM:<x@client.test>")
        self.check(s.command("RCPT TO:<y@gone.test>"), 550, "5.1.2")
        self.check(s.command("RCPT TO:<y@ours.test>"), 550, "5.7.1")
        self.check(s.command("RCPT TO:<y@nowhere.test>"), 550, "5.7.1")
        self.check(s.command("RCPT TO:<bad"), 501)
        lines = wait_for(lambda: (found := gateway.log(event="rejected"))[3:] and found, "four lines")
        self.assertEqual([line.get("rule", "-").rpartition(":")[2] for line in lines], ["2", "3", "-", "-"])
        self.assertEqual([line["generation"] for line in lines], [1, 1, 1, 1])

    def test_addresses_in_the_log_are_what_stands_in_the_brackets(self):
        gateway = self.start("a.test a\n")
        s = self.session(gateway)
        self.check(s.command("MAIL FROM:<a@b.test> NONE=<c@d.test>"), 555)
        s.command("MAIL FROM:<a@b.test>")
        self.check(s.command('RCPT TO:<"x>y"@nowhere.test> ORCPT=rfc822;<a@b.c>'), 550)
        lines = wait_for(lambda: (found := gateway.log(event="rejected"))[1:] and found, "two lines")
        self.assertEqual(lines[0]["from"], "a@b.test")
        self.assertEqual(lines[1]["to"], ['"x>y"@nowhere.test'])

    def test_of_a_message(self):
        for settings, body, reply in (
            ({"limits": {"message_size": "100 B"}}, b"x" * 200 + b"\r\n", "552 5.3.4"),
            ({"limits": {"received_max": 2}}, b"Received: x\r\n" * 3 + b"\r\n", "554 5.4.6"),
            ({"listener": {"bare_newline": "reject"}}, b"a\nb\r\n", "550 5.5.2"),
            ({"limits": {"body_memory": "1 MiB"}}, b"x" * 78 * 4000 + b"\r\n", "452 4.3.1"),
        ):
            for send in ("data", "bdat"):
                with self.subTest(reply=reply, send=send):
                    gateway = self.start(**settings)
                    s = self.session(gateway)
                    s.envelope(["x@a.test", "y@a.test"], sender="z@client.test")
                    self.check(getattr(s, send)(body), *reply.split())
                    self.check(s.command("NOOP"), 250)
                    line = self.refusal(gateway, reply)
                    self.assertTrue(line["id"])
                    self.assertEqual((line["from"], line["to"]), ("z@client.test", ["x@a.test", "y@a.test"]))

    def test_of_a_cut(self):
        gateway = self.start(timeouts={"data": "300 ms"})
        s = self.session(gateway)
        s.envelope("x@a.test", sender="z@client.test")
        s.send("DATA\r\nhello\r\n")
        self.assertIn(b"421 4.4.2", s.rest())
        line = self.refusal(gateway, "421 4.4.2")
        self.assertEqual((line["from"], line["to"]), ("z@client.test", ["x@a.test"]))

    def test_of_mail_in_lower_case_and_in_a_transaction(self):
        gateway = self.start()
        s = self.session(gateway)
        self.check(s.command("mail from:<a@b..test>"), 553, "5.1.7")
        line = self.refusal(gateway, "553 5.1.7")
        self.assertEqual((line["from"], line.get("to")), ("a@b..test", None))
        s.envelope([], sender="z@client.test")
        self.check(s.command("MAIL FROM:<other@client.test>"), 503, "5.5.1")
        line = self.refusal(gateway, "503 5.5.1")
        self.assertEqual((line["from"], line.get("to")), ("z@client.test", None))


class Internationalized(ContractTest):
    """What goes to a host without SMTPUTF8, and what does not."""

    def test_only_the_domain(self):
        for extensions in (("PIPELINING", "8BITMIME"), ()):
            s = self.session(self.start(host=self.host(extensions=extensions)))
            s.envelope("x@b\u00fccher.test", parameters=" SMTPUTF8")
            self.check(s.data(b"Subject: x\r\n\r\n"), 250)
            self.assertEqual(self.a.messages[0].recipients, ["TO:<x@xn--bcher-kva.test>"])
            self.assertIn(b" for <x@xn--bcher-kva.test>;", self.a.messages[0].content)

    def test_only_the_senders_domain(self):
        for extensions in (("PIPELINING", "8BITMIME"), ()):
            s = self.session(self.start(host=self.host(extensions=extensions)))
            for _ in range(2):  # the host is not known yet, and known
                s.envelope("x@a.test", sender="y@b\u00fccher.test", parameters=" SMTPUTF8")
                self.check(s.data(b"Subject: x\r\n\r\n"), 250)
            self.assertTrue(all(m.sender.startswith("FROM:<y@xn--bcher-kva.test>") for m in self.a.messages), self.a.messages)
        s = self.session(self.start(host=self.host(extensions=ALL_EXTENSIONS)))
        s.envelope("x@a.test", sender="y@b\u00fccher.test", parameters=" SMTPUTF8")
        self.check(s.data(b"Subject: x\r\n\r\n"), 250)
        self.assertIn("y@b\u00fccher.test", self.a.messages[0].sender)
        self.assertIn("SMTPUTF8", self.a.messages[0].sender)

    def test_said_at_rcpt_once_it_is_known(self):
        for extensions in (("8BITMIME",), ()):
            s = self.session(self.start(host=self.host(extensions=extensions)))
            s.envelope("\u00fc@a.test", parameters=" SMTPUTF8")
            self.check(s.data(b"Subject: x\r\n\r\n"), 554, "5.6.9")
            self.check(s.envelope("\u00fc@a.test", parameters=" SMTPUTF8")[-1], 553, "5.6.7")
            s.command("RSET")
            self.check(s.envelope("x@a.test", sender="\u00fc@client.test", parameters=" SMTPUTF8")[-1], 553, "5.6.7")
            s.command("RSET")
            self.check(s.mail("x@a.test", parameters=" SMTPUTF8"), 250)
            self.assertEqual(len(self.a.messages), 1)

    def test_not_said_of_a_host_that_has_it(self):
        s = self.session(self.start(host=self.host(extensions=ALL_EXTENSIONS)))
        for _ in range(2):
            self.check(s.mail("\u00fc@a.test", parameters=" SMTPUTF8"), 250)


class Check(ContractTest):
    def test_errors_of_configuration_and_rules_in_one_go(self):
        folder = pathlib.Path(self.place.subfolder("check"))
        (folder / "p.toml").write_text(
            'bogus = 1\n[[listener]]\naddress = "127.0.0.1:2525"\n[rules]\nfiles = ["r.rules", "none.rules"]\n'
            '[pool.a]\nhosts = ["127.0.0.1:25"]\nconnections = -1\n'
        )
        (folder / "r.rules").write_text("x.test a\n*.y.test a\n\nz.test nopool\n")
        ended = subprocess.run([POSTERN, "check", "-c", "p.toml"], cwd=folder, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        places = [line.split(": ")[0] for line in ended.stderr.splitlines() if ".toml:" in line or ".rules:" in line]
        for place in ("p.toml:1:1", "p.toml:5:21", "p.toml:8:15", "r.rules:2:1", "r.rules:4:8"):
            self.assertTrue(any(p.endswith(place) for p in places), f"{place}: {ended.stderr}")

    def test_small_limits_are_limits(self):
        s = self.session(self.start(limits={"message_size": "20 B"}))
        self.assertIn("SIZE 20", s.extensions[1][4:] + s.extensions[0][4:])
        self.check(s.mail("x@a.test", b"x" * 18 + b"\r\n"), 250)
        self.check(s.mail("x@a.test", b"x" * 19 + b"\r\n"), 552, "5.3.4")
        self.check(s.command("MAIL FROM:<> SIZE=21"), 552, "5.3.4")
        self.check(s.command("MAIL FROM:<> SIZE=20"), 250)


class Shutdown(ContractTest):
    def test_what_stands_behind_an_owed_answer_does_not_hold_it_up(self):
        text = "\n".join(f"250{'-' if n < 8 else ' '}2.0.0 {'x' * 480}" for n in range(1, 9))
        for answer, last in (("250 2.0.0 taken", b"421 4.3.2"), (text, b"250 2.0.0 x")):
            host = self.host(body=(2, answer))
            gateway = self.start(host=host, timeouts={"shutdown_grace": "300 ms"})
            s = self.session(gateway)
            s.envelope("x@a.test")
            self.check(s.command("DATA"), 354)
            s.send("hello\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@a.test>\r\n")
            wait_for(lambda: host.seen, "the message at the host")
            gateway.signal(signal.SIGTERM)
            said = s.rest().splitlines()
            self.assertTrue(said[0].startswith(b"250"), said)
            self.assertTrue(said[-1].startswith(last), said)
            self.assertEqual(gateway.child.wait(10), 0)
