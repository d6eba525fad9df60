#!/usr/bin/python3
"""The resolver against unbound and nsd, which change their answers, delay, fail and die, and against a server that lies.

usage: POSTERN_BUILD=build-debug tests/system/run.py names
"""

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
import unittest

from dns import A, AAAA, CNAME, MX, NS, FakeDns, Nsd, Unbound, address, labels, record
from harness import BUILD, LOOPBACK, Place, wait_for

WATCH_NAMES = BUILD / "tests/system/watch-names"
TIMEOUT_MS = 300
TRIES = 2


def setUpModule():
    if not WATCH_NAMES.exists():
        raise FileNotFoundError(f"{WATCH_NAMES} is not built: deploy/build.sh debug builds it, POSTERN_BUILD=build-debug says where")


class Answer:
    def __init__(self, line):
        self.question, self.kind, hosts, self.trouble = line.rstrip("\n").split("\t")
        self.hosts = [host.split() for host in hosts.split(";") if host]
        self.at = time.monotonic()

    def __repr__(self):
        return f"{self.question} {self.kind} {self.hosts} ({self.trouble})"


class Watcher:
    """The program under test, and what it said last of each question."""

    def __init__(self, server):
        self.process = subprocess.Popen(
            [WATCH_NAMES, f"{LOOPBACK}:{server.port}", str(TIMEOUT_MS), str(TRIES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers = {}
        self.history = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            answer = Answer(line)
            self.history.append(answer)
            self.answers[answer.question] = answer

    def watch(self, *questions):
        self.process.stdin.write(" ".join(questions) + "\n")
        self.process.stdin.flush()

    def wait(self, question, condition, what, seconds=20):
        def met():
            if self.process.poll() is not None:
                raise RuntimeError(f"watch-names ended with {self.process.returncode}")
            answer = self.answers.get(question)
            return answer if answer and condition(answer) else None

        try:
            return wait_for(met, what, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it has {self.answers.get(question)}") from None

    def kind(self, question, kind, seconds=20):
        return self.wait(question, lambda a: a.kind == kind, f"{question}: {kind}", seconds)

    def hosts(self, question, *hosts, seconds=20):
        wanted = [host.split() for host in hosts]
        return self.wait(question, lambda a: a.kind == "hosts" and a.hosts == wanted, f"{question}: {wanted}", seconds)

    def close(self):
        """It ends by itself, at once, whatever is in flight."""
        self.process.stdin.close()
        began = time.monotonic()
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.reader.join(10)
        self.process.stdout.close()
        if code != 0 or time.monotonic() - began > 5:
            raise RuntimeError(f"watch-names ended with {code} after {time.monotonic() - began:.1f} s")


class Test(unittest.TestCase):
    def setUp(self):
        self.place = self.enterContext(Place())

    def watcher(self, server):
        return self.place.add(Watcher(server))

    def real(self, *records):
        self.nsd = self.place.add(Nsd(self.place, "example.net", *records))
        self.unbound = self.place.add(Unbound(self.place, self.nsd))
        return self.watcher(self.unbound)

    def fake(self, respond):
        self.dns = self.place.add(FakeDns(respond))
        return self.watcher(self.dns)


class RealServers(Test):
    def test_each_kind_of_answer(self):
        watcher = self.real(
            "mx1 60 A 192.0.2.20", "mx1 60 A 192.0.2.3", "mx1 60 AAAA 2001:db8::1", "mx2 60 AAAA 2001:db8::2",
            "alias 60 CNAME alias2", "alias2 60 CNAME mx1", "loop 60 CNAME loop2", "loop2 60 CNAME loop",
            "text 60 TXT \"no address\"",
            "@ 60 MX 20 mx2", "@ 60 MX 10 mx1", "@ 60 MX 30 gone", "@ 60 MX 40 alias",
            "null 60 MX 0 .", "bare 60 A 192.0.2.9", "dead 60 MX 10 gone", "digits 60 MX 10 192.0.2.1.",
        )
        watcher.watch(
            "address:mx1.example.net", "address:alias.example.net", "address:loop.example.net", "address:text.example.net",
            "address:gone.example.net", "address:elsewhere.test", "mx:example.net", "mx:null.example.net", "mx:bare.example.net",
            "mx:dead.example.net", "mx:gone.example.net", "mx:text.example.net", "mx:alias.example.net", "mx:digits.example.net")
        watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.3 192.0.2.20 2001:db8::1")
        watcher.hosts("address:alias.example.net", "0 alias.example.net 192.0.2.3 192.0.2.20 2001:db8::1")
        watcher.kind("address:text.example.net", "no_addresses")
        watcher.kind("address:gone.example.net", "no_such_name")
        watcher.kind("address:elsewhere.test", "no_such_name")
        watcher.hosts(
            "mx:example.net", "10 mx1.example.net 192.0.2.3 192.0.2.20 2001:db8::1", "20 mx2.example.net 2001:db8::2", "30 gone.example.net",
            "40 alias.example.net 192.0.2.3 192.0.2.20 2001:db8::1")
        watcher.kind("mx:null.example.net", "null_mx")
        watcher.hosts("mx:bare.example.net", "0 bare.example.net 192.0.2.9")
        watcher.kind("mx:dead.example.net", "no_addresses")
        watcher.kind("mx:gone.example.net", "no_such_name")
        watcher.kind("mx:text.example.net", "no_addresses")
        watcher.hosts("mx:alias.example.net", "0 alias.example.net 192.0.2.3 192.0.2.20 2001:db8::1")
        watcher.kind("mx:digits.example.net", "no_addresses")
        # Aliases that lead to one another: unbound says so by a failure.
        watcher.kind("address:loop.example.net", "failed")

    def test_answers_change_when_their_ttl_is_over(self):
        ttl = 4
        watcher = self.real(f"mx1 {ttl} A 192.0.2.1", f"@ {ttl} MX 10 mx1")
        watcher.watch("address:mx1.example.net", "mx:example.net")
        first = watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.1")
        watcher.hosts("mx:example.net", "10 mx1.example.net 192.0.2.1")
        self.nsd.change(f"mx1 {ttl} A 192.0.2.9", f"mx2 {ttl} A 192.0.2.2", f"@ {ttl} MX 5 mx2", f"@ {ttl} MX 10 mx1")
        second = watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.9")
        self.assertGreater(second.at - first.at, ttl - 1.5)
        watcher.hosts("mx:example.net", "5 mx2.example.net 192.0.2.2", "10 mx1.example.net 192.0.2.9")
        # Everything goes: the domain takes no mail any more.
        self.nsd.change("@ 1 MX 0 .")
        watcher.kind("mx:example.net", "null_mx")
        watcher.kind("address:mx1.example.net", "no_such_name")

    def test_the_last_good_answer_serves_while_the_authority_is_dead(self):
        watcher = self.real("mx1 1 A 192.0.2.1", "mx2 1 A 192.0.2.2")
        watcher.watch("address:mx1.example.net")
        watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.1")
        self.nsd.close()
        served = watcher.wait("address:mx1.example.net", lambda a: a.trouble, "trouble")
        self.assertEqual(("hosts", [["0", "mx1.example.net", "192.0.2.1"]]), (served.kind, served.hosts))
        # Nothing is known of this one.
        watcher.watch("address:mx1.example.net", "address:mx2.example.net")
        failed = watcher.kind("address:mx2.example.net", "failed")
        self.assertRegex(failed.trouble, r"^A of mx2\.example\.net: (DNS server returned general failure|Timeout while contacting DNS servers)$")
        self.nsd.start()
        watcher.hosts("address:mx2.example.net", "0 mx2.example.net 192.0.2.2", seconds=60)
        watcher.wait("address:mx1.example.net", lambda a: a.kind == "hosts" and not a.trouble, "no more trouble", 60)

    def test_a_resolver_that_stands_still(self):
        watcher = self.real("mx1 1 A 192.0.2.1", "mx2 1 A 192.0.2.2")
        watcher.watch("address:mx1.example.net")
        watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.1")
        self.unbound.signal(signal.SIGSTOP)
        try:
            served = watcher.wait("address:mx1.example.net", lambda a: a.trouble, "trouble")
            self.assertEqual("hosts", served.kind)
            self.assertRegex(served.trouble, "Timeout")
            began = time.monotonic()
            watcher.watch("address:mx1.example.net", "address:mx2.example.net")
            self.assertRegex(watcher.kind("address:mx2.example.net", "failed").trouble, "Timeout")
            self.assertLess(time.monotonic() - began, 0.3 + 0.6 + 3)  # its tries, and a busy machine
        finally:
            self.unbound.signal(signal.SIGCONT)
        watcher.hosts("address:mx2.example.net", "0 mx2.example.net 192.0.2.2", seconds=60)
        watcher.wait("address:mx1.example.net", lambda a: a.kind == "hosts" and not a.trouble, "no more trouble", 60)

    def test_a_resolver_that_dies_and_comes_back(self):
        watcher = self.real("mx1 1 A 192.0.2.1")
        watcher.watch("address:mx1.example.net")
        watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.1")
        self.unbound.close()
        served = watcher.wait("address:mx1.example.net", lambda a: a.trouble, "trouble")
        self.assertEqual("hosts", served.kind)
        self.assertRegex(served.trouble, "Could not contact DNS servers")
        self.nsd.change("mx1 1 A 192.0.2.7")
        self.unbound.start()
        watcher.hosts("address:mx1.example.net", "0 mx1.example.net 192.0.2.7", seconds=60)

    def test_an_answer_too_large_for_a_datagram(self):
        watcher = self.real(*[f"mx{i} 60 A 192.0.2.{i}" for i in range(1, 101)], *[f"@ 60 MX {i} mx{i}" for i in range(1, 101)])
        watcher.watch("mx:example.net")
        watcher.hosts("mx:example.net", *[f"{i} mx{i}.example.net 192.0.2.{i}" for i in range(1, 33)])


NAME = "mx1.example.net"
QUESTION = f"address:{NAME}"
GOOD = f"0 {NAME} 192.0.2.1"


def honest(query):
    return query.answer(record(query.name, A, address("192.0.2.1"))) if query.type == A else query.answer()


class Lies(Test):
    def expect(self, respond, kind, trouble=""):
        watcher = self.fake(respond)
        watcher.watch(QUESTION)
        answer = watcher.kind(QUESTION, kind)
        self.assertRegex(answer.trouble, trouble if kind == "failed" else "^$")

    def test_what_comes_before_the_answer_does_not_count(self):
        evil = lambda q: record(NAME, A, address("192.0.2.66"))
        before = {
            "another identity": lambda q: q.answer(evil(q), identity=q.identity ^ 1),
            "another name": lambda q: q.answer(evil(q), question=labels("evil.test") + q.question[-4:]),
            "another type": lambda q: q.answer(evil(q), question=labels(NAME) + b"\0\x0f\0\1"),
            "octets without sense": lambda q: b"\xff" * 40,
            "less than a header": lambda q: q.answer()[:11],
            "an empty datagram": lambda q: b"",
            "a question that is cut": lambda q: q.answer()[:20],
        }
        for what, lie in before.items():
            with self.subTest(what), Place() as self.place:
                watcher = self.fake(lambda q: [lie(q), honest(q)])
                watcher.watch(QUESTION)
                self.assertEqual("", watcher.hosts(QUESTION, GOOD).trouble)
                self.assertNotIn("192.0.2.66", str(watcher.history))

    def test_only_lies(self):
        self.expect(lambda q: q.answer(record(NAME, A, address("192.0.2.66")), question=labels("evil.test") + q.question[-4:]), "failed", "Timeout")

    def test_records_of_others(self):
        def respond(query):
            return query.answer(
                record("evil.test", A, address("192.0.2.66")), record("evil.test", CNAME, labels(NAME)), record(NAME, MX, b"\0\1" + labels("evil.test")))

        self.expect(respond, "no_addresses")

    def test_the_wrong_type(self):
        self.expect(lambda q: q.answer(record(NAME, AAAA if q.type == A else A, address("2001:db8::66" if q.type == A else "192.0.2.66"))), "no_addresses")

    def test_data_of_the_wrong_size(self):
        self.expect(lambda q: q.answer(record(NAME, q.type, b"\1" * 5)), "failed", "malformed")

    def test_a_pointer_to_itself(self):
        def respond(query):
            at = 12 + len(query.question)
            return query.answer(bytes([0xc0 | at >> 8, at & 255]) + record("", query.type, b"\1" * (4 if query.type == A else 16))[1:])

        self.expect(respond, "failed", "malformed")

    def test_aliases_in_a_circle(self):
        self.expect(lambda q: q.answer(record(NAME, CNAME, labels("b.test")), record("b.test", CNAME, labels(NAME))), "failed", "malformed")

    def test_more_records_announced_than_there_are(self):
        self.expect(lambda q: q.answer(record(NAME, q.type, address("192.0.2.1")))[:6] + b"\xff\xff" + q.answer(record(NAME, q.type, address("192.0.2.1")))[8:],
                    "failed", "malformed")

    def test_a_referral(self):
        self.expect(lambda q: q.answer(authority=[record("net", NS, labels("ns.test"))]), "failed", "names others")

    def test_each_code_of_trouble(self):
        for rcode in (1, 2, 4, 5, 9):
            with self.subTest(rcode), Place() as self.place:
                self.expect(lambda q: q.answer(rcode=rcode), "failed", f"A of {NAME}: .")

    def test_a_truncated_answer_is_asked_for_by_tcp(self):
        watcher = self.fake(lambda q: honest(q) if q.tcp else q.answer(flags=0x8380))
        watcher.watch(QUESTION)
        watcher.hosts(QUESTION, GOOD)
        self.assertEqual({True, False}, {q.tcp for q in self.dns.asked})

    def test_truncated_by_tcp_too(self):
        self.expect(lambda q: q.answer(flags=0x8380), "failed", "truncated")

    def test_tcp_that_is_closed(self):
        self.expect(lambda q: None if q.tcp else q.answer(flags=0x8380), "failed", f"A of {NAME}: .")

    def test_a_slow_answer(self):
        def respond(query):
            time.sleep(0.1)
            return honest(query)

        watcher = self.fake(respond)
        watcher.watch(QUESTION)
        self.assertEqual("", watcher.hosts(QUESTION, GOOD).trouble)

    def test_a_ttl_of_nothing_is_asked_for_once_a_second(self):
        watcher = self.fake(lambda q: q.answer(record(q.name, A, address("192.0.2.1"), ttl=0)) if q.type == A else q.answer())
        watcher.watch(QUESTION)
        watcher.hosts(QUESTION, GOOD)
        time.sleep(3)
        asked = [q for q in self.dns.asked if q.type == A]
        self.assertIn(len(asked), range(2, 6))
        self.assertEqual(1, len(watcher.history))
        # Nobody asks for what is not watched.
        watcher.watch()
        time.sleep(0.5)
        count = len(self.dns.asked)
        time.sleep(2)
        self.assertEqual(count, len(self.dns.asked))


class Many(Test):
    def test_a_thousand_names_a_few_at_a_time(self):
        waiting = queue.Queue()
        watcher = self.fake(waiting.put)
        watcher.watch(*[f"address:host{i}.test" for i in range(1000)])
        most, answered = 0, 0
        while answered < 2000:
            # Answers go out when no further query comes: so the most in flight are seen.
            burst = [waiting.get(timeout=20)]
            with contextlib.suppress(queue.Empty):
                while True:
                    burst.append(waiting.get(timeout=0.03))
            most = max(most, len(burst))
            for query in burst:
                query.send(honest(query))
            answered += len(burst)
        wait_for(lambda: sum(a.kind == "hosts" for a in watcher.answers.values()) == 1000, "all answers")
        self.assertIn(most, range(32, 65))

    def test_it_ends_while_queries_are_in_flight(self):
        watcher = self.fake(lambda q: None)
        watcher.watch(*[f"address:host{i}.test" for i in range(200)])
        wait_for(lambda: len(self.dns.asked) >= 64, "queries")

    def test_reloads_while_queries_are_in_flight(self):
        watcher = self.fake(lambda q: None if len(self.dns.asked) < 20 else honest(q))
        for i in range(10):
            watcher.watch(QUESTION, f"address:host{i}.test")
        watcher.hosts(QUESTION, GOOD)
        watcher.kind("address:host9.test", "hosts")

    def test_servers_that_are_none(self):
        run = subprocess.run([WATCH_NAMES, "ns.example.net", "300", "2"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(1, run.returncode)
        self.assertRegex(run.stderr, r"the resolver could not be set up with the servers ns\.example\.net: ")


if __name__ == "__main__":
    tests = unittest.main(exit=False, verbosity=2).result
    failed = len(tests.failures) + len(tests.errors)
    sys.exit(1 if failed else 0)
