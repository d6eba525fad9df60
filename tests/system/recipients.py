"""Recipients that do not exist are refused at RCPT: by a pool's list of those that do, and by asking its hosts."""

import json
import subprocess

from delivery import Delivery
from harness import POSTERN, STALL, wait_for
from peers import Aiosmtpd, Postfix

UNLISTED = "no such recipient here"


class PickyAiosmtpd(Aiosmtpd):
    """Knows good@ alone, and says so without enhanced codes."""

    def __init__(self):
        self.asked = []
        super().__init__()

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.asked.append(address)
        if not address.startswith("good@"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"


class Recipients(Delivery):
    def mail(self, session, recipient):
        """A message in a transaction of its own, whatever became of the one before."""
        session.command("RSET")
        return session.mail(recipient)

    def ready(self, gateway):
        wait_for(lambda: (gateway.folder / "admin.sock").exists() and gateway.ask("/ready").status == 200, "ready")
        return gateway


class Lists(Recipients):
    def listed(self, text, rules="a.test a\nb.test b\n", **settings):
        gateway = self.start(pool={"recipients_files": []}, rules=rules, **settings)
        (gateway.folder / "a.list").write_text(text)
        self.ready(gateway)
        configuration = gateway.config.read_text()
        gateway.config.write_text(configuration.replace("recipients_files = []", 'recipients_files = ["*.list"]'))
        done = gateway.reload()
        self.assertEqual(done.returncode, 0, done)
        return gateway

    def route(self, gateway, *arguments):
        return subprocess.run(
            [POSTERN, "route", "-c", gateway.config, *arguments], capture_output=True, text=True, timeout=30
        )

    def test_who_is_not_in_the_list_is_refused_at_rcpt_and_nobody_is_asked(self):
        gateway = self.listed('jane@a.test\n"john doe"@a.test\n')
        s = self.session(gateway)
        s.command("MAIL FROM:<s@client.test>")
        self.check(s.command("RCPT TO:<joe@a.test>"), 550, "5.1.1", UNLISTED)
        self.check(s.command("RCPT TO:<JANE+tag@A.test>"), 250)
        self.check(s.command('RCPT TO:<"john doe"@a.test>'), 250)
        self.check(s.command("RCPT TO:<joe@sub.a.test>"), 550, "5.1.1")
        self.check(s.command(f"RCPT TO:<joe+{'x' * 100}@a.test>"), 550, "5.1.1")
        self.check(s.command(f"RCPT TO:<jane+{'x' * 100}@a.test>"), 250)
        self.check(s.data(b"Subject: x\r\n\r\nx\r\n"), 250)
        self.check(self.mail(s, "anyone@b.test"), 250)
        self.assertEqual(len(self.a.messages[0].recipients), 3)
        (line,) = wait_for(lambda: gateway.log(event="rejected", to=["joe@a.test"]), "the line of the log")
        self.assertIn("main.rules:1", line["rule"])

    def test_a_line_for_a_whole_domain(self):
        gateway = self.listed("# all of it\n@a.test\n")
        s = self.session(gateway)
        self.check(self.mail(s, "anyone@a.test"), 250)
        self.check(self.mail(s, "anyone@sub.a.test"), 550, "5.1.1")

    def test_a_reload_takes_the_list_anew(self):
        gateway = self.listed("jane@a.test\n")
        s = self.session(gateway)
        self.check(self.mail(s, "joe@a.test"), 550, "5.1.1")
        (gateway.folder / "a.list").write_text("jane@a.test\njoe@a.test\n")
        done = gateway.reload()
        self.assertIn("recipients of a: 2, before 1", done.stdout)
        self.check(self.mail(s, "joe@a.test"), 250)
        self.check(self.mail(s, "jane@a.test"), 250)

    def test_what_is_wrong_in_a_list_changes_nothing(self):
        gateway = self.listed("jane@a.test\n")
        (gateway.folder / "a.list").write_text("joe@a.test\njoe\n")
        done = gateway.reload()
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{gateway.folder}/a.list:2:1: 'joe' is no recipient; allowed: ", done.stdout + done.stderr)
        checked = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=30)
        self.assertEqual(checked.returncode, 1)
        self.assertIn("a.list:2:1: ", checked.stderr)
        s = self.session(gateway)
        self.check(self.mail(s, "jane@a.test"), 250)
        self.check(self.mail(s, "joe@a.test"), 550, "5.1.1")
        (gateway.folder / "a.list").unlink()
        done = gateway.reload()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout + done.stderr, r'postern\.toml:\d+:\d+: .*"\*\.list" matches no file')

    def test_many_recipients_are_gone_only_by_force(self):
        gateway = self.listed("".join(f"u{i}@a.test\n" for i in range(1000)))
        (gateway.folder / "a.list").write_text("".join(f"u{i}@a.test\n" for i in range(500)))
        done = gateway.reload()
        self.assertEqual(done.returncode, 1)
        self.assertIn("500 recipients instead of 1000", done.stdout + done.stderr)
        s = self.session(gateway)
        self.check(self.mail(s, "u700@a.test"), 250)
        self.assertEqual(gateway.reload("--force").returncode, 0)
        self.check(self.mail(s, "u700@a.test"), 550, "5.1.1")

    def test_route_explains_it(self):
        gateway = self.listed("jane@a.test\n")
        done = self.route(gateway, "joe@a.test")
        self.assertEqual(done.returncode, 0)
        self.assertIn(f"recipient is not in {gateway.folder}/a.list", done.stdout)
        self.assertIn(f"550 5.1.1 {UNLISTED}", done.stdout)
        self.assertNotIn("recipient is not in", self.route(gateway, "jane@a.test").stdout)
        for live in ([], ["--live"]):
            (joe, jane, bob) = self.explained(gateway, *live, "joe@a.test", "jane@a.test", "bob@b.test")
            self.assertFalse(joe["recipients"]["listed"])
            self.assertEqual(joe["recipients"]["files"], [f"{gateway.folder}/a.list"])
            self.assertTrue(jane["recipients"]["listed"])
            self.assertIsNone(bob["recipients"])

    def explained(self, gateway, *arguments):
        told = json.loads(self.route(gateway, "--json", *arguments).stdout)
        return told["addresses"] if isinstance(told, dict) else told


class Verify(Recipients):
    """The pool's hosts are asked at RCPT."""

    def asking(self, host=None, pool=None, **settings):
        def rcpt(parameter):
            return "250 2.1.5 ok" if "good" in parameter.lower() else "550 5.1.1 never heard of her"

        gateway = self.start(host or self.host(rcpt=rcpt), pool={"verify": "rcpt", **(pool or {})}, **settings)
        return self.ready(gateway)

    def test_the_hosts_answer_is_given_at_rcpt(self):
        gateway = self.asking()
        s = self.session(gateway)
        s.command("MAIL FROM:<s@client.test>")
        self.check(s.command("RCPT TO:<nobody@a.test>"), 550, "5.1.1", "never heard of her")
        self.check(s.command("RCPT TO:<good@a.test>"), 250)
        self.check(s.command("RCPT TO:<GOOD@A.test>"), 250)
        self.check(s.data(b"Subject: x\r\n\r\nx\r\n"), 250)
        self.assertEqual(self.a.said("MAIL")[:2], ["MAIL FROM:<>"] * 2)
        self.assertEqual(len(self.a.messages), 1)
        self.assertEqual(self.a.messages[0].recipients, ["TO:<good@a.test>", "TO:<GOOD@A.test>"])
        # One question each; then what is known is not asked again.
        self.check(self.mail(s, "nobody@a.test"), 550, "5.1.1", "never heard of her")
        self.assertEqual(len(self.a.said("RCPT TO:<nobody@")), 1)
        numbers = gateway.numbers()
        self.assertEqual(numbers["postern_verify_questions_total"], 2)
        self.assertEqual(numbers["postern_verify_kept_answers_total"], 2)
        # The other pool asks nobody.
        self.check(self.mail(s, "nobody@b.test"), 250)
        self.assertEqual(len(self.b.said("RCPT")), 1)

    def test_a_command_as_long_as_may_be(self):
        gateway = self.asking()
        s = self.session(gateway)
        s.command("MAIL FROM:<s@client.test>")
        for size in range(2_020, 2_049):  # octets of the line, with its end
            with self.subTest(size=size):
                path = f"<nobody{size}@a.test>"
                self.check(s.command("RCPT TO:" + " " * (size - len(path) - 10) + path), 550, "5.1.1", "never heard of her")
                self.check(s.command("RCPT TO:" + " " * (size - len(path) - 10) + path.replace("nobody", "good")), 250)
        gateway.check_running()
        self.check(s.data(b"Subject: x\r\n\r\nx\r\n"), 250)

    def test_pipelined_recipients_have_their_answers_in_order(self):
        gateway = self.asking()
        s = self.session(gateway)
        s.send(
            "MAIL FROM:<s@client.test>\r\nRCPT TO:<good1@a.test>\r\nRCPT TO:<bad@a.test>\r\nRCPT TO:<good2@a.test>\r\nDATA\r\n"
        )
        for code in (250, 250, 550, 250, 354):
            self.check(s.read(), code)
        s.send("Subject: x\r\n\r\nx\r\n.\r\n")
        self.check(s.read(), 250)
        self.assertEqual(len(self.a.messages[0].recipients), 2)

    def test_many_askers_at_once_are_one_question(self):
        for workers in (1, 2):
            with self.subTest(workers=workers):
                host = self.host(rcpt=lambda _: (0.5, "550 5.1.1 no"))
                gateway = self.asking(host, workers=workers)
                sessions = [self.session(gateway) for _ in range(30)]
                for s in sessions:
                    self.check(s.command("MAIL FROM:<s@client.test>"), 250)
                for s in sessions:
                    s.send("RCPT TO:<nobody@a.test>\r\n")
                for s in sessions:
                    self.check(s.read(), 550, "5.1.1", "no")
                self.assertEqual(len(host.said("RCPT")), 1)

    def test_a_sender_that_goes_meanwhile(self):
        host = self.host(rcpt=lambda _: (0.5, "250 2.1.5 ok"))
        gateway = self.asking(host)
        for end in ("close", "reset"):
            s = self.session(gateway)
            s.command("MAIL FROM:<s@client.test>")
            s.send("RCPT TO:<good@a.test>\r\n")
            wait_for(lambda: host.said("RCPT"), "the question")
            getattr(s, end)()
        open_now = f'postern_connections_open{{listener="127.0.0.1:{gateway.port}"}}'
        wait_for(lambda: gateway.numbers()[open_now] == 0, "the senders' end")
        s = self.session(gateway)
        self.check(self.mail(s, "good@a.test"), 250)

    def test_a_host_that_is_down(self):
        gateway = self.asking()
        s = self.session(gateway)
        self.check(self.mail(s, "good@a.test"), 250)
        self.a.close()
        self.check(self.mail(s, "other@a.test"), 450, "4.1.1")
        (line,) = wait_for(lambda: gateway.log(event="recipients unverified"), "the line of the log")
        self.assertEqual(line["pool"], "a")
        # What is known holds; the message itself then finds no host.
        self.check(self.mail(s, "good@a.test"), 451, "4.4.1")

    def test_an_unknown_one_may_be_accepted(self):
        gateway = self.asking(pool={"verify_unknown": "accept"})
        self.a.close()
        s = self.session(gateway)
        for reply in s.envelope("anyone@a.test"):
            self.check(reply, 250)

    def test_a_slow_host(self):
        host = self.host(rcpt=lambda p: (2, "250 2.1.5 ok") if "slow" in p else "250 2.1.5 ok")
        gateway = self.asking(host)
        slow, quick = self.session(gateway), self.session(gateway)
        slow.command("MAIL FROM:<s@client.test>")
        slow.send("RCPT TO:<slow@a.test>\r\n")
        wait_for(lambda: host.said("RCPT"), "the question")
        # Who is in no hurry keeps nobody else waiting.
        self.check(self.mail(quick, "anyone@b.test"), 250)
        self.check(slow.read(), 250)

    def test_a_dictionary_attack_asks_so_many_and_no_more(self):
        gateway = self.asking()
        s = self.session(gateway)
        self.check(self.mail(s, "good@a.test"), 250)
        answers = []
        for i in range(0, 1000, 50):
            s = self.session(gateway)  # more in one of them come slowly
            s.command("MAIL FROM:<s@client.test>")
            s.send("".join(f"RCPT TO:<guess{n}@a.test>\r\n" for n in range(i, i + 50)))
            answers += [str(s.read())[:9] for _ in range(50)]
        self.assertEqual(set(answers), {"550 5.1.1", "450 4.1.1"})
        self.assertGreater(answers.count("450 4.1.1"), 800)
        asked = len(self.a.said("RCPT TO:<guess"))
        self.assertGreaterEqual(asked, 99)
        self.assertLess(asked, 150)
        # What is known is known, and mail goes on.
        self.check(s.command("RCPT TO:<good@a.test>"), 250)
        self.check(s.data(b"Subject: x\r\n\r\nx\r\n"), 250)
        self.assertGreater(gateway.numbers()["postern_verify_budget_spent_total"], 800)

    def test_mail_teaches_too(self):
        gone = set()

        def rcpt(parameter):
            return "550 5.1.1 gone" if parameter in gone else "250 2.1.5 ok"

        host = self.host(rcpt=rcpt)
        gateway = self.asking(host)
        s = self.session(gateway)
        self.check(self.mail(s, "good@a.test"), 250)
        gone.add("TO:<good@a.test>")
        # It is believed to be there, until the message hears otherwise.
        self.check(self.mail(s, "good@a.test"), 550, "5.1.1", "gone")
        asked = len(host.said("RCPT"))
        s.command("MAIL FROM:<s@client.test>")
        self.check(s.command("RCPT TO:<good@a.test>"), 550, "5.1.1", "gone")
        self.assertEqual(len(host.said("RCPT")), asked)

    def test_reload_turns_it_on_and_off(self):
        gateway = self.asking(pool={"verify": "none"})
        s = self.session(gateway)
        for reply in s.envelope("bad@a.test"):
            self.check(reply, 250)
        s.command("RSET")
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace('verify = "none"', 'verify = "rcpt"'))
        self.assertEqual(gateway.reload().returncode, 0)
        s.command("MAIL FROM:<s@client.test>")
        self.check(s.command("RCPT TO:<bad@a.test>"), 550, "5.1.1")
        s.command("RSET")
        gateway.config.write_text(text)
        self.assertEqual(gateway.reload().returncode, 0)
        for reply in s.envelope("bad@a.test"):
            self.check(reply, 250)

    def test_reload_while_one_waits(self):
        host = self.host(rcpt=lambda _: (1, "550 5.1.1 no"))
        gateway = self.asking(host, rules="a.test a\nx.test a\n")
        s = self.session(gateway)
        s.command("MAIL FROM:<s@client.test>")
        s.send("RCPT TO:<nobody@a.test>\r\n")
        wait_for(lambda: host.said("RCPT"), "the question")
        gateway.write_rules("a.test b\n")  # the pool goes
        self.assertEqual(gateway.reload().returncode, 0)
        self.check(s.read(), 550, "5.1.1", "no")
        self.check(s.command("RSET"), 250)
        self.check(self.mail(s, "nobody@a.test"), 250)
        self.assertEqual(len(self.b.messages), 1)

    def test_it_stops_while_one_waits(self):
        host = self.host(rcpt=STALL)
        gateway = self.asking(host, timeouts={"shutdown_grace": "500 ms"})
        s = self.session(gateway)
        s.command("MAIL FROM:<s@client.test>")
        s.send("RCPT TO:<nobody@a.test>\r\n")
        wait_for(lambda: host.said("RCPT"), "the question")
        self.assertEqual(gateway.close(), 0)
        self.check(s.read(), 421, "4.3.2")

    def test_postfix_and_aiosmtpd(self):
        postfix = Postfix(self.place, virtual_mailbox_maps="inline:{good@a.test=maildir/}")
        aiosmtpd = self.place.add(PickyAiosmtpd())
        hosts = {"a": postfix, "b": aiosmtpd}
        gateway = self.gateway("a.test a\nb.test b\n", {n: {"hosts": h.address, "verify": "rcpt"} for n, h in hosts.items()})
        for name, host in hosts.items():
            with self.subTest(host=name):
                s = self.session(gateway)
                for _ in range(2):
                    s.command("MAIL FROM:<s@client.test>")
                    self.check(s.command(f"RCPT TO:<nobody@{name}.test>"), 550, "5.1.1" if name == "a" else "5.0.0")
                    self.check(s.command(f"RCPT TO:<good@{name}.test>"), 250)
                    self.check(s.data(b"Subject: x\r\n\r\nx\r\n"), 250)
                wait_for(lambda: host.count() == 2, "the messages")
        self.assertEqual(gateway.numbers()["postern_verify_questions_total"], 4)
        self.assertEqual(aiosmtpd.asked.count("nobody@b.test"), 1)
