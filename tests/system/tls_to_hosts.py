"""TLS, AUTH and XFORWARD towards smart hosts, scripted ones and real ones, through the real binary."""

import os
import pathlib
import ssl

import peers
from authority import Authority
from delivery import BODY, Delivery
from harness import LOOPBACK, STALL, behind_received, wait_for

LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%d .\r\n..\r\n" % i for i in range(200_000))


class TlsTest(Delivery):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.place.subfolder("authority"))

    def issue(self, *names, authority=None, **options):
        """Gives the files of chain and key, which others than root may read, too."""
        files = [pathlib.Path(file) for file in (authority or self.authority).issue(*names, **options).values()]
        for file in files:
            file.chmod(0o644)
        return files

    def context(self, *names, authority=None, clients=False, **options):
        """What a host with a certificate for those names speaks TLS with; `clients`: who must have a certificate of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(*(names or (LOOPBACK,)), authority=authority, **options))
        if clients:
            context.load_verify_locations(self.authority.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def gateway_to(self, host, **pool):
        self.gw = self.gateway("a.test a\n", {"a": {"hosts": host.address, **pool}}, timeouts=self.timeouts)
        return self.gw

    timeouts = {"connect": "2 s", "reply": "2 s"}

    def said_of_host(self):
        return [line["reply"] for line in self.gw.log(event="host trouble")]

    def host_trouble(self):
        """The first, once the log has it."""
        return wait_for(self.said_of_host, "a line of the host's trouble")[0]

    def verify(self, **more):
        return {"tls": "verify", "tls_ca": str(self.authority.file), **more}


class Policies(TlsTest):
    def test_delivered_under_tls(self):
        for policy in ({}, {"tls": "opportunistic"}, {"tls": "required"}, self.verify()):
            with self.subTest(policy=policy):
                host = self.host(tls=self.context())
                s = self.session(self.gateway_to(host, **policy))
                for body in (BODY, LARGE, BODY):
                    self.check(s.mail("x@a.test", body), 250)
                self.assertEqual([behind_received(m.content) for m in host.messages], [BODY, LARGE, BODY])
                self.assertEqual(len(host.handshakes), 1)
                self.assertEqual(host.handshakes[0].version(), "TLSv1.3")
                self.assertEqual(host.verbs()[:4], ["EHLO", "STARTTLS", "EHLO", "MAIL"])
                self.assertEqual(self.gw.numbers()[self.metric("connections")], 1)
                self.assertEqual(self.said_of_host(), [])

    def metric(self, what):
        (name,) = [name for name in self.gw.numbers() if name.startswith(f"postern_host_tls_{what}_total{{")]
        return name

    def test_none_speaks_plain_text(self):
        host = self.host(tls=self.context())
        self.check(self.session(self.gateway_to(host, tls="none")).mail("x@a.test"), 250)
        self.assertNotIn("STARTTLS", host.verbs())

    def test_tls_1_2(self):
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        host = self.host(tls=context)
        self.check(self.session(self.gateway_to(host, **self.verify())).mail("x@a.test", LARGE), 250)
        self.assertEqual(host.handshakes[0].version(), "TLSv1.2")

    def test_sessions_are_resumed(self):
        host = self.host(tls=self.context())
        s = self.session(self.gateway_to(host, idle="200 ms", **self.verify()))
        for count in (1, 2, 3):
            self.check(s.mail("x@a.test"), 250)
            wait_for(lambda: len(host.said("QUIT")) == count, "the idle connection to quit")
        self.assertEqual([h.session_reused for h in host.handshakes], [False, True, True])

    def test_not_to_be_had(self):
        for policy in ({"tls": "required"}, self.verify()):
            for host, trouble in (
                (self.host(), "does not offer STARTTLS"),
                (self.host(tls=self.context(), starttls="454 4.7.0 not now"), "STARTTLS was refused: 454 4.7.0 not now"),
                (self.host(tls=self.context(), starttls="220 go\n250 PIPELINING"), "more behind its answer to STARTTLS"),
                (self.host(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), "TLS failed: "),
                (self.host(tls=self.context(), starttls=STALL), "did not answer in time"),
            ):
                with self.subTest(policy=policy, trouble=trouble):
                    s = self.session(self.gateway_to(host, **policy))
                    answer = s.mail("x@a.test")
                    if host.starttls is STALL:
                        self.check(answer, 451, "4.4.1")
                    else:
                        self.check(answer, 451, "4.7.4")
                        self.assertIn(trouble, self.host_trouble())
                    self.assertEqual(host.messages, [])

    def test_opportunistic_where_tls_is_not_to_be_had(self):
        broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate no handshake is done
        for host, tries in (
            (self.host(), 0),
            (self.host(tls=self.context(), starttls="454 4.7.0 not now"), 1),
            (self.host(tls=broken), 1),
        ):
            with self.subTest(tries=tries, starttls=host.starttls):
                s = self.session(self.gateway_to(host, idle="200 ms"))
                self.check(s.mail("x@a.test", BODY), 250)
                self.assertEqual(host.verbs().count("STARTTLS"), tries)
                self.assertEqual(len(host.messages), 1)
        # Remembered: the next connection does not try again.
        wait_for(lambda: host.said("QUIT"), "the idle connection to quit")
        self.check(s.mail("x@a.test", BODY), 250)
        self.assertEqual(host.verbs().count("STARTTLS"), 1)
        self.assertIn("plain text for the next 5 min", self.host_trouble())
        self.assertEqual(len(self.said_of_host()), 1)

    def test_opportunistic_never_uses_what_was_injected(self):
        host = self.host(tls=self.context(), starttls="220 go\n250-fake.test\n250 PIPELINING")
        self.check(self.session(self.gateway_to(host)).mail("x@a.test"), 451, "4.4.1")
        self.assertEqual(host.messages, [])

    def test_a_host_that_a_rule_names_is_spoken_to_under_tls_where_it_offers_it(self):
        host = self.host(tls=self.context())
        self.check(self.session(self.gateway(f"a.test {host.address}\n")).mail("x@a.test"), 250)
        self.assertEqual(len(host.handshakes), 1)

    def test_another_host_takes_over(self):
        without, host = self.host(), self.host(tls=self.context())
        gateway = self.gateway("a.test a\n", {"a": {"hosts": [without.address, host.address], "tls": "required"}})
        s = self.session(gateway)
        for _ in range(4):
            self.check(s.mail("x@a.test"), 250)
        self.assertEqual((len(without.messages), len(host.messages)), (0, 4))


class Certificates(TlsTest):
    def test_verify(self):
        stranger = Authority(self.place.subfolder("stranger"))
        for context, keys, trouble in (
            (self.context("mx.test"), {"tls_name": "mx.test"}, None),
            (self.context("*.mx.test"), {"tls_name": "a.mx.test"}, None),
            (self.context(LOOPBACK), {}, None),
            (self.context("mx.test"), {}, "IP address mismatch"),
            (self.context("other.test"), {"tls_name": "mx.test"}, "ostname mismatch"),
            (self.context(days=-1), {}, "certificate has expired"),
            (self.context(authority=stranger), {}, "self-signed certificate in certificate chain"),
        ):
            with self.subTest(keys=keys, trouble=trouble):
                host = self.host(tls=context)
                answer = self.session(self.gateway_to(host, **self.verify(**keys))).mail("x@a.test")
                if trouble:
                    self.check(answer, 451, "4.7.4")
                    self.assertIn(trouble, self.host_trouble())
                    self.assertEqual(host.messages, [])
                else:
                    self.check(answer, 250)

    def test_self_signed(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.file, self.authority.key)
        for policy, code in (({"tls": "required"}, 250), ({"tls": "verify"}, 451)):
            host = self.host(tls=context)
            self.check(self.session(self.gateway_to(host, **policy)).mail("x@a.test"), code, "4.7.4" if code == 451 else None)

    def test_ours_is_shown_and_renewed_by_a_reload(self):
        host = self.host(tls=self.context(clients=True))
        chain, key = self.issue("first.gw.test")
        gateway = self.gateway_to(host, tls_cert=str(chain), tls_key=str(key), **self.verify())
        s = self.session(gateway)
        self.check(s.mail("x@a.test"), 250)
        for new, old in zip(self.issue("second.gw.test"), (chain, key)):
            os.replace(new, old)
        done = gateway.reload()
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("pools +0 -0 ~1 (a)", done.stdout)
        self.check(s.mail("x@a.test"), 250)
        shown = [dict(pair for part in h.getpeercert()["subject"] for pair in part)["commonName"] for h in host.handshakes]
        self.assertEqual(shown, ["first.gw.test", "second.gw.test"])
        self.assertIn("~0", gateway.reload().stdout)

    def test_without_ours(self):
        host = self.host(tls=self.context(clients=True))
        self.check(self.session(self.gateway_to(host, tls="required")).mail("x@a.test"), 451)
        self.assertEqual(host.messages, [])

    def test_what_is_wrong_with_files_is_said_at_load(self):
        chain, key = self.issue("gw.test")
        _, other = self.issue("other.test")
        folder = self.place.subfolder("files")
        rubbish, empty, lines = folder / "rubbish", folder / "empty", folder / "lines"
        rubbish.write_text("rubbish\n")
        empty.write_text("\n")
        lines.write_text("a\nb\n")
        gateway = self.gateway_to(self.host())
        good = gateway.config.read_text()
        line = good.count("\n") + 1
        for keys, column, said in (
            ('tls = "verify"\ntls_ca = "nowhere.pem"', (2, 10), "pool.a.tls_ca"),
            (f'tls = "verify"\ntls_ca = "{rubbish}"', (2, 10), "pool.a.tls_ca"),
            (f'tls_cert = "{chain}"\ntls_key = "{other}"', (2, 11), "pool.a.tls_key"),
            (f'tls_cert = "{rubbish}"\ntls_key = "{key}"', (1, 12), "pool.a.tls_cert"),
            (f'tls_cert = "{chain}"\ntls_key = "nowhere.key"', (2, 11), "pool.a.tls_key"),
            (f'auth_user = "u"\nauth_password_file = "{empty}"', (2, 22), f"pool.a.auth_password_file: {empty} is empty; allowed"),
            (f'auth_user = "u"\nauth_password_file = "{lines}"', (2, 22), f"pool.a.auth_password_file: {lines} has more than one line; allowed"),
            ('auth_user = "u"\nauth_password_file = "nowhere"', (2, 22), "pool.a.auth_password_file"),
        ):
            with self.subTest(keys=keys):
                gateway.config.write_text(good + keys + "\n")
                done = gateway.reload()
                self.assertEqual(done.returncode, 1, done)
                at = f"{gateway.config}:{line + column[0] - 1}:{column[1]}: {said}: "
                self.assertIn(at, done.stdout + done.stderr)
        for keys, said in (
            (f'tls_cert = "{chain}"', f"{line}:1: pool.a.tls_cert needs tls_key beside it; allowed: both, or neither"),
            (f'tls_key = "{key}"', f"{line}:1: pool.a.tls_key needs tls_cert beside it; allowed: both, or neither"),
        ):
            with self.subTest(keys=keys):
                gateway.config.write_text(good + keys + "\n")
                errors = [e for e in gateway.reload().stderr.splitlines() if "pool.a.tls" in e or ":1:1:" in e]
                self.assertEqual(errors, [f"{gateway.config}:{said}"])


class Auth(TlsTest):
    def password_file(self, password):
        file = self.place.subfolder("password") / "password"
        file.write_text(password + "\n")
        return file

    def test_under_tls(self):
        host = self.host(tls=self.context(), auth=("postern", "säsam"))
        keys = {"auth_user": "postern", "auth_password_file": str(self.password_file("säsam"))}
        self.check(self.session(self.gateway_to(host, **keys)).mail("x@a.test"), 250)
        self.assertEqual(host.verbs()[:5], ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"])

    def test_in_plain_text_only_where_tls_is_none(self):
        keys = {"auth_user": "postern", "auth_password_file": str(self.password_file("secret"))}
        host = self.host(auth=("postern", "secret"))
        self.check(self.session(self.gateway_to(host, **keys)).mail("x@a.test"), 451, "4.7.4")
        self.assertNotIn("AUTH", host.verbs())
        self.check(self.session(self.gateway_to(host, tls="none", **keys)).mail("x@a.test"), 250)

    def test_a_wrong_password_is_the_hosts_trouble_until_a_reload_brings_the_right_one(self):
        file = self.password_file("wrong")
        host = self.host(tls=self.context(), auth=("postern", "secret"))
        gateway = self.gateway_to(host, auth_user="postern", auth_password_file=str(file))
        s = self.session(gateway)
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        self.assertEqual(self.host_trouble(), "AUTH was refused: 535 5.7.8 who are you?")
        file.write_text("secret")
        self.assertIn("~1 (a)", gateway.reload().stdout)
        self.check(s.mail("x@a.test"), 250)
        self.assertNotIn("secret", gateway.said())

    def test_not_offered(self):
        host = self.host(tls=self.context())
        keys = {"auth_user": "postern", "auth_password_file": str(self.password_file("secret"))}
        self.check(self.session(self.gateway_to(host, **keys)).mail("x@a.test"), 451, "4.4.1")
        self.assertEqual(self.host_trouble(), "AUTH was refused: it offers neither PLAIN nor LOGIN")


class Xforward(TlsTest):
    def test_as_the_host_announces_it(self):
        host = self.host(("PIPELINING", "XFORWARD NAME ADDR PORT PROTO HELO"))
        s = self.session(self.gateway_to(host, xforward=True), ehlo="client+x.test")
        for _ in range(2):
            self.check(s.mail("x@a.test"), 250)
        port = s.socket.getsockname()[1]
        told = [
            f"XFORWARD NAME=[UNAVAILABLE] ADDR={LOOPBACK} PORT={port}",
            "XFORWARD PROTO=ESMTP HELO=client+2Bx.test",
        ]
        self.assertEqual(host.said("XFORWARD"), 2 * told)
        self.assertEqual(host.verbs()[1:7], ["XFORWARD", "XFORWARD", "MAIL", "RCPT", "DATA", "RSET"])

    def test_no_more_words_than_it_named(self):
        host = self.host(("PIPELINING", "XFORWARD ADDR"))
        self.check(self.session(self.gateway_to(host, xforward=True)).mail("x@a.test"), 250)
        self.assertEqual(host.said("XFORWARD"), [f"XFORWARD ADDR={LOOPBACK}"])

    def test_only_where_asked_for(self):
        host = self.host(("PIPELINING", "XFORWARD ADDR"))
        self.check(self.session(self.gateway_to(host)).mail("x@a.test"), 250)
        self.assertEqual(host.said("XFORWARD"), [])

    def test_its_refusal_does_not_harm_the_message(self):
        for extensions in (("PIPELINING", "XFORWARD ADDR HELO"), ("XFORWARD ADDR HELO",)):
            host = self.host(extensions, xforward="550 5.7.0 not you")
            s = self.session(self.gateway_to(host, xforward=True))
            for _ in range(2):
                self.check(s.mail("x@a.test"), 250)
            self.assertEqual(len(host.messages), 2)


class RealHosts(TlsTest):
    """Under TLS, the certificate verified, to other people's servers."""

    def deliver(self, server, **keys):
        gateway = self.gateway_to(server, **self.verify(**keys))
        s = self.session(gateway)
        body = b"Subject: x\r\nFrom: a@b.test\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@b.test>\r\n\r\nhello\r\n"
        for number in range(20):
            answer = s.mail(f"x{number}@a.test", body)
            self.assertEqual(answer.code, 250, f"{answer} {answer.code == 250 or self.host_trouble()}")
        wait_for(lambda: server.count() == 20, f"the messages to be stored (there are {server.count()})")
        for content in server.stored().values():
            self.assertEqual(behind_received(content), body)
        self.assertEqual(self.said_of_host(), [])
        return gateway

    def test_aiosmtpd(self):
        self.deliver(self.place.add(peers.Aiosmtpd(self.context())))

    def postfix(self, **parameters):
        chain, key = self.issue("postfix.test")
        return peers.Postfix(
            self.place, smtpd_tls_security_level="may", smtpd_tls_cert_file=chain, smtpd_tls_key_file=key, **parameters
        )

    def test_postfix(self):
        self.deliver(self.postfix(), tls_name="postfix.test")

    def test_postfix_is_told_of_the_client(self):
        server = self.postfix(smtpd_authorized_xforward_hosts="127.0.0.0/8")
        gateway = self.gateway_to(server, xforward=True)
        self.check(self.session(gateway, source="127.0.0.9", ehlo="far.client.test").mail("x@a.test"), 250)
        wait_for(lambda: "127.0.0.9" in server.process.said(), "Postfix to log the client")

    def test_exim(self):
        self.deliver(peers.Exim(self.place, certificate=self.issue("exim.test")), tls_name="exim.test")
