"""TLS on listeners, through the real binary: with Python's ssl, the openssl program, swaks, curl and a Postfix that sends."""

import re
import smtplib
import ssl
import subprocess
import threading
import time

import peers
from authority import Authority
from harness import HOSTNAME, LOOPBACK, POSTERN, Session, SystemTest, behind_received, wait_for

BODY = b"Subject: hello\r\n\r\n.one dot\r\n..two\r\nlast\r\n"
IDLE = 300  # connections whose memory is measured
IDLE_MAX_KIB = 24  # each


class TlsTest(SystemTest):
    """A gateway with certificates, before one smart host."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.place.folder / "authority")
        self.a = self.host()

    def start(self, tls="starttls", certificates=None, listener=None, **settings):
        certificates = certificates or [self.authority.issue(HOSTNAME)]
        return self.gateway(
            "a.test a\n",
            {"a": self.a.address},
            listener={"tls": tls, **(listener or {})},
            tls={"certificates": certificates},
            **settings,
        )

    def context(self, **changes):
        context = ssl.create_default_context(cafile=self.authority.file)
        for name, value in changes.items():
            setattr(context, name, value)
        return context

    def secure(self, session, name=HOSTNAME, context=None, ehlo="client.test"):
        """STARTTLS, the handshake, EHLO."""
        self.assertEqual(session.command("STARTTLS").code, 220)
        self.assertEqual(session.buffer, b"")
        session.socket = (context or self.context()).wrap_socket(session.socket, server_hostname=name)
        session.extensions = session.command(f"EHLO {ehlo}").lines[1:]
        return session

    def implicit(self, gateway, name=HOSTNAME, context=None):
        session = self.place.add(Session(gateway.port, ehlo=None, greeting=False))
        session.socket = (context or self.context()).wrap_socket(session.socket, server_hostname=name)
        session.greeting = session.read()
        session.extensions = session.command("EHLO client.test").lines[1:]
        return session

    def names(self, gateway, name, **changes):
        """Of the certificate that somebody is shown who asks for that name."""
        context = self.context(check_hostname=False, **changes)
        shown = self.secure(self.session(gateway), name, context).socket.getpeercert()
        return [value for kind, value in shown["subjectAltName"] if kind == "DNS"]


class Listeners(TlsTest):
    def test_starttls(self):
        gateway = self.start()
        s = self.session(gateway)
        self.assertIn("250-STARTTLS", [line.replace(" ", "-") for line in s.extensions])
        self.secure(s)
        self.assertNotIn("STARTTLS", str(s.extensions))
        self.assertEqual(s.socket.version(), "TLSv1.3")
        self.assertEqual(s.mail("x@a.test", BODY).code, 250)
        content = self.a.messages[0].content
        self.assertEqual(behind_received(content), BODY)
        self.assertIn(b" with ESMTPS id ", content.split(b"\r\n")[0])
        (line,) = wait_for(lambda: gateway.log(event="delivered"), "the message in the log")
        self.assertRegex(line["tls"], r"^TLSv1\.3 TLS_\w+$")
        self.assertEqual(s.command("QUIT").code, 221)
        self.assertEqual(s.rest(), b"")
        plain = self.session(gateway)
        self.assertEqual(plain.mail("x@a.test", BODY).code, 250)
        self.assertIn(b" with ESMTP id ", self.a.messages[1].content.split(b"\r\n")[0])
        listener = f'listener="{LOOPBACK}:{gateway.port}"'
        numbers = gateway.numbers()
        self.assertEqual(numbers[f'postern_tls_handshakes_total{{{listener},outcome="full"}}'], 1)
        self.assertEqual(numbers[f'postern_tls_handshakes_total{{{listener},outcome="failed"}}'], 0)
        self.assertEqual(numbers[f'postern_tls_versions_total{{{listener},version="TLSv1.3"}}'], 1)

    def test_implicit(self):
        gateway = self.start("implicit")
        s = self.implicit(gateway)
        self.assertEqual(s.greeting.code, 220)
        self.assertNotIn("STARTTLS", str(s.extensions))
        body = b"Subject: x\r\n\r\n" + b"a line of a large message\r\n" * 200_000
        self.assertEqual(s.mail("x@a.test", body).code, 250)
        s.envelope("x@a.test")
        self.assertEqual(s.bdat(body, 1_000_000).code, 250)
        self.assertEqual([behind_received(m.content) for m in self.a.messages], [body, body])

    def test_the_default_is_starttls(self):
        gateway = self.gateway(
            "a.test a\n", {"a": self.a.address}, tls={"certificates": [self.authority.issue(HOSTNAME)]}
        )
        self.secure(self.session(gateway))

    def test_none(self):
        gateway = self.start("none")
        s = self.session(gateway)
        self.assertNotIn("STARTTLS", str(s.extensions))
        self.assertEqual(s.command("STARTTLS").code, 500)

    def test_versions(self):
        gateway = self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            s = self.secure(self.session(gateway), context=self.context(maximum_version=version, minimum_version=version))
            self.assertEqual(s.mail("x@a.test", BODY).code, 250)
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{LOOPBACK}:{gateway.port}", "-starttls", "smtp", "-tls1_1", "-cipher",
             "DEFAULT@SECLEVEL=0"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        self.assertIn("protocol version", done.stderr)
        (line,) = wait_for(lambda: gateway.log(event="rejected"), "the failure in the log")
        self.assertIn("TLS failed: unsupported protocol", line["reply"])

    def test_what_comes_behind_starttls_is_not_used(self):
        gateway = self.start()
        s = self.session(gateway)
        s.send(b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@client.test>\r\n")
        self.assertEqual(s.read().code, 554)
        self.assertEqual(s.rest(), b"")

    def test_plain_text_where_tls_comes_first(self):
        gateway = self.start("implicit")
        s = self.place.add(Session(gateway.port, ehlo=None, greeting=False))
        self.assertEqual(s.command("EHLO client.test").code, 554)
        self.assertEqual(s.rest(), b"")
        self.implicit(gateway)

    def test_a_sender_that_goes_is_seen(self):
        for leave, delivered in ((lambda s: s.socket.close(), 0), (lambda s: s.send("QUIT\r\n"), 1)):
            self.a = self.host(greeting=(1, "220 at last"))
            s = self.secure(self.session(self.start()))
            s.envelope("x@a.test")
            s.send(b"BDAT 6 LAST\r\nA: b\r\n")
            wait_for(lambda: self.a.connections, "the connection")
            leave(s)
            threading.Event().wait(2)
            self.assertEqual(len(self.a.seen), delivered)

    def test_the_end_is_told_through_tls(self):
        gateway = self.start()
        s = self.secure(self.session(gateway))
        gateway.close()
        self.assertEqual(s.read().code, 421)
        self.assertEqual(s.rest(), b"")


class Certificates(TlsTest):
    def test_by_name_and_kind(self):
        gateway = self.start(
            certificates=[
                self.authority.issue("one.test", kind="rsa"),
                self.authority.issue("one.test", "www.one.test"),
                self.authority.issue("*.two.test"),
            ]
        )
        self.assertEqual(self.names(gateway, "one.test"), ["one.test", "www.one.test"])
        self.assertEqual(self.names(gateway, "unknown.test"), ["one.test", "www.one.test"])
        self.assertEqual(self.names(gateway, "mx.two.test"), ["*.two.test"])
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"{LOOPBACK}:{gateway.port}", "-starttls", "smtp", "-servername", "one.test",
             "-sigalgs", "rsa_pss_rsae_sha256"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        ).stdout  # fmt: skip
        self.assertIn("Peer signature type: RSA-PSS", said)

    def test_check_names_what_is_wrong(self):
        good, other = self.authority.issue(HOSTNAME), self.authority.issue("other.test")
        cases = [
            ({"chain": good["chain"], "key": other["key"]}, f"{other['key']}: is not the key of the first certificate in"),
            ({"chain": "/nowhere/chain.pem", "key": good["key"]}, "/nowhere/chain.pem: cannot be read: No such file"),
            ({"chain": good["key"], "key": good["key"]}, f"{good['key']}: holds no certificate"),
        ]
        gateway = self.start(certificates=[good])
        text = gateway.config.read_text()
        for pair, said in cases:
            with self.subTest(said):
                gateway.config.write_text(text.replace(good["chain"], pair["chain"]).replace(good["key"], pair["key"]))
                line = gateway.config.read_text()[: gateway.config.read_text().index("certificates =")].count("\n") + 1
                for command in ("check", "run"):
                    done = subprocess.run(
                        [POSTERN, command, "-c", gateway.config], capture_output=True, text=True, timeout=30
                    )
                    self.assertEqual(done.returncode, 1)
                    self.assertRegex(done.stderr, rf"(?m)^{re.escape(str(gateway.config))}:{line}:\d+: ")
                    self.assertIn(said, done.stderr)
                refused = gateway.reload()
                self.assertEqual(refused.returncode, 1)
                self.assertIn(said, refused.stderr)
                self.secure(self.session(gateway))

    def test_a_certificate_about_to_end_is_warned_of(self):
        for days, said in ((3, "only; renew it"), (-1, "is over since")):
            pair = self.authority.issue(HOSTNAME, days=days)
            gateway = self.start(certificates=[pair])
            done = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stderr, rf"(?m)^warning: .*: tls.certificates: {re.escape(pair['chain'])}: .*{said}")
            self.assertIn(said, gateway.said())
            (line,) = wait_for(lambda: gateway.log(event="certificate warning"), "the warning in the log")
            self.assertIn(said, line["reply"])
            name = f'postern_certificate_expiry_timestamp_seconds{{certificate="{pair["chain"]}"}}'
            until = subprocess.run(
                ["openssl", "x509", "-in", pair["chain"], "-noout", "-enddate"], capture_output=True, text=True
            ).stdout
            self.assertEqual(gateway.numbers()[name], ssl.cert_time_to_seconds(until.strip().removeprefix("notAfter=")))

    def test_a_certificate_for_ever_is_no_trouble(self):
        for days in (99_999, 2_000_000):
            with self.subTest(days=days):
                pair = self.authority.issue(HOSTNAME, days=days)
                gateway = self.start(certificates=[pair])
                done = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertNotIn("tls.certificates", done.stderr)
                name = f'postern_certificate_expiry_timestamp_seconds{{certificate="{pair["chain"]}"}}'
                self.assertGreater(gateway.numbers()[name], time.time() + 200 * 365 * 86400)

    def test_reload_in_the_middle_of_traffic(self):
        gateway = self.start(certificates=[self.authority.issue("one.test", stem="live")], workers=2)
        before = self.secure(self.session(gateway), "one.test")
        sent, troubles, stop = [0], [], threading.Event()

        def send():
            try:
                while not stop.is_set():
                    with smtplib.SMTP(LOOPBACK, gateway.port, "smtplib.test", timeout=30) as client:
                        client.starttls(context=self.context(check_hostname=False))
                        client.sendmail("sender@client.test", ["x@a.test"], BODY)
                    sent[0] += 1
            except Exception as trouble:  # told by the test
                troubles.append(trouble)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for number in range(4):
                self.authority.issue(f"new{number}.test", stem="live")
                self.assertEqual(gateway.reload().returncode, 0)
                self.assertEqual(self.names(gateway, "any.test"), [f"new{number}.test"])
            (self.authority.folder / "live.key").write_text("no key\n")
            refused = gateway.reload()
            self.assertEqual(refused.returncode, 1)
            self.assertIn("live.key: holds no private key", refused.stderr)
            self.assertEqual(self.names(gateway, "any.test"), ["new3.test"])
            wait_for(lambda: sent[0] >= 5 or troubles, "traffic")
        finally:
            stop.set()
            thread.join(30)
        self.assertEqual(troubles, [])
        self.assertEqual(before.mail("x@a.test", BODY).code, 250, "what began under the first certificate goes on")

    def test_a_session_is_resumed_by_any_worker_and_after_a_reload(self):
        gateway = self.start(workers=2)
        context = self.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        kept = self.secure(self.session(gateway), context=context).socket.session
        for number in range(6):
            s = self.session(gateway)
            s.command("STARTTLS")
            s.socket = context.wrap_socket(s.socket, server_hostname=HOSTNAME, session=kept)
            self.assertTrue(s.socket.session_reused, number)
            if number == 2:
                self.assertEqual(gateway.reload().returncode, 0)


class Peers(TlsTest):
    def test_openssl_s_client(self):
        gateway = self.start("implicit")
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"{LOOPBACK}:{gateway.port}", "-quiet", "-CAfile", self.authority.file,
             "-verify_return_error", "-verify_hostname", HOSTNAME],
            input="EHLO s-client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<x@a.test>\r\nBDAT 6 LAST\r\nA: b\r\nQUIT\r\n",
            capture_output=True, text=True, timeout=30,
        ).stdout  # fmt: skip
        self.assertIn("221 ", said)
        self.assertEqual(behind_received(self.a.messages[0].content), b"A: b\r\n")

    def test_swaks(self):
        for tls, options in (("starttls", ["--tls"]), ("implicit", ["--tls-on-connect"])):
            gateway = self.start(tls)
            peers.run_client(
                *["swaks", "--server", f"{LOOPBACK}:{gateway.port}", "--helo", "swaks.test", "--from", "sender@client.test"],
                *["--to", "x@a.test", "--silent", "2", "--tls-verify", "--tls-ca-path", str(self.authority.file), *options],
            )
        self.assertEqual(len(self.a.messages), 2)

    def test_curl(self):
        mail = self.place.folder / "mail"
        mail.write_bytes(BODY)
        for tls, scheme in (("starttls", "smtp"), ("implicit", "smtps")):
            gateway = self.start(tls)
            peers.run_client(
                *["curl", "-sS", "--ssl-reqd", "--cacert", str(self.authority.file)],
                *["--resolve", f"{HOSTNAME}:{gateway.port}:{LOOPBACK}", f"{scheme}://{HOSTNAME}:{gateway.port}/curl.test"],
                *["--mail-from", "sender@client.test", "--mail-rcpt", "x@a.test", "-T", str(mail)],
            )
        self.assertEqual([behind_received(m.content) for m in self.a.messages], [BODY, BODY])

    def test_postfix(self):
        """It sends many messages by STARTTLS, with a certificate that it verifies, and resumes its sessions."""
        gateway = self.start(limits={"connections_per_client": 0})
        postfix = peers.Postfix(
            self.place,
            virtual_mailbox_domains="",
            virtual_mailbox_maps="",
            relay_domains="static:all",
            relay_transport=f"smtp:[{LOOPBACK}]:{gateway.port}",
            default_transport=f"smtp:[{LOOPBACK}]:{gateway.port}",
            smtp_tls_security_level="secure",
            smtp_tls_secure_cert_match=HOSTNAME,
            smtp_tls_CAfile=self.authority.file,
            smtp_tls_session_cache_database=f"btree:{self.place.folder}/sessions",
            smtp_tls_loglevel=1,
            smtp_connection_cache_on_demand="no",
        )
        for number in range(20):
            with smtplib.SMTP(LOOPBACK, postfix.port, "smtplib.test", timeout=60) as client:
                client.sendmail("sender@client.test", [f"{number}@a.test"], BODY)
        wait_for(lambda: len(self.a.messages) >= 20, "mail from Postfix", 60)
        self.assertEqual(sorted(m.recipients[0].split("@")[0] for m in self.a.messages), sorted(f"TO:<{n}" for n in range(20)))
        for message in self.a.messages:
            self.assertIn(b" with ESMTPS id ", message.content.split(b"\r\n")[0])
        self.assertIn("Verified TLS connection established", postfix.process.said())


class Memory(TlsTest):
    def test_of_idle_connections(self):
        gateway = self.start(limits={"connections_per_client": 0})
        context = self.context()
        for _ in range(20):  # until pools have their first size
            self.secure(self.session(gateway), context=context).mail("x@a.test", BODY)
        before = gateway.rss_kib()
        sessions = [self.secure(self.session(gateway), context=context) for _ in range(IDLE)]
        each = (gateway.rss_kib() - before) / IDLE
        print(f"{each:.1f} KiB an idle TLS connection", end=" ", flush=True)
        if "asan" not in str(POSTERN):
            self.assertLess(each, IDLE_MAX_KIB)
        for s in sessions[:3]:
            self.assertEqual(s.mail("x@a.test", BODY).code, 250)
