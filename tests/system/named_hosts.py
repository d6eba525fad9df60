"""Smart hosts that are named: by pools and rules, with MX records or without, under a name server that changes, fails and comes back."""

import random
import struct
import subprocess
import time
import urllib.parse

from delivery import Delivery
from dns import A, AAAA, MX, FakeDns, address, labels, record
from harness import POSTERN, free_port, wait_for, with_resolv_conf

SERVFAIL, NXDOMAIN = 2, 3


class Zone:
    """What the name server says, as long as it says it: name -> [(type, octets), ...]."""

    def __init__(self):
        self.names = {}
        self.fails = False

    def addresses(self, name, *texts):
        self.names[name] = [(AAAA if ":" in text else A, address(text)) for text in texts]

    def mx(self, name, *exchanges):
        self.names[name] = [(MX, struct.pack(">H", preference) + labels(host)) for preference, host in exchanges]

    def respond(self, query):
        name = query.name.lower()
        if self.fails:
            return query.answer(rcode=SERVFAIL)
        if name not in self.names:
            return query.answer(rcode=NXDOMAIN)
        return query.answer(*[record(name, type_, data) for type_, data in self.names[name] if type_ == query.type])


class NamedHosts(Delivery):
    def setUp(self):
        super().setUp()
        self.zone = Zone()
        # resolv.conf knows no ports: an address of the test's own.
        self.dns = self.place.add(FakeDns(self.zone.respond, f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.53", 53))
        self.resolv_conf = f"nameserver {self.dns.ip}\n"
        self.port = free_port()

    def named_host(self, last, **behaviour):
        """One at an address of its own, all at one port."""
        return self.host(ip=f"127.0.0.{last}", port=self.port, **behaviour)

    def start(self, rules, pools=None, **settings):
        self.gw = self.gateway(rules, pools, resolv_conf=self.resolv_conf, **settings)
        return self.gw

    def answer(self, recipient="x@a.test"):
        s = self.session(self.gw)
        try:
            return s.mail(recipient)
        finally:
            s.close()

    def eventually(self, recipient, start, seconds=20):
        """Mail until the answer is that: each other one must be temporary."""

        def answered():
            answer = str(self.answer(recipient))
            if answer.startswith(start):
                return answer
            self.assertTrue(answer.startswith("451 4.4."), answer)
            return None

        return wait_for(answered, f"{recipient}: {start}", seconds)

    def reload(self, rules):
        """The rules are in force."""
        self.gw.write_rules(rules)
        done = self.gw.reload("--force")
        self.assertEqual(done.returncode, 0, done)


class Addresses(NamedHosts):
    def test_a_pools_hosts_by_name(self):
        one, two = self.named_host(11), self.named_host(12)
        self.zone.addresses("mx.internal", "127.0.0.11", "127.0.0.12")
        self.start("a.test a\n", {"a": [f"MX.internal:{self.port}"]})
        # One at a time: a host that has a connection already goes before one that is about to have its first.
        wait_for(lambda: self.check(self.answer(), 250) or (one.messages and two.messages), "mail at both hosts")
        (line,) = wait_for(lambda: self.gw.log(event="name resolved"), "the log")
        self.assertEqual((line["host"], line["reply"]), ("mx.internal", "127.0.0.11, 127.0.0.12"))
        wait_for(lambda: {m["host"] for m in self.gw.log(event="delivered")} == {one.address, two.address}, "the log")

    def test_a_change_moves_the_mail(self):
        one, two = self.named_host(11), self.named_host(12)
        self.zone.addresses("mx.internal", "127.0.0.11")
        self.start(f"a.test mx.internal:{self.port}\n")
        self.check(self.answer(), 250)
        self.assertEqual(len(one.messages), 1)
        self.zone.addresses("mx.internal", "127.0.0.12")
        wait_for(lambda: len(self.gw.log(event="name resolved")) == 2, "the new address")
        wait_for(lambda: "QUIT" in one.verbs(), "the old host's QUIT")
        self.check(self.answer(), 250)
        self.assertEqual((len(one.messages), len(two.messages)), (1, 1))

    def test_named_and_other_hosts_and_backups_of_one_pool(self):
        self.zone.addresses("spare.internal", "127.0.0.13")
        spare = self.named_host(13)
        self.start("a.test a\n", {"a": {"hosts": [f"none.internal:{self.port}", f"127.0.0.11:{self.port}"], "backup": [f"spare.internal:{self.port}"]}})
        self.eventually("x@a.test", "250")
        self.assertEqual(len(spare.messages), 1)
        one = self.named_host(11)
        wait_for(lambda: self.answer().code == 250 and one.messages, "the host that came up")

    def test_the_hosts_file_goes_before_the_name_server(self):
        host = self.host()
        self.zone.fails = True
        self.start(f"a.test localhost:{host.port}\n")
        self.check(self.answer(), 250)
        self.assertEqual([query for query in self.dns.asked if query.name == "localhost"], [])


class Absent(NamedHosts):
    def test_a_name_that_nobody_knows(self):
        self.start(f"a.test no.internal:{self.port}\n", timeouts={"busy": "2 s"})
        answer = self.eventually("x@a.test", "451 4.4.3")
        self.assertIn("451 4.4.3", answer)
        self.assertEqual(self.gw.numbers()["postern_names_unresolved"], 1)
        (line,) = wait_for(lambda: self.gw.log(event="name unresolved"), "the log")
        self.assertEqual((line["host"], line["reply"]), ("no.internal", "no such name"))

    def test_a_resolver_that_fails_from_the_start_and_comes_back(self):
        host = self.named_host(11)
        self.zone.addresses("mx.internal", "127.0.0.11")
        self.zone.fails = True
        self.start(f"a.test mx.internal:{self.port}\nb.test 127.0.0.11:{self.port}\n")
        self.check(self.answer("x@b.test"), 250)
        self.eventually("x@a.test", "451 4.4.3")
        self.zone.fails = False
        self.eventually("x@a.test", "250")
        self.assertEqual(len(host.messages), 2)

    def test_the_last_good_answer_serves_while_the_resolver_fails(self):
        host = self.named_host(11)
        self.zone.addresses("mx.internal", "127.0.0.11")
        self.start(f"a.test mx.internal:{self.port}\n")
        self.check(self.answer(), 250)
        self.zone.fails = True
        wait_for(lambda: any("not renewed" in line["reply"] for line in self.gw.log(event="name resolved")), "the failure")
        self.check(self.answer(), 250)
        self.assertEqual(len(host.messages), 2)

    def test_mail_waits_for_a_slow_resolver(self):
        host = self.named_host(11)

        def slow(query):
            time.sleep(1)
            return self.zone.respond(query)

        self.dns.respond = slow
        self.zone.addresses("mx.internal", "127.0.0.11")
        self.start(f"a.test mx.internal:{self.port}\n")
        self.check(self.answer(), 250)
        self.assertEqual(len(host.messages), 1)


class MailExchangers(NamedHosts):
    def test_the_best_preference_and_then_the_next(self):
        second = self.named_host(12)
        self.zone.mx("example.net", (10, "one.example.net"), (20, "two.example.net"))
        self.zone.addresses("one.example.net", "127.0.0.11")
        self.zone.addresses("two.example.net", "127.0.0.12")
        self.start(f"a.test mx:example.net:{self.port}\n")
        self.eventually("x@a.test", "250")
        self.assertEqual(len(second.messages), 1)
        first = self.named_host(11)
        wait_for(lambda: self.answer().code == 250 and first.messages, "the best one, up again")
        taken = len(second.messages)
        self.check(self.answer(), 250)
        self.assertEqual(len(second.messages), taken)
        (pool,) = wait_for(lambda: {line["pool"] for line in self.gw.log(event="delivered")}, "the log")
        self.assertEqual(pool, f"mx:example.net:{self.port}")

    def test_no_mx_record_means_the_addresses(self):
        host = self.named_host(11)
        self.zone.addresses("example.net", "127.0.0.11")
        self.start(f"a.test mx:example.net:{self.port}\n")
        self.check(self.answer(), 250)
        self.assertEqual(len(host.messages), 1)

    def test_a_null_mx(self):
        self.zone.mx("example.net", (0, ""))
        self.start("a.test mx:example.net\n")
        self.assertIn("556 5.1.10", self.eventually("x@a.test", "556 5.1.10"))

    def test_ourselves(self):
        """A host is ourselves at the port that we listen on; the better one listens there too, at another address."""
        self.zone.addresses("gw.test", "127.0.0.99")
        self.zone.addresses("better.example.net", "127.0.0.11")
        self.zone.mx("best.test", (10, "gw.test"), (20, "better.example.net"))
        self.zone.mx("second.test", (5, "better.example.net"), (10, "gw.test"), (10, "other.example.net"))
        gateway = self.start("d.test 127.0.0.11\n")
        host = self.host(ip="127.0.0.11", port=gateway.port)
        self.reload(f"a.test mx:best.test:{gateway.port}\nb.test mx:second.test:{gateway.port}\n")
        self.assertIn("554 5.4.6", self.eventually("x@a.test", "554 5.4.6"))
        self.check(self.answer("x@b.test"), 250)
        self.assertEqual(len(host.messages), 1)


class Reloads(NamedHosts):
    def test_a_name_is_added_and_one_comes_again(self):
        host = self.named_host(11)
        self.zone.addresses("one.internal", "127.0.0.11")
        self.zone.addresses("two.internal", "127.0.0.11")
        self.start(f"a.test 127.0.0.11:{self.port}\n")
        for name in ("one", "two", "one", "one"):
            self.reload(f"a.test {name}.internal:{self.port}\n")
            self.check(self.answer(), 250)
        self.assertEqual(len(host.messages), 4)
        self.reload(f"a.test 127.0.0.11:{self.port}\n")
        asked = len(self.dns.asked)
        time.sleep(2.5)  # nobody asks for what no rule names
        self.assertEqual(len(self.dns.asked), asked)


    def test_reloads_that_come_faster_than_the_answers(self):
        host = self.named_host(11)

        def slow(query):
            time.sleep(0.4)
            return self.zone.respond(query)

        self.dns.respond = slow
        self.zone.addresses("mx.internal", "127.0.0.11")
        rules = f"a.test mx.internal:{self.port}\n"
        self.start(rules)
        for i in range(8):
            time.sleep(0.2)
            self.reload(rules + f"b{i}.test 127.0.0.11\n")
        self.check(self.answer(), 250)
        wait_for(lambda: self.gw.log(event="name resolved"), "the log")
        self.assertLess(len(self.dns.asked), 12)
        self.assertEqual(len(host.messages), 1)


class Commands(NamedHosts):
    def test_check_connect(self):
        self.named_host(11)
        self.zone.addresses("up.internal", "127.0.0.11")
        self.zone.addresses("down.internal", "127.0.0.12")
        self.zone.mx("null.test", (0, ""))
        gateway = self.start(
            "a.test a\nb.test no.internal\nc.test mx:null.test\n", {"a": [f"up.internal:{self.port}", f"down.internal:{self.port}"]})
        command = with_resolv_conf(gateway.folder, self.resolv_conf) + [POSTERN, "check", "-c", gateway.config, "--connect"]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked)
        self.assertEqual(
            sorted(line for line in checked.stderr.splitlines() if ": pool " in line),
            [
                f"warning: pool a: the smart host 127.0.0.12:{self.port} (down.internal) cannot be connected to: Connection refused",
                "warning: pool mx:null.test:25: null.test: takes no mail (null MX)",
                "warning: pool no.internal:25: no.internal: no such name",
            ],
        )

    def test_route_shows_the_addresses(self):
        self.named_host(11)
        self.zone.addresses("up.internal", "127.0.0.11")
        self.start(f"a.test up.internal:{self.port}\n")
        self.check(self.answer(), 250)
        text = self.gw.ask("/route?address=" + urllib.parse.quote("x@a.test")).text
        self.assertIn(f"the host up.internal:{self.port}", text)
        self.assertIn(f"host 127.0.0.11:{self.port} of up.internal:{self.port}: 1 connection open, trusted", text)
