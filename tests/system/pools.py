"""Pools of several hosts through the real binary: shares, trouble, backups, and a host that dies under load and comes back."""

import re
import signal
import threading
import time
from collections import Counter

from delivery import PIPELINING_ONLY, Delivery
from harness import CLOSE, STALL, Closed, wait_for


class Pools(Delivery):
    def pool(self, *hosts, backup=(), pool=None, **settings):
        addresses = [host.address for host in hosts]
        self.gw = self.gateway(
            "a.test a\n", {"a": {"hosts": addresses, "backup": [b.address for b in backup], **(pool or {})}}, **settings
        )
        return self.gw

    def told_and_taken(self, told, hosts):
        """Each message is where its answer says: 250 once, 451 4.4.2 at most once, refused nowhere."""
        taken = Counter(m.recipients[0] for host in hosts for m in host.messages)
        for recipient, answer in told.items():
            count = taken[f"TO:<{recipient}>"]
            if answer.startswith("250"):
                self.assertEqual(count, 1, recipient)
            elif answer.startswith("451 4.4.2"):
                self.assertLessEqual(count, 1, recipient)
            else:
                self.assertEqual(count, 0, f"{recipient}: {answer}")


class Shares(Pools):
    def test_three_hosts_share(self):
        hosts = [self.host() for _ in range(3)]
        gateway = self.pool(*hosts)
        sessions = [self.session(gateway) for _ in range(6)]
        for _ in range(10):
            for s in sessions:
                self.check(s.mail("x@a.test"), 250)
        for host in hosts:
            self.assertGreaterEqual(len(host.messages), 12)

    def test_two_workers_share_the_connections(self):
        host = self.host(body=(0.05, "250 ok"))
        gateway = self.pool(host, pool={"connections": 3, "pipeline": 1}, workers=2)
        sessions = [self.session(gateway) for _ in range(12)]
        for s in sessions:
            s.envelope("x@a.test")
            s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        for s in sessions:
            self.check(s.read(), 250)
        # Three, and one for a worker that had none.
        self.assertLessEqual(host.connections, 4)

    def test_sources(self):
        host = self.host(body=(0.05, "250 ok"))
        gateway = self.pool(host, pool={"source": ["127.0.0.77", "127.0.0.78"]})
        sessions = [self.session(gateway) for _ in range(4)]
        for s in sessions:
            s.envelope("x@a.test")
            s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        for s in sessions:
            self.check(s.read(), 250)
        self.assertEqual({s.getpeername()[0] for s in host.sockets}, {"127.0.0.77", "127.0.0.78"})


class Idle(Pools):
    def test_a_host_set_aside_is_probed_without_mail(self):
        host = self.host()
        port = host.port
        gateway = self.pool(host)
        host.close()
        s = self.session(gateway)
        self.check(s.mail("x@a.test"), 451)
        wait_for(lambda: gateway.log(event="host trouble"), "the trouble")
        again = self.host(port=port)
        wait_for(lambda: "EHLO" in again.verbs(), "the probe")
        self.check(s.mail("x@a.test"), 250)

    def test_a_corrected_pool_begins_anew(self):
        host = self.host(ehlo=lambda name: "250 fake.test" if name == "right.test" else "550 5.7.1 who are you")
        gateway = self.pool(host, pool={"helo": "wrong.test"})
        s = self.session(gateway)
        for _ in range(3):
            self.check(s.mail("x@a.test"), 451)
        gateway.config.write_text(gateway.config.read_text().replace("wrong.test", "right.test"))
        done = gateway.reload()
        self.assertEqual(done.returncode, 0, done)
        self.check(s.mail("x@a.test"), 250)


class Workers(Pools):
    def test_long_senders_are_shared_out(self):
        """The kernel's hash alone would leave one worker with half as many again as the other, most of the time."""
        gateway = self.pool(self.host(), workers=2)
        sessions = [self.session(gateway) for _ in range(50)]
        gateway.signal(signal.SIGUSR1)
        pattern = re.compile(r"^postern: worker \d: .*listener \S+: connections=(\d+)", re.M)
        wait_for(lambda: len(pattern.findall(gateway.said())) == 2, "both workers' state")
        counts = [int(count) for count in pattern.findall(gateway.said())]
        self.assertEqual(sum(counts), 50, counts)
        self.assertLessEqual(max(counts), 1.2 * min(counts), counts)
        for s in sessions:
            self.check(s.mail("x@a.test"), 250)


class Trouble(Pools):
    def test_the_hosts_own_trouble_costs_no_message(self):
        for trouble in (
            {"greeting": "554 5.3.2 no"},
            {"greeting": "421 4.3.2 busy"},
            {"greeting": CLOSE},
            {"ehlo": "554 5.5.1 not for you"},
            {"ehlo": "421 4.3.2 no"},
            {"ehlo": CLOSE},
            {"mail": "530 5.7.0 authenticate"},
            {"mail": "502 5.5.1 no"},
            {"rcpt": "521 5.3.2 no"},
            {"rcpt": "503 5.5.1 no"},
            {"body": "555 5.5.4 no"},
            {"extensions": (), "data": "503 5.5.1 no"},
            {"extensions": (), "mail": CLOSE},
            {"extensions": (), "rcpt": CLOSE},
            {"extensions": (), "data": CLOSE},
        ):
            with self.subTest(trouble=trouble):
                bad, good = self.host(**trouble), self.host()
                s = self.session(self.pool(bad, good))
                for _ in range(6):
                    self.check(s.mail("x@a.test"), 250)
                self.assertEqual(len(good.messages), 6)
                self.assertEqual(bad.messages, [])
                self.assertLessEqual(bad.connections, 4)

    def test_the_messages_own_answers_are_the_senders(self):
        for step in ("mail", "rcpt", "body"):
            for answer, told in (
                ("421 4.3.2 bye", "451 4.3.2 bye"),
                ("450 4.2.1 later", "450 4.2.1 later"),
                ("554 5.7.1 never", "554 5.7.1 never"),
                ("501 5.1.3 syntax", "501 5.1.3 syntax"),
            ):
                with self.subTest(step=step, answer=answer):
                    first, other = self.host(**{step: answer}), self.host()
                    s = self.session(self.pool(first, backup=[other]))
                    self.check(s.mail("x@a.test"), told)
                    self.assertEqual(other.messages, [])

    def test_an_answer_lost_is_never_sent_elsewhere(self):
        first, other = self.host(body=CLOSE), self.host()
        s = self.session(self.pool(first, backup=[other]))
        self.check(s.mail("x@a.test"), 451, "4.4.2")
        self.assertEqual((len(first.seen), len(other.seen)), (1, 0))

    def test_a_host_that_accepts_and_never_answers(self):
        for behaviour in ({"greeting": STALL}, {"ehlo": STALL}):
            with self.subTest(behaviour=behaviour):
                silent, good = self.host(**behaviour), self.host()
                s = self.session(self.pool(silent, good))
                began = time.monotonic()
                for _ in range(10):
                    self.check(s.mail("x@a.test"), 250)
                self.assertLess(time.monotonic() - began, 3)

    def test_all_are_gone(self):
        hosts = [self.host() for _ in range(3)]
        for host in hosts:
            host.close()
        s = self.session(self.pool(*hosts[:2], backup=hosts[2:]))
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        began = time.monotonic()
        self.check(s.mail("x@a.test"), 451, "4.4.1")
        self.assertLess(time.monotonic() - began, 0.5)

    def test_backups_in_order(self):
        first, second, third = self.host(), self.host(), self.host()
        s = self.session(self.pool(first, backup=[second, third]))
        self.check(s.mail("x@a.test"), 250)
        first.close()
        for _ in range(5):
            self.check(s.mail("x@a.test"), 250)
        self.assertEqual([len(h.messages) for h in (first, second, third)], [1, 5, 0])
        second.close()
        for _ in range(5):
            self.check(s.mail("x@a.test"), 250)
        self.assertEqual([len(h.messages) for h in (first, second, third)], [1, 5, 5])
        back = self.host(port=first.port)

        def has_mail():
            self.check(s.mail("x@a.test"), 250)
            return back.messages

        wait_for(has_mail, "the first host to be used again", 15)


class UnderLoad(Pools):
    def load(self, gateway, name, stop, told):
        def send():
            session = None
            number = 0
            while not stop.is_set():
                try:
                    session = session or self.session(gateway)
                    recipient = f"{name}.{number}@a.test"
                    number += 1
                    told[recipient] = str(session.mail(recipient))
                except (OSError, Closed) as error:
                    told[recipient] = f"broken: {error}"
                    session = None

        thread = threading.Thread(target=send)
        thread.start()
        return thread

    def test_a_host_dies_and_comes_back(self):
        for extensions in (PIPELINING_ONLY, None):
            with self.subTest(extensions=extensions):
                made = {"extensions": extensions} if extensions else {}
                hosts = [self.host(**made) for _ in range(4)]
                gateway = self.pool(*hosts, workers=2)
                stop, told = threading.Event(), {}
                threads = [self.load(gateway, f"s{n}", stop, told) for n in range(8)]
                try:
                    time.sleep(1)
                    hosts[0].close()
                    died = time.monotonic()
                    time.sleep(2)
                    back = self.host(port=hosts[0].port, **made)
                    wait_for(lambda: back.messages, "mail at the host that is back", 20)
                    began, before = time.monotonic(), [len(h.messages) for h in (back, *hosts[1:])]
                    time.sleep(4)
                    gained = [len(h.messages) - b for h, b in zip((back, *hosts[1:]), before)]
                finally:
                    stop.set()
                    for thread in threads:
                        thread.join(30)
                self.told_and_taken(told, [*hosts, back])
                answers = Counter(answer[:9] for answer in told.values())
                # Only those that the dying host owed an answer.
                self.assertLessEqual(sum(answers.values()) - answers["250 2.0.0"], 8, answers)
                self.assertGreater(gained[0], sum(gained) / 8, f"{gained} since {began - died} s behind its end")
