"""Who may relay: networks, listeners, names and passwords. Senders are smtplib, swaks, curl and bare sessions, over TLS."""

import base64
import contextlib
import crypt
import re
import smtplib
import subprocess
import threading
import time

import peers
from harness import HOSTNAME, LOOPBACK, POSTERN, SystemTest, password_file, wait_for
from tls import TlsTest

PASSWORD = "correct horse battery staple"
BODY = b"Subject: hello\r\n\r\ntext\r\n"
DENIED = "550 5.7.1 <x@a.test>: relaying denied"


def plain(name, password):
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


class AuthTest(TlsTest):
    """A gateway whose rule for a.test is restricted, before one smart host; anna and bert have passwords."""

    def start(self, tls="starttls", listener=None, rules="a.test a restricted\nopen.test a\n", **settings):
        self.passwords = password_file(self.place.folder, [("anna", PASSWORD), ("bert@example.net", "tr0ub4dor")])
        self.certificate = self.authority.issue(HOSTNAME)
        return self.gateway(
            rules,
            {"a": self.a.address},
            listener={"tls": tls, "auth_file": str(self.passwords), **(listener or {})},
            tls={"certificates": [self.certificate]},
            **settings,
        )

    def login(self, session, name="anna", password=PASSWORD):
        return session.command(f"AUTH PLAIN {plain(name, password)}")

    def secured(self, gateway, **options):
        return self.secure(self.session(gateway, **options))


class Relaying(AuthTest):
    def test_who_has_authenticated_may_use_restricted_rules(self):
        gateway = self.start()
        session = self.secured(gateway)
        self.assertEqual(str(session.mail("x@a.test")), DENIED)
        session.command("RSET")
        self.assertEqual(str(self.login(session))[:9], "235 2.7.0")
        self.assertEqual(session.mail("x@a.test", BODY).code, 250)
        self.assertIn(b" with ESMTPSA id ", self.a.messages[0].content.split(b"\r\n")[0])
        wait_for(lambda: gateway.log(event="delivered"), "the log's line")
        self.assertEqual(gateway.log(event="delivered")[0]["login"], "anna")
        (refused,) = gateway.log(event="rejected")
        self.assertNotIn("login", refused)
        numbers = gateway.numbers()
        logins = {name: number for name, number in numbers.items() if name.startswith("postern_logins_total") and number}
        self.assertEqual(list(logins.values()), [1])
        self.assertIn('class="2xx"', list(logins)[0])

    def test_without_it_the_message_says_only_that_it_came_through_tls(self):
        session = self.secured(self.start())
        self.assertEqual(session.mail("x@open.test", BODY).code, 250)
        self.assertIn(b" with ESMTPS id ", self.a.messages[0].content.split(b"\r\n")[0])

    def test_denied_networks_come_first(self):
        for trust in ({}, {"trusted": True}, {"networks": ["127.0.0.0/8"]}):
            gateway = self.start(listener={"deny": ["127.0.0.2/32"], **trust})
            session = self.secured(gateway, source="127.0.0.2")
            self.assertEqual(self.login(session).code, 235)
            self.assertEqual(str(session.mail("x@a.test")), DENIED, trust)
            session.command("RSET")
            self.assertEqual(session.mail("x@open.test", BODY).code, 250, "never for always-relay rules")
            other = self.secured(gateway, source="127.0.0.3")
            self.assertEqual(other.mail("x@a.test").code, 250 if trust else 550)
            other.command("RSET")
            self.assertEqual(self.login(other).code, 235)
            self.assertEqual(other.mail("x@a.test").code, 250)

    def test_soft_reject(self):
        session = self.secured(self.start(relay={"soft_reject": True}))
        self.assertEqual(str(session.mail("x@a.test")), "450 4.7.1 <x@a.test>: relaying denied")

    def test_routed_local_parts(self):
        gateway = self.start()
        session = self.secured(gateway)
        for address in ("x%other.test@a.test", "x!y@open.test", '"x@other.test"@open.test', "/etc/passwd@open.test", "|x@open.test"):
            session.command("MAIL FROM:<s@client.test>")
            self.assertEqual(str(session.command(f"RCPT TO:<{address}>"))[:9], "553 5.1.3", address)
            session.command("RSET")
        self.login(session)
        self.assertEqual(session.mail("x%other.test@a.test").code, 250, "from who is trusted")
        permissive = self.secured(self.start(relay={"routed_local_parts": True}))
        self.assertEqual(permissive.mail("x%other.test@open.test").code, 250)


class Authentication(AuthTest):
    def test_only_under_tls(self):
        gateway = self.start()
        session = self.session(gateway)
        self.assertNotIn("AUTH", " ".join(session.extensions))
        self.assertEqual(str(self.login(session))[:10], "538 5.7.11")
        self.assertEqual(str(session.command("MAIL FROM:<a@b.test> AUTH=<>"))[:3], "555")
        self.secure(session)
        self.assertIn("250 AUTH PLAIN LOGIN", [line[:3] + " " + line[4:] for line in session.extensions])
        self.assertEqual(self.login(session).code, 235)
        self.assertEqual(str(self.login(session))[:9], "503 5.5.1")

    def test_a_listener_without_a_file(self):
        gateway = self.gateway(
            "a.test a restricted\n", {"a": self.a.address}, listener={"tls": "starttls"},
            tls={"certificates": [self.authority.issue(HOSTNAME)]},
        )  # fmt: skip
        session = self.secured(gateway)
        self.assertNotIn("AUTH", " ".join(session.extensions))
        self.assertIn(self.login(session).code, (500, 502, 503))

    def test_implicit_tls(self):
        session = self.implicit(self.start("implicit"))
        self.assertEqual(session.command("AUTH LOGIN").text, "VXNlcm5hbWU6")
        self.assertEqual(session.command(base64.b64encode(b"bert@example.net").decode()).text, "UGFzc3dvcmQ6")
        self.assertEqual(session.command(base64.b64encode(b"tr0ub4dor").decode()).code, 235)
        self.assertEqual(session.mail("x@a.test", BODY).code, 250)

    def test_smtplib(self):
        gateway = self.start()
        for mechanism in ("PLAIN", "LOGIN"):
            client = self.enterContext(smtplib.SMTP(LOOPBACK, gateway.port, "client.test"))
            client._host = HOSTNAME
            client.starttls(context=self.context())
            client.ehlo()
            client.esmtp_features["auth"] = mechanism
            client.login("anna", PASSWORD)
            client.sendmail("s@client.test", ["x@a.test"], BODY)
        wrong = self.enterContext(smtplib.SMTP(LOOPBACK, gateway.port, "client.test"))
        wrong._host = HOSTNAME
        wrong.starttls(context=self.context())
        with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
            wrong.login("anna", "wrong")
        self.assertEqual(refused.exception.smtp_code, 535)
        self.assertEqual(len(self.a.messages), 2)

    def test_swaks(self):
        gateway = self.start()
        for mechanism in ("PLAIN", "LOGIN"):
            peers.run_client(
                *["swaks", "--server", f"{LOOPBACK}:{gateway.port}", "--helo", "swaks.test", "--from", "sender@client.test"],
                *["--to", "x@a.test", "--silent", "2", "--tls", "--tls-verify", "--tls-ca-path", str(self.authority.file)],
                *["--auth", mechanism, "--auth-user", "anna", "--auth-password", PASSWORD],
            )
        self.assertEqual(len(self.a.messages), 2)

    def test_curl(self):
        mail = self.place.folder / "mail"
        mail.write_bytes(BODY)
        for tls, scheme in (("starttls", "smtp"), ("implicit", "smtps")):
            gateway = self.start(tls)
            peers.run_client(
                *["curl", "-sS", "--ssl-reqd", "--cacert", str(self.authority.file), "--user", f"anna:{PASSWORD}"],
                *["--resolve", f"{HOSTNAME}:{gateway.port}:{LOOPBACK}", f"{scheme}://{HOSTNAME}:{gateway.port}/curl.test"],
                *["--mail-from", "sender@client.test", "--mail-rcpt", "x@a.test", "-T", str(mail)],
            )
        self.assertEqual(len(self.a.messages), 2)


class WrongPasswords(AuthTest):
    def test_are_delayed_then_not_looked_at_and_others_are_not_hurt(self):
        gateway = self.start()
        spent = []
        for number in range(6):
            session = self.secured(gateway)
            began = time.monotonic()
            self.assertEqual(str(self.login(session, password=f"guess {number}"))[:9], "535 5.7.8")
            spent.append(time.monotonic() - began)
        self.assertLess(max(spent[:3]), 0.9)
        self.assertGreater(spent[3], 0.9)
        self.assertGreater(spent[5], spent[3])

        answers = []

        def guess():
            session = self.secured(gateway)
            with contextlib.suppress(OSError):
                answers.append(self.login(session, password="guess").code)

        threads = [threading.Thread(target=guess) for _ in range(12)]
        for thread in threads:
            thread.start()
        # Meanwhile: another client, right away; and a name that is none from this one is no better off.
        other = self.secured(gateway, source="127.0.0.2")
        began = time.monotonic()
        self.assertEqual(self.login(other).code, 235)
        self.assertLess(time.monotonic() - began, 0.9)
        for thread in threads:
            thread.join(60)
        self.assertIn(421, answers)
        self.assertLessEqual(answers.count(535), 8)
        self.assertEqual(str(self.login(self.secured(gateway)))[:9], "421 4.7.0", "the right one is not looked at either")
        (wrong,) = [n for name, n in gateway.numbers().items() if name.startswith("postern_logins_total") and "5xx" in name]
        self.assertEqual(wrong, 6 + answers.count(535))
        self.assertTrue(all(line["login"] == "anna" for line in gateway.log(event="rejected") if "535" in line["reply"]))

    def test_a_flood_of_them_holds_up_no_mail(self):
        gateway = self.start(limits={"connections_per_client": 0})
        slow = crypt.crypt(PASSWORD, crypt.mksalt(crypt.METHOD_SHA512, rounds=2_000_000))
        self.passwords.write_text(f"anna:{slow}\n")
        self.assertEqual(gateway.reload().returncode, 0)
        sessions = [self.secured(gateway, source=f"127.0.1.{i}") for i in range(1, 9)]
        for session in sessions:
            session.send(f"AUTH PLAIN {plain('nobody', 'x')}\r\n")
        sender = self.session(gateway)
        worst = 0
        for _ in range(20):
            began = time.monotonic()
            self.assertEqual(sender.mail("x@open.test", BODY).code, 250)
            worst = max(worst, time.monotonic() - began)
        self.assertLess(worst, 0.8)
        sessions[0].close()  # goes while its password is looked at
        self.assertEqual(gateway.close(), 0)

    def test_are_nowhere_to_be_found(self):
        """Neither a right password nor a wrong one stays in the log, in the numbers or in memory."""
        gateway = self.start()
        wrong = "a wrong one that is long enough"
        half = self.secured(gateway)
        for password in (wrong, PASSWORD):
            session = self.secured(gateway)
            session.command("AUTH LOGIN")
            session.command(base64.b64encode(b"anna").decode())
            text = base64.b64encode(password.encode()).decode()
            session.send(text[:10])
            time.sleep(0.1)
            self.assertIn(session.command(text[10:]).code, (235, 535))
            self.assertIn(self.login(half, password=password).code, (235, 535))
        refused = self.session(gateway)
        self.login(refused)
        refused.command(base64.b64encode(PASSWORD.encode()).decode())  # no command, and no word of it
        said = gateway.said() + gateway.ask("/metrics").text
        looked_for = [wrong, PASSWORD] + [
            base64.b64encode(p.encode()).decode()[12:] for p in (wrong, PASSWORD)] + [
            plain("anna", p)[12:] for p in (wrong, PASSWORD)]  # fmt: skip
        for text in looked_for:
            self.assertNotIn(text, said)
        found = []
        with open(f"/proc/{gateway.pid}/maps") as maps, open(f"/proc/{gateway.pid}/mem", "rb") as memory:
            for line in maps:
                first, last, rights, name = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+\s*(.*)", line).groups()
                if not rights.startswith("rw") or name.startswith("[v"):
                    continue
                with contextlib.suppress(OSError):
                    memory.seek(int(first, 16))
                    octets = memory.read(int(last, 16) - int(first, 16))
                    found += [(text, name) for text in looked_for if text.encode() in octets]
        self.assertEqual(found, [])


class PasswordFiles(AuthTest):
    def test_are_read_again(self):
        gateway = self.start()
        before = self.secured(gateway)
        self.assertEqual(self.login(before).code, 235)
        password_file(self.place.folder, [("carl", "new")])
        self.assertEqual(gateway.reload().returncode, 0)
        self.assertEqual(self.login(self.secured(gateway), "carl", "new").code, 235)
        self.assertEqual(self.login(self.secured(gateway)).code, 535)
        self.assertEqual(before.mail("x@a.test", BODY).code, 250, "who is connected stays who it is")

    def test_a_bad_one_is_refused_and_the_old_one_kept(self):
        gateway = self.start()
        good = self.passwords.read_text()
        self.passwords.write_text(good + "# a comment\ncarl:swordfish\n")
        reload = gateway.reload()
        self.assertEqual(reload.returncode, 1)
        self.assertIn(f"{self.passwords}:4:1: ", reload.stdout + reload.stderr)
        self.assertEqual(self.login(self.secured(gateway)).code, 235)
        check = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=60)
        self.assertEqual(check.returncode, 1)
        self.assertIn(f"{self.passwords}:4:1: ", check.stderr)
        self.assertNotIn("swordfish", check.stderr + reload.stdout + reload.stderr + gateway.said())
        self.passwords.unlink()
        check = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=60)
        self.assertEqual(check.returncode, 1)
        self.assertRegex(
            check.stderr, rf"(?m)^{gateway.config}:\d+:13: listener\.auth_file: {self.passwords} cannot be read: No such file"
        )


    def test_one_that_names_nobody_is_warned_of(self):
        gateway = self.start()
        for content in "", "# anna left\n":
            self.passwords.write_text(content)
            check = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=60)
            self.assertEqual(check.returncode, 0)
            self.assertRegex(
                check.stderr, rf"(?m)^warning: {gateway.config}:\d+:13: listener\.auth_file: {self.passwords} names nobody: no AUTH "
            )


class Check(SystemTest):
    """What `postern check` says of who may relay."""

    def check(self, listener="", relay="", rules="a.test a\n"):
        config = self.place.folder / "postern.toml"
        (self.place.folder / "a.rules").write_text(rules)
        config.write_text(
            f"hostname = 'gw.test'\n[[listener]]\naddress = '0.0.0.0:25'\n{listener}\n[relay]\n{relay}\n"
            "[rules]\nfiles = ['a.rules']\n[delivery]\npostmaster = 'pm@a.test'\n[pool.a]\nhosts = ['192.0.2.1']\n"
        )
        done = subprocess.run([POSTERN, "check", "-c", config], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    def test_open_relays(self):
        for open_relay in (
            {"rules": "* a always-relay\n"},
            {"relay": "networks = ['0.0.0.0/0']"},
            {"relay": "networks = ['::/0', '10.0.0.0/8']"},
            {"listener": "networks = ['0.0.0.0/1', '128.0.0.0/1']"},
        ):
            code, said = self.check(**open_relay)
            self.assertEqual(code, 1, open_relay)
            self.assertIn("open relay", said)
            self.assertEqual(self.check(**{**open_relay, "relay": open_relay.get("relay", "") + "\nallow_open_relay = true"})[0], 0)

    def test_warnings(self):
        self.assertEqual(self.check(relay="networks = ['10.0.0.0/8', '127.0.0.0/8']"), (0, ""))
        code, said = self.check("trusted = true")
        self.assertEqual(code, 0)
        self.assertIn("warning: ", said)
        self.assertIn("open relay", said)
