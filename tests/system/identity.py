"""Who a client is: by a PROXY header (our own octets, and HAProxy's), by XCLIENT, by XFORWARD; and clients that speak before the
greeting."""

import contextlib
import pathlib
import socket
import ssl
import struct
import time

import peers
from authority import Authority
from harness import ALL_EXTENSIONS, LOOPBACK, HOSTNAME, Process, Session, SystemTest, free_port, wait_for

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
RULES = "a.test sink\n* sink restricted"
INSIDE, OUTSIDE = "192.0.2.9", "198.51.100.9"  # of the relay networks, and not
RELAY = {"networks": ["192.0.2.0/24"]}


def version_1(source=INSIDE, destination="192.0.2.1"):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} 40000 25\r\n".encode()


def version_2(source=INSIDE, destination="192.0.2.1", command=0x21, vectors=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    block = b"".join(socket.inet_pton(family, a) for a in (source, destination)) + struct.pack(">HH", 40000, 25) + vectors
    return SIGNATURE + bytes([command, 0x21 if ":" in source else 0x11]) + struct.pack(">H", len(block)) + block


LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


class Identity(SystemTest):
    def start(self, listener, **settings):
        self.sink = self.host()
        settings.setdefault("relay", RELAY)
        return self.gateway(RULES, {"sink": self.sink.address}, listener=listener, **settings)

    def behind_proxy(self, gateway, header, ehlo="client.test", **options):
        """A session that begins with that header."""
        s = self.session(gateway, ehlo=None, greeting=False, **options)
        s.send(header)
        s.greeting = s.read()
        if ehlo:
            s.extensions = s.command(f"EHLO {ehlo}").lines
        return s

    def check(self, reply, code, enhanced=""):
        self.assertEqual((reply.code, reply.text[: len(enhanced)]), (code, enhanced), reply)

    def received(self):
        return self.sink.messages[-1].content.split(b"\r\n", 1)[0].decode()


class Proxied(Identity):
    PROXIES = {"proxy_networks": ["127.0.0.0/8"]}

    def test_the_clients_address_counts(self):
        gateway = self.start(self.PROXIES)
        for make in (version_1, version_2):
            for source, may in ((INSIDE, True), (OUTSIDE, False), ("2001:db8::9", False), ("::ffff:192.0.2.9", True)):
                with self.subTest(make=make.__name__, source=source):
                    s = self.behind_proxy(gateway, make(source, "2001:db8::1" if ":" in source else "192.0.2.1"))
                    self.assertEqual(s.greeting.code, 220)
                    reply = s.mail("x@elsewhere.test")
                    self.check(reply, *((250, "2.") if may else (550, "5.7.1")))
                    s.command("RSET")
                    self.check(s.mail("x@a.test"), 250)
                    address = source.removeprefix("::ffff:")
                    self.assertIn(f"(unknown [{'IPv6:' if ':' in address else ''}{address}])", self.received())
                    wait_for(lambda: gateway.log(event="delivered", client=address), "the log")

    def test_octets_behind_it_are_the_clients(self):
        gateway = self.start(self.PROXIES)
        commands = (
            b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<x@a.test>\r\nBDAT 9 LAST\r\nA: b\r\n\r\nc"
            b"QUIT\r\n"
        )
        for header in (version_1(), version_2(vectors=b"\x04\x00\x03abc")):
            s = self.session(gateway, ehlo=None, greeting=False)
            s.send(header + commands)
            self.assertEqual([s.read().code for _ in range(6)], [220, 250, 250, 250, 250, 221])
            self.assertEqual(s.rest(), b"")
            # And octet by octet.
            s = self.session(gateway, ehlo=None, greeting=False)
            for octet in header + commands:
                s.send(bytes([octet]))
            self.assertEqual([s.read().code for _ in range(6)], [220, 250, 250, 250, 250, 221])

    def test_health_checks(self):
        gateway = self.start(self.PROXIES, relay={"networks": ["127.0.0.0/8"]}, limits={"connections_per_client": 1})
        open_ones = []
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.9 192.0.2.1 1 2\r\n", LOCAL, version_2(command=0x20)):
            s = self.behind_proxy(gateway, header)
            self.check(s.command("MAIL FROM:<a@c.test>"), 550, "5.7.1")
            self.check(s.command("NOOP"), 250)
            open_ones.append(s)
        for s in open_ones:
            self.check(s.command("QUIT"), 221)
        self.assertEqual(gateway.numbers()[f'postern_health_checks_total{{listener="{LOOPBACK}:{gateway.port}"}}'], 4)

    def test_without_a_good_header(self):
        gateway = self.start(self.PROXIES)
        checksum = b"\x03\x00\x04\0\0\0\0"
        for header in (
            b"EHLO c.test\r\n",
            b"PROXY TCP4 192.0.2.9 192.0.2.1 1\r\n",
            b"PROXY TCP4 " + b"1" * 100,
            version_1()[:-2] + b"\n",
            version_2(command=0x31),
            version_2(vectors=checksum),
            version_2(vectors=b"\x02\x00\x09a"),
            SIGNATURE[:11] + b"\r\n",
        ):
            with self.subTest(header=header):
                s = self.session(gateway, ehlo=None, greeting=False)
                s.send(header)
                self.assertEqual(s.rest(), b"")
        wait_for(lambda: len(gateway.log(event="rejected", client=LOOPBACK)) >= 8, "the log")
        name = f'postern_bad_proxy_headers_total{{listener="{LOOPBACK}:{gateway.port}"}}'
        self.assertEqual(gateway.numbers()[name], 8)

    def test_a_header_has_a_deadline(self):
        gateway = self.start(self.PROXIES)
        s = self.session(gateway, ehlo=None, greeting=False)
        s.send(version_2()[:20])
        begin = time.monotonic()
        self.assertEqual(s.rest(), b"")
        self.assertLess(time.monotonic() - begin, 15)

    def test_from_others_it_is_a_bad_command(self):
        gateway = self.start({"proxy_networks": ["192.0.2.0/24"]})
        s = self.session(gateway, ehlo=None)
        self.check(s.greeting, 220)
        self.check(s.command(version_1().decode()[:-2]), 500, "5.5")
        self.check(s.command("EHLO c.test"), 250)
        self.check(s.mail("x@a.test"), 250)
        self.assertIn(f"[{LOOPBACK}]", self.received())

    def test_limits(self):
        """The proxy's connections have no bound, its client's have."""
        gateway = self.start(self.PROXIES, limits={"connections_per_client": 2})
        first = [self.behind_proxy(gateway, version_1(OUTSIDE)) for _ in range(2)]
        self.check(self.behind_proxy(gateway, version_1(OUTSIDE), ehlo=None).greeting, 421, "4.7.0")
        others = [self.behind_proxy(gateway, version_2(f"198.51.100.{n}")) for n in range(20, 30)]
        inside = [self.behind_proxy(gateway, version_1(INSIDE)) for _ in range(4)]
        self.check(first[0].command("QUIT"), 221)
        self.assertEqual(first[0].rest(), b"")
        wait_for(lambda: self.comes(gateway), "room for one more")
        self.assertEqual(len(others) + len(inside), 14)

    def test_rates_are_the_clients(self):
        limits = {"connection_rate": 2, "message_rate": 1, "errors": 3}
        gateway = self.start(self.PROXIES, limits=limits)
        first = self.behind_proxy(gateway, version_1(OUTSIDE))
        second = self.behind_proxy(gateway, version_2(OUTSIDE))
        self.check(self.behind_proxy(gateway, version_1(OUTSIDE), ehlo=None).greeting, 421, "4.7.0")
        self.check(first.mail("x@a.test"), 250)
        self.check(second.command("MAIL FROM:<a@c.test>"), 450, "4.7.1")
        # Of an IPv6 client the /64 counts, and who is of the relay networks is exempt.
        sessions = [self.behind_proxy(gateway, version_2(f"2001:db8:0:1::{n}", "2001:db8::1")) for n in (1, 2)]
        self.check(self.behind_proxy(gateway, version_2("2001:db8:0:1:ffff::3", "2001:db8::1"), ehlo=None).greeting, 421, "4.7.0")
        self.check(sessions[0].mail("x@a.test"), 250)
        self.check(sessions[1].command("MAIL FROM:<a@c.test>"), 450, "4.7.1")
        self.check(self.behind_proxy(gateway, version_2("2001:db8:0:2::1", "2001:db8::1")).mail("x@a.test"), 250)
        for _ in range(3):
            self.check(self.behind_proxy(gateway, version_1(INSIDE)).mail("x@a.test"), 250)

    def comes(self, gateway):
        with contextlib.closing(Session(gateway.port, ehlo=None, greeting=False)) as s:
            s.send(version_1(OUTSIDE))
            return s.read().code == 220


HAPROXY = """
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check 9s
    unique-id-format %{+X}o-%ci-%cp-%ts
"""
SMTP = ["option smtpchk EHLO check.test"]


class BehindHaProxy(Identity):
    def balance(self, **backends):
        """(HAProxy, ports): a frontend for each backend, whose name it has; `bind` and `server` are lines' ends."""
        config, ports = HAPROXY, {}
        for name, (bind, options, server) in backends.items():
            ports[name] = free_port()
            config += f"frontend in_{name}\n    bind {LOOPBACK}:{ports[name]} {bind}\n    default_backend {name}\n"
            config += f"backend {name}\n" + "".join(f"    {o}\n" for o in options) + f"    server one {server} inter 1500ms\n"
        folder = self.place.subfolder("haproxy")
        (folder / "haproxy.cfg").write_text(config)
        haproxy = self.place.add(Process(["haproxy", "-db", "-f", folder / "haproxy.cfg"], folder, "haproxy"))
        for port in ports.values():
            haproxy.wait_listening(port)
        return haproxy, ports

    def checks(self, gateway):
        return gateway.numbers()[f'postern_health_checks_total{{listener="{LOOPBACK}:{gateway.port}"}}']

    def test_every_header_and_every_check(self):
        gateway = self.start({"proxy_networks": ["127.0.0.1/32"]}, relay={"networks": ["127.0.0.8/32"]})
        server = f"{LOOPBACK}:{gateway.port}"
        options = "proxy-v2-options ssl,cert-cn,ssl-cipher,crc32c,unique-id,authority"
        haproxy, ports = self.balance(
            one=("", SMTP, f"{server} send-proxy check check-send-proxy"),
            two=("", SMTP, f"{server} send-proxy-v2 check"),
            connects=("", [], f"{server} send-proxy-v2 check"),
            vectors=("", SMTP, f"{server} send-proxy-v2-ssl-cn {options} check"),
            plain_check=("", [], f"{server} send-proxy check port {gateway.port}"),
        )
        for name, port in ports.items():
            for source, may in (("127.0.0.8", True), ("127.0.0.9", False)):
                with self.subTest(backend=name, source=source):
                    s = self.place.add(Session(port, source))
                    self.check(s.mail("x@elsewhere.test"), *((250, "") if may else (550, "5.7.1")))
                    s.command("RSET")
                    self.check(s.mail("x@a.test"), 250)
                    self.assertIn(f"[{source}]", self.received())
        wait_for(lambda: self.checks(gateway) >= 12, "health checks")
        self.assertNotIn("DOWN", haproxy.said())
        # A check that only connects is no trouble, and none of the others is.
        self.assertEqual(gateway.log(event="rejected", client=LOOPBACK), [])

    def test_a_check_without_a_header_is_told_of(self):
        gateway = self.start({"proxy_networks": ["127.0.0.1/32"]})
        haproxy, _ = self.balance(one=("", SMTP, f"{LOOPBACK}:{gateway.port} send-proxy check port {gateway.port} addr {LOOPBACK}"))
        wait_for(lambda: gateway.log(event="rejected", client=LOOPBACK), "the log")
        wait_for(lambda: "DOWN" in haproxy.said(), "HAProxy's verdict")

    def test_tls(self):
        """TLS that ends at HAProxy, and TLS that goes through it."""
        authority = Authority(self.place.folder / "authority")
        pair = authority.issue(HOSTNAME)
        joined = self.place.folder / "joined.pem"
        joined.write_text("".join(pathlib.Path(pair[part]).read_text() for part in ("chain", "key")))
        context = ssl.create_default_context(cafile=authority.file)
        settings = {"relay": {"networks": ["127.0.0.8/32"]}, "tls": {"certificates": [pair]}}
        plain = self.start({"proxy_networks": ["127.0.0.1/32"], "tls": "none"}, **settings)
        ended = f"{LOOPBACK}:{plain.port} send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c check"
        haproxy, ports = self.balance(ended=(f"ssl crt {joined}", SMTP, ended))
        self.through_tls(ports["ended"], context, "ESMTP")
        wait_for(lambda: self.checks(plain) >= 3, "health checks")
        self.assertNotIn("DOWN", haproxy.said())
        haproxy.close()
        implicit = self.start({"proxy_networks": ["127.0.0.1/32"], "tls": "implicit"}, **settings)
        server = f"{LOOPBACK}:{implicit.port}"
        haproxy, ports = self.balance(
            one=("", SMTP, f"{server} send-proxy check check-ssl verify none"),
            two=("", SMTP, f"{server} send-proxy-v2 check check-ssl verify none"),
            connects=("", [], f"{server} send-proxy-v2 check"),
        )
        for port in ports.values():
            self.through_tls(port, context, "ESMTPS")
        wait_for(lambda: self.checks(implicit) >= 9, "health checks")
        self.assertNotIn("DOWN", haproxy.said())
        # Nothing but our own looks at whether HAProxy listens.
        self.assertLessEqual(len(implicit.log(event="rejected", client=LOOPBACK)), len(ports))

    def through_tls(self, port, context, protocol):
        for source, may in (("127.0.0.8", True), ("127.0.0.9", False)):
            with self.subTest(port=port, source=source):
                s = self.place.add(Session(port, source, ehlo=None, greeting=False))
                s.socket = context.wrap_socket(s.socket, server_hostname=HOSTNAME)
                self.check(s.read(), 220)
                self.check(s.command("EHLO c.test"), 250)
                self.check(s.mail("x@elsewhere.test"), *((250, "") if may else (550, "5.7.1")))
                s.command("RSET")
                self.check(s.mail("x@a.test"), 250)
                self.assertIn(f"[{source}]", self.received())
                self.assertIn(f" with {protocol} id ", self.received())


class Xclient(Identity):
    LISTENER = {"xclient_networks": ["127.0.0.0/8"]}

    def test_relaying_and_received(self):
        gateway = self.start(self.LISTENER, relay={"networks": ["192.0.2.0/24", "127.0.0.0/8"]})
        s = self.session(gateway)
        self.assertIn("250-XCLIENT", "\n".join(s.extensions).replace("250 XCLIENT", "250-XCLIENT"))
        self.check(s.mail("x@elsewhere.test"), 250)
        for address, may in ((OUTSIDE, False), (INSIDE, True), ("IPV6:2001:db8::9", False), ("[UNAVAILABLE]", False)):
            with self.subTest(address=address):
                reply = s.command(f"XCLIENT NAME=mail.c.test ADDR={address} PORT=4000 HELO=x.test PROTO=ESMTP")
                self.assertEqual(reply.lines, [f"220 {HOSTNAME} ESMTP Postern"])
                self.check(s.command("MAIL FROM:<a@c.test>"), 503, "5.5.1")
                self.check(s.command("EHLO x.test"), 250)
                self.check(s.mail("x@elsewhere.test"), *((250, "") if may else (550, "5.7.1")))
                s.command("RSET")
                self.check(s.mail("x@a.test"), 250)
                told = {"[UNAVAILABLE]": "unknown", "IPV6:2001:db8::9": "IPv6:2001:db8::9"}.get(address, address)
                self.assertIn(f"from x.test (mail.c.test [{told}]) by", self.received())
                wait_for(lambda: gateway.log(event="delivered", client=told.removeprefix("IPv6:")), "the log")

    def test_a_login_that_is_stated(self):
        gateway = self.start(self.LISTENER, relay={"networks": ["192.0.2.0/24"], "deny": [OUTSIDE]})
        s = self.session(gateway)
        for address, login, may in (
            ("198.51.100.7", "LOGIN=joe", True),
            ("198.51.100.7", "", False),
            ("198.51.100.7", "LOGIN=joe", True),
            ("198.51.100.7", "LOGIN=[UNAVAILABLE]", False),
            ("[UNAVAILABLE]", "LOGIN=joe", True),
            ("[UNAVAILABLE]", "", False),
            (OUTSIDE, "LOGIN=joe", False),  # denied goes first
        ):
            with self.subTest(address=address, login=login):
                self.check(s.command(f"XCLIENT ADDR={address} {login}".strip()), 220)
                self.check(s.command("EHLO x.test"), 250)
                self.check(s.mail("x@elsewhere.test"), *((250, "") if may else (550, "5.7.1")))
                s.command("RSET")
                self.check(s.mail("x@a.test"), 250)
                self.assertIn(" with ESMTPA id " if login == "LOGIN=joe" else " with ESMTP id ", self.received())
        self.check(s.command("XCLIENT NAME=x.test"), 220)
        self.check(s.command("EHLO x.test"), 250)
        self.check(s.mail("x@elsewhere.test"), 550, "5.7.1")

    def test_limits_are_the_clients(self):
        gateway = self.start(self.LISTENER, limits={"connections_per_client": 3})
        sessions = [self.session(gateway) for _ in range(3)]
        for s in sessions:
            self.check(s.command(f"XCLIENT ADDR={OUTSIDE}"), 220)
        # They count no more as ours, and a fourth one of theirs is one too many.
        late = self.session(gateway)
        self.check(late.command(f"XCLIENT ADDR={OUTSIDE}"), 421, "4.7.0")
        self.assertEqual(late.rest(), b"")
        self.check(sessions[0].command("XCLIENT ADDR=198.51.100.10"), 220)
        self.check(self.session(gateway).command(f"XCLIENT ADDR={OUTSIDE}"), 220)
        # To say again who one is costs nothing.
        self.check(sessions[1].command(f"XCLIENT ADDR={OUTSIDE}"), 220)

    def test_rates_are_the_clients(self):
        gateway = self.start(self.LISTENER, limits={"message_rate": 1, "errors": 3})
        s = self.session(gateway)
        for client in (OUTSIDE, "198.51.100.10"):
            self.check(s.command(f"XCLIENT ADDR={client}"), 220)
            s.command("EHLO c.test")
            self.check(s.mail("x@a.test"), 250)
            self.check(s.command("MAIL FROM:<a@c.test>"), 450, "4.7.1")
            # What one client does wrong does not end the session of the next.
            self.check(s.command("WHAT"), 500)
            self.check(s.command("WHAT"), 500)

    def test_only_its_networks(self):
        gateway = self.start({"xclient_networks": ["127.0.0.8/32"]}, relay={"networks": ["127.0.0.1/32"]})
        s = self.session(gateway)
        self.assertNotIn("XCLIENT", "\n".join(s.extensions))
        self.check(s.command(f"XCLIENT ADDR={INSIDE}"), 550, "5.7.0")
        self.assertIn("XCLIENT", "\n".join(self.session(gateway, source="127.0.0.8").extensions))

    def test_behind_a_proxy_it_is_the_clients_right(self):
        gateway = self.start({"proxy_networks": ["127.0.0.0/8"], "xclient_networks": ["127.0.0.0/8", "192.0.2.9/32"]})
        self.assertIn("XCLIENT", "\n".join(self.behind_proxy(gateway, version_1(INSIDE)).extensions))
        self.assertNotIn("XCLIENT", "\n".join(self.behind_proxy(gateway, version_1(OUTSIDE)).extensions))
        check = self.behind_proxy(gateway, LOCAL)
        self.check(check.command(f"XCLIENT ADDR={INSIDE}"), 550, "5.7.0")


class Xforward(Identity):
    def test_for_the_log_and_no_rights(self):
        gateway = self.start({"xforward_networks": ["127.0.0.0/8"]})
        s = self.session(gateway)
        self.check(s.command(f"XFORWARD NAME=mail.c.test ADDR={INSIDE} PORT=4000 PROTO=ESMTP"), 250, "2.0.0")
        self.check(s.command("XFORWARD HELO=x.test SOURCE=REMOTE IDENT=4Bxyz"), 250, "2.0.0")
        self.check(s.mail("x@elsewhere.test"), 550, "5.7.1")
        self.check(s.command("RSET"), 250)
        self.check(s.command(f"XFORWARD NAME=mail.c.test ADDR={INSIDE} HELO=x.test IDENT=4Bxyz"), 250)
        self.check(s.mail("x@a.test"), 250)
        self.assertIn(f"(unknown [{LOOPBACK}])", self.received())
        [line] = wait_for(lambda: gateway.log(event="delivered"), "the log")
        self.assertEqual(
            {key: line[key] for key in ("client", "orig_client", "orig_helo", "orig_id")},
            {"client": LOOPBACK, "orig_client": f"mail.c.test[{INSIDE}]", "orig_helo": "x.test", "orig_id": "4Bxyz"},
        )
        self.check(s.mail("x@a.test"), 250)  # it held for one message
        lines = wait_for(lambda: len(found := gateway.log(event="delivered")) == 2 and found, "the log")
        self.assertNotIn("orig_client", lines[1])

    def test_it_goes_on(self):
        sink = self.host((*ALL_EXTENSIONS, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"))
        listener = {"xforward_networks": ["127.0.0.0/8"], "xclient_networks": ["127.0.0.0/8"]}
        gateway = self.gateway(RULES, {"sink": {"hosts": [sink.address], "xforward": True}}, listener=listener)
        s = self.session(gateway)
        self.check(s.command("XFORWARD NAME=mail.c.test ADDR=IPV6:2001:db8::9 HELO=a+2Bb IDENT=4Bxyz"), 250)
        self.check(s.mail("x@a.test"), 250)
        self.assertEqual(sink.said("XFORWARD"), [
            "XFORWARD NAME=mail.c.test ADDR=IPV6:2001:db8::9 PORT=[UNAVAILABLE]",
            "XFORWARD PROTO=[UNAVAILABLE] HELO=a+2Bb IDENT=4Bxyz SOURCE=[UNAVAILABLE]",
        ])
        self.check(s.command(f"XCLIENT NAME=mail.c.test ADDR={INSIDE} PORT=4000"), 220)
        self.check(s.command("EHLO x.test"), 250)
        self.check(s.mail("x@a.test"), 250)
        first, second = sink.said("XFORWARD")[2:]
        self.assertEqual(first, f"XFORWARD NAME=mail.c.test ADDR={INSIDE} PORT=4000")
        self.assertRegex(second, r"^XFORWARD PROTO=ESMTP HELO=x.test IDENT=\w+ SOURCE=REMOTE$")


    def test_a_postfix_in_front(self):
        sink = self.host((*ALL_EXTENSIONS, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"))
        gateway = self.gateway(
            RULES, {"sink": {"hosts": [sink.address], "xforward": True}}, listener={"xforward_networks": ["127.0.0.0/8"]}
        )
        postfix = peers.Postfix(
            self.place,
            virtual_mailbox_domains="",
            virtual_mailbox_maps="",
            relay_domains="static:all",
            relay_transport=f"smtp:[{LOOPBACK}]:{gateway.port}",
            smtp_send_xforward_command="yes",
            smtpd_authorized_xclient_hosts="127.0.0.0/8",
        )
        s = self.session(postfix)
        self.check(s.command("XCLIENT NAME=mail.c.test ADDR=192.0.2.9 PORT=4000"), 220)
        self.check(s.command("EHLO c.test"), 250)
        reply = s.mail("x@a.test")
        self.check(reply, 250)
        ident = reply.text.split()[-1]
        (line,) = wait_for(lambda: gateway.log(event="delivered"), "the log")
        self.assertEqual(
            [line[key] for key in ("client", "orig_client", "orig_helo", "orig_id")],
            [LOOPBACK, "mail.c.test[192.0.2.9]", "c.test", ident],
        )
        self.assertEqual(sink.said("XFORWARD"), [
            "XFORWARD NAME=mail.c.test ADDR=192.0.2.9 PORT=4000",
            f"XFORWARD PROTO=ESMTP HELO=c.test IDENT={ident} SOURCE=REMOTE",
        ])


class EarlyTalkers(Identity):
    def test_the_greeting_is_held_back(self):
        gateway = self.start({"greeting_pause": "1 s"})
        begin = time.monotonic()
        s = self.session(gateway)
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        self.check(s.mail("x@a.test"), 250)

    def test_who_speaks_before_it_is_turned_away(self):
        gateway = self.start({"greeting_pause": "30 s"})
        s = self.session(gateway, ehlo=None, greeting=False)
        s.send("EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n")
        self.check(s.read(), 554, "5.5.1")
        self.assertEqual(s.rest(), b"")
        wait_for(lambda: gateway.log(event="rejected", client=LOOPBACK), "the log")
        name = f'postern_early_talkers_total{{listener="{LOOPBACK}:{gateway.port}"}}'
        self.assertEqual(gateway.numbers()[name], 1)

    def test_relay_networks_are_not_paused(self):
        gateway = self.start({"greeting_pause": "30 s"}, relay={"networks": ["127.0.0.1/32"]})
        begin = time.monotonic()
        s = self.session(gateway, ehlo=None, greeting=False)
        s.send("EHLO c.test\r\n")
        self.assertEqual([s.read().code, s.read().code], [220, 250])
        self.assertLess(time.monotonic() - begin, 10)

    def test_behind_a_proxy(self):
        gateway = self.start({"greeting_pause": "1 s", "proxy_networks": ["127.0.0.0/8"]})
        begin = time.monotonic()
        self.check(self.behind_proxy(gateway, version_1(OUTSIDE), ehlo=None).greeting, 220)
        self.assertGreaterEqual(time.monotonic() - begin, 1)
        self.check(self.behind_proxy(gateway, version_1(OUTSIDE) + b"EHLO c.test\r\n", ehlo=None).greeting, 554, "5.5.1")
        begin = time.monotonic()
        self.check(self.behind_proxy(gateway, LOCAL, ehlo=None).greeting, 220)
        self.check(self.behind_proxy(gateway, version_1(INSIDE), ehlo=None).greeting, 220)
        self.assertLess(time.monotonic() - begin, 0.9)
