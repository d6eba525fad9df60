"""`postern queue`: what it lists, filters and changes while mail flows; and a spool that no process has open."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

from admin import STALLING
from harness import LOOPBACK, POSTERN, FakeHost, Process, SystemTest, free_port, wait_for

RULES = "here.test here\naway.test away\nthere.test there\n"

# A segment is not read while the file is there.
SLOW_DISK = """
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

extern "C" ssize_t pread64(int file, void* into, size_t size, off64_t offset) {
    while (size >= 1 << 20 && access(getenv("STALL_FILE"), F_OK) == 0) {
        usleep(10000);
    }
    return reinterpret_cast<decltype(&pread64)>(dlsym(RTLD_NEXT, "pread64"))(file, into, size, offset);
}
"""
BODY = b"Subject: x\r\n\r\n.a dot\r\nand more\r\n"


class QueueTest(SystemTest):
    """A gateway in `queue` mode with three pools: `here` answers, `away` and `there` are down until a test brings them up."""

    def start(self, rules=RULES, workers=2, **settings):
        self.here = self.host()
        self.ports = {"away": free_port(), "there": free_port()}
        pools = {"here": self.here.address, **{name: f"{LOOPBACK}:{port}" for name, port in self.ports.items()}}
        self.running = self.gateway(
            rules, pools, workers=workers, delivery={"mode": "queue", "postmaster": "postmaster@here.test"}, **settings)
        wait_for(lambda: self.running.ask("/ready").status == 200, "Postern to be ready")
        self.smtp = self.session(self.running)
        return self.running

    def bring_up(self, name, **behaviour):
        return self.place.add(FakeHost(port=self.ports[name], **behaviour))

    def send(self, *recipients, session=None, **envelope):
        """The ID of a message that was taken."""
        reply = (session or self.smtp).mail(list(recipients), BODY, **envelope)
        self.assertEqual(reply.code, 250, reply)
        return re.fullmatch(r"2\.0\.0 queued as ([0-9A-Z]+)", reply.text)[1]

    def queue(self, command, *arguments, code=0, said=""):
        """What `postern queue` says on standard output. `said`: is in what it says on standard error."""
        done = subprocess.run(
            [POSTERN, "queue", command, "-c", self.running.config, *arguments], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(said, done.stderr)
        if not said:
            self.assertEqual(done.stderr, "")
        return done.stdout

    def listed(self, *filters, **options):
        """The messages, as JSON says them."""
        return json.loads(self.queue("list", "--json", *filters, **options))

    def ids(self, *filters):
        return [message["id"] for message in self.listed(*filters)]

    def wait_until_waiting(self, count):
        wait_for(lambda: len(self.ids()) == count, f"{count} messages to wait")

    def stop(self):
        self.running.close()

    def run_again(self, **options):
        """In the same folder."""
        again = self.place.add(Process([POSTERN, "run", "-c", self.running.config], self.running.folder, "again", **options))
        again.wait_listening(self.running.port)
        wait_for(lambda: self.running.ask("/ready").status == 200, "its workers")


class Lists(QueueTest):
    def test_what_waits_for_whom_and_why(self):
        self.start()
        self.send("x@here.test")
        first = self.send("y@away.test", sender="anna@one.test")
        second = self.send("z@away.test", "w@there.test", sender="")
        self.wait_until_waiting(2)
        wait_for(lambda: self.listed(first)[0]["recipients"][0]["reply"], "the host to be asked")
        text = self.queue("list").splitlines()
        self.assertTrue(text[0].startswith("ID  "), text)
        self.assertRegex(text[1], f"^{first} +[0-9] s +[0-9]+ B  <anna@one.test>$")
        self.assertRegex(text[2], "^    <y@away.test>  waiting for away.*: 451 4.4.1 no smart host could be reached")
        self.assertRegex(text[3], f"^{second} .*  <>$")
        self.assertRegex(text[5], "^    <w@there.test>  waiting for there")
        self.assertEqual(text[-1], "2 messages")
        message = self.listed()[1]
        self.assertEqual([r["address"] for r in message["recipients"]], ["z@away.test", "w@there.test"])
        self.assertEqual([r["pool"] for r in message["recipients"]], ["away", "there"])
        self.assertEqual((message["mode"], message["held"], message["orphaned"]), ("queue", False, False))

    def test_each_filter(self):
        self.start()
        a = self.send("x@away.test", sender="Anna@one.test")
        b = self.send("x@sub.away.test", sender="bob@sub.one.test")
        c = self.send("x@there.test", sender="")
        for filters, wanted in [
            ((), [a, b, c]),
            (("--domain", "away.test"), [a, b]),
            (("--domain", "=AWAY.test."), [a]),
            (("--domain", "test"), [a, b, c]),
            (("--domain", "way.test"), []),
            (("--pool", "away"), [a, b]),
            (("--pool", "there"), [c]),
            (("--sender", "anna@One.test"), [a]),
            (("--sender", "@one.test"), [a]),
            (("--sender", "<>"), [c]),
            (("--older-than", "1h"), []),
            (("--older-than", "1 ms"), [a, b, c]),
            (("--held",), []),
            (("--orphaned",), []),
            ((c, a), [a, c]),
            (("--pool", "away", "--sender", "bob@sub.one.test"), [b]),
            (("--pool", "away", "--sender", "<>"), []),
        ]:
            self.assertEqual(self.ids(*filters), wanted, filters)

    def test_long_answers_come_piece_by_piece(self):
        self.start()
        sent = [self.send("x@away.test") for _ in range(230)]
        other = self.session(self.running)  # another worker's, maybe
        sent += [self.send("x@away.test", session=other) for _ in range(20)]
        self.wait_until_waiting(250)
        self.assertEqual(self.ids(), sorted(sent))
        self.assertEqual(self.ids("--limit", "7"), sorted(sent)[:7])
        self.assertIn("\n130 messages, and there are more\n", self.queue("list", "--limit", "130"))
        self.assertEqual(self.ids(*sent), sorted(sent))  # more IDs than one request may have
        self.assertEqual(self.ids("--limit", "7", *sent), sorted(sent)[:7])  # what a limit leaves out is not missing

    def test_show_says_all_that_is_known(self):
        self.start()
        id_ = self.send("x@here.test", "y@away.test", parameters=" BODY=8BITMIME")
        wait_for(lambda: self.here.messages, "one to be delivered")
        wait_for(lambda: self.listed(id_)[0]["recipients_waiting"] == 1, "that to be known")
        text = self.queue("show", id_)
        for part in ("sender     <sender@client.test>\n", "accepted   as queue\n", "client     127.0.0.1\n", "BODY       8BITMIME\n",
                     "  <x@here.test>\n    delivered", "  <y@away.test>\n    waiting for away"):
            self.assertIn(part, text)
        (message,) = json.loads(self.queue("show", "--json", id_))
        self.assertEqual([r["state"] for r in message["recipients"]], ["delivered", "waiting"])
        # A list shows who waits.
        self.assertEqual([r["address"] for r in self.listed(id_)[0]["recipients"]], ["y@away.test"])

    def test_a_recipient_that_no_rule_leads_anywhere_is_orphaned(self):
        self.start()
        self.send("x@away.test")
        id_ = self.send("x@away.test", "y@there.test")
        self.running.write_rules("here.test here\naway.test away\nthere.test reject:gone\n")
        self.assertEqual(self.running.reload().returncode, 0)
        (message,) = wait_for(lambda: self.listed("--orphaned"), "an orphan")
        self.assertEqual((message["id"], message["orphaned"]), (id_, True))
        self.assertEqual([r["pool"] for r in message["recipients"]], ["away", ""])
        self.assertIn("(orphaned)", self.queue("list", "--orphaned"))

    def test_what_is_wrong_is_said(self):
        self.start()
        id_ = self.send("x@away.test")
        self.queue("show", "06N3", code=1, said="06N3 is not in the queue")
        self.queue("list", id_, "06N3", code=1, said="1 of 2 IDs are not in the queue")
        self.queue("list", "nonsense", code=1, said="nonsense is no ID")
        self.queue("list", "--domain", "a..b", code=1, said="a..b is no domain")
        self.queue("list", "--older-than", "5", code=1, said="5 is no age")
        for limit in "0", "-1", "many", "1.5":
            self.queue("list", "--limit", limit, code=2, said=f"--limit: {limit} is no count; allowed: 1 or more\n")
        self.queue("export", self.running.folder / "out", code=1, said="only a spool that no process has open is exported")
        self.queue("list", "--admin", "unix:/nowhere/there", code=2, said="nobody answers at /nowhere/there")

    def test_a_configuration_that_may_not_be_looked_at(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            config = pathlib.Path(folder, "closed", "p.toml")
            config.parent.mkdir(0o700)
            config.write_text("")
            for command in (["queue", "list"], ["queue", "export", pathlib.Path(folder, "out")], ["reload"], ["route", "--live", "x@a.test"]):
                for admin, said in ([], str(config)), (["--admin", "unix:/nowhere/there"], "nobody answers"):
                    if admin and command[1:2] == ["export"]:
                        continue  # asks nobody
                    with self.subTest(command=command, admin=admin):
                        done = subprocess.run([POSTERN, *command, "-c", config, *admin], user=65534, capture_output=True, text=True)
                        self.assertIn(done.returncode, (1, 2), done.stderr)
                        self.assertIn(said, done.stderr)
                        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Changes(QueueTest):
    def test_a_change_of_everything_must_say_so(self):
        self.start()
        id_ = self.send("x@away.test")
        for command in ("retry", "hold", "release", "remove"):
            self.queue(command, code=2, said="--all means every one")
            self.queue(command, "06N3", code=1, said="06N3 is not in the queue")
        self.assertEqual(self.ids(), [id_])
        # The server does not rely on the command.
        answer = self.running.ask("/queue/remove", "POST", **{"Content-Length": "0"})
        self.assertEqual((answer.status, self.ids()), (400, [id_]))
        answer = self.running.ask("/queue/remove?domian=away.test&all=1", "POST", **{"Content-Length": "0"})
        self.assertEqual((answer.status, self.ids()), (400, [id_]))
        self.assertEqual(json.loads(self.queue("remove", "--all", "--json")), {"changed": 1, "left_out": 0})
        self.assertEqual(self.ids(), [])

    def test_what_is_held_waits_over_a_restart_until_it_is_released(self):
        self.start()
        held, other = self.send("x@away.test"), self.send("y@away.test")
        self.assertEqual(self.queue("hold", held), "1 message is held\n")
        self.assertEqual(self.queue("hold", held), "0 messages are held\n1 were held already\n")
        self.assertIn("(held)", self.queue("list", held))
        self.assertEqual(self.ids("--held"), [held])
        time.sleep(0.5)  # until it is on the disk
        self.stop()
        self.run_again()
        wait_for(lambda: self.ids() == [held, other], "what was kept")
        self.assertEqual(self.ids("--held"), [held])
        away = self.bring_up("away")
        wait_for(lambda: away.messages, "the other to be delivered", 60)
        wait_for(lambda: self.ids() == [held], "that to be known")
        self.assertEqual(self.queue("retry", "--all").splitlines()[0], "0 messages will be tried as soon as the smart host takes mail")
        time.sleep(0.5)
        self.assertEqual(len(away.messages), 1)
        self.assertEqual(self.queue("release", "--held"), "1 message is released\n")
        wait_for(lambda: len(away.messages) == 2, "the held one to be delivered", 60)
        wait_for(lambda: not self.ids(), "the queue to be empty")

    def test_retry_does_not_wait(self):
        self.start(retry={"first": "1 h"})
        answers = {"y@away.test": "450 4.2.1 later", "x@away.test": "451 4.2.2 full"}
        away = self.bring_up("away", rcpt=lambda parameter: answers.get(re.search("<(.*?)>", parameter)[1], "250 2.1.5 ok"))
        x, y = self.send("x@away.test"), self.send("y@away.test")
        wait_for(lambda: all(m["recipients"][0]["attempts"] for m in self.listed()), "both to be refused for now")
        self.assertRegex(self.queue("list", x), r"waiting for away, 1 attempt, next in (59|60) min: 451 4\.2\.2 full")
        answers.clear()
        time.sleep(0.5)
        self.assertEqual(away.messages, [])
        self.assertEqual(self.queue("retry", x), "1 message will be tried as soon as the smart host takes mail\n")
        wait_for(lambda: away.messages, "it to be delivered")
        wait_for(lambda: self.ids() == [y], "that to be known")
        self.queue("retry", "--domain", "away.test")
        wait_for(lambda: not self.ids(), "the other")
        self.assertEqual([m.recipients for m in away.messages], [["TO:<x@away.test>"], ["TO:<y@away.test>"]])

    def test_what_is_removed_is_gone(self):
        self.start()
        bad = [self.send("x@away.test", sender="spam@bad.test") for _ in range(5)]
        good, both = self.send("x@away.test"), self.send("x@away.test", "y@there.test")
        self.assertEqual(
            self.queue("remove", "--sender", "@bad.test"), "5 messages removed; the senders are not notified\n")
        self.assertEqual(self.ids(), [good, both])
        self.assertEqual(len(wait_for(lambda: self.running.log(event="removed"), "the log")), 5)
        self.assertEqual({line["id"] for line in self.running.log(event="removed")}, set(bad))
        # One for two: nobody loses mail by a filter that means somebody else.
        self.assertRegex(self.queue("remove", "--domain", "away.test"), r"^1 message removed; .*\n1 left out, .*by ID\n$")
        self.assertEqual(self.ids(), [both])
        self.queue("remove", both)
        self.assertEqual(self.ids(), [])
        time.sleep(0.5)
        self.stop()
        self.run_again()
        away = self.bring_up("away")
        time.sleep(2)
        self.assertEqual((self.ids(), away.messages, self.here.messages), ([], [], []))

    def test_the_sender_is_told_where_that_is_asked(self):
        self.start()
        id_ = self.send("x@away.test", sender="anna@here.test")
        self.assertEqual(self.queue("remove", id_, "--notify"), "1 message removed; the senders are notified\n")
        (told,) = wait_for(lambda: self.here.messages, "the notification")
        self.assertEqual(told.recipients, ["TO:<anna@here.test>"])
        self.assertTrue(told.sender.startswith("FROM:<>"), told.sender)
        self.assertIn(b"Final-Recipient: rfc822; x@away.test", told.content)
        self.assertIn(b"Action: failed", told.content)
        wait_for(lambda: not self.ids(), "the queue to be empty")

    def test_nothing_is_lost_or_doubled_while_mail_flows(self):
        self.start()
        taken, over = [], threading.Event()

        def send(number):
            session = self.session(self.running)
            for i in range(150):
                domain = "here.test" if i % 3 else "away.test"
                taken.append((self.send(f"r{number}.{i}@{domain}", session=session), domain))

        def ask():
            while not over.is_set():
                self.queue("retry", "--all")
                self.listed("--domain", "away.test")
                self.queue("hold", "--domain", "there.test")

        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)] + [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        removed = 0
        for _ in range(20):
            removed += json.loads(self.queue("remove", "--domain", "away.test", "--json"))["changed"]
        for thread in threads[:4]:
            thread.join()
        over.set()
        for thread in threads[4:]:
            thread.join()
        self.assertEqual(len(taken), 600)
        here = wait_for(lambda: len(self.here.messages) >= 400 and self.here.messages, "what has a host", 60)
        self.assertEqual(len({m.recipients[0] for m in here}), 400)
        self.assertEqual(len(here), 400)
        wait_for(lambda: removed + len(self.ids()) == 200, "what has none is removed, or waits")
        away = self.bring_up("away")
        wait_for(lambda: removed + len(away.messages) == 200, "the rest", 60)
        wait_for(lambda: not self.ids(), "the queue to be empty")
        self.assertEqual(len({m.recipients[0] for m in away.messages}), len(away.messages))

    def test_a_worker_that_stands_still_is_named(self):
        source, library, stall = (self.place.folder / name for name in ("stalling.cc", "stalling.so", "stall"))
        source.write_text(STALLING)
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", library], check=True)
        self.start(environment={"LD_PRELOAD": str(library), "STALL_FILE": str(stall), "ASAN_OPTIONS": "verify_asan_link_order=0"})
        sessions = [self.session(self.running) for _ in range(8)]
        sent = {self.send("x@away.test", session=session) for session in sessions}
        self.wait_until_waiting(8)

        def ask_one_that_stands_still():
            done = subprocess.run(
                [POSTERN, "queue", "list", "-c", self.running.config, "--json"], capture_output=True, text=True, timeout=60)
            return done.returncode and done

        stall.touch()
        with contextlib.closing(socket.create_connection((LOOPBACK, self.running.port))):
            done = wait_for(ask_one_that_stands_still, "a worker to stand still")
            self.assertRegex(done.stderr, r"^postern: worker [01] does not answer: its messages are not among these")
            self.assertLessEqual({message["id"] for message in json.loads(done.stdout)}, sent)
            self.assertIn("messages", json.loads(self.running.ask("/health").text)["spool"])
            stall.unlink()
        wait_for(lambda: set(self.ids()) == sent, "all of them")

    def test_a_spool_that_is_still_being_read_is_waited_for(self):
        source, library, stall = (self.place.folder / name for name in ("slow_disk.cc", "slow_disk.so", "stall"))
        source.write_text(SLOW_DISK)
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", library], check=True)
        self.start()
        sent = [self.send("x@away.test") for _ in range(5)]
        time.sleep(0.5)  # until their state is on the disk
        self.stop()
        stall.touch()
        self.run_again(environment={
            "LD_PRELOAD": str(library), "STALL_FILE": str(stall), "ASAN_OPTIONS": "verify_asan_link_order=0"})
        self.assertTrue(json.loads(self.running.ask("/health").text)["spool"]["recovering"])
        for path, method in (("/queue", "GET"), ("/queue/hold?all=1", "POST"), ("/queue/remove?all=1", "POST")):
            answer = self.running.ask(path, method, **{"Content-Length": "0"})
            self.assertEqual(answer.status, 503, answer)
            self.assertEqual(answer.text, "the spool is still being read after the start (0 messages so far): ask again in a moment\n")
        commands = [
            subprocess.Popen([POSTERN, "queue", *words, "-c", self.running.config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for words in (["hold", "--all"], ["list"], ["show", sent[0]])]
        time.sleep(2)
        self.assertEqual([command.poll() for command in commands], [None, None, None])
        stall.unlink()
        for command, said in zip(commands, ("5 messages are held\n", "5 messages\n", sent[0])):
            out, error = command.communicate(timeout=60)
            self.assertEqual(command.returncode, 0, error)
            self.assertIn(said, out)
            self.assertRegex(error, "^postern: the spool is still being read after the start: .*\n$")
        self.assertEqual(self.ids("--held"), sent)

    def test_a_stranger_over_tcp_sees_and_changes_nothing(self):
        port = free_port()
        self.running = self.gateway("here.test here\n", {"here": self.host().address}, admin={"address": f"{LOOPBACK}:{port}"})
        self.queue("list", code=1, said="over TCP only GET /metrics, /health and /ready are served")
        self.queue("remove", "--all", code=1, said="over TCP only")


class Archive(QueueTest):
    def kept(self):
        """A stopped gateway, and the IDs in its spool."""
        self.start()
        ids = [self.send("x@away.test", sender="anna@one.test"), self.send("y@away.test", "z@there.test", sender="")]
        self.wait_until_waiting(2)
        time.sleep(0.5)  # until their state is on the disk
        self.stop()
        return ids

    def test_is_listed_where_nobody_answers_and_changed_by_nobody(self):
        first, second = self.kept()
        said = "this is read from the spool"
        self.assertEqual([m["id"] for m in self.listed(said=said)], [first, second])
        self.assertIn("<anna@one.test>", self.queue("list", said=said))
        self.assertEqual([m["id"] for m in self.listed("--sender", "<>", said=said)], [second])
        self.assertEqual([m["id"] for m in self.listed("--limit", "1", said=said)], [first])
        self.assertIn("<z@there.test>\n    waiting", self.queue("show", second, said=said))
        self.queue("show", first, "06N3", code=1, said="1 of 2 IDs are not in it")
        self.assertEqual([m["id"] for m in self.listed(first, first, said=said)], [first])
        self.assertEqual([m["id"] for m in self.listed("--limit", "1", first, second, said=said)], [first])
        self.queue("list", "--pool", "away", code=2, said="need a running Postern")
        for command in ("retry", "hold", "release", "remove"):
            self.queue(command, "--all", code=2, said="mail is changed by the Postern that has its spool open")
        self.assertEqual([m["id"] for m in self.listed(said=said)], [first, second])

    def test_is_exported_as_files_and_stays_as_it_is(self):
        first, second = self.kept()
        out = self.running.folder / "out"
        self.assertEqual(self.queue("export", out), f"2 messages written to {out}\n")
        self.assertEqual(sorted(p.name for p in out.iterdir()), sorted(f"{i}.{e}" for i in (first, second) for e in ("eml", "json")))
        content = (out / f"{first}.eml").read_bytes()
        self.assertTrue(content.startswith(b"Received: from client.test "), content)
        self.assertTrue(content.endswith(b"\r\n" + BODY), content)
        envelope = json.loads((out / f"{second}.json").read_text())
        self.assertEqual((envelope["id"], envelope["sender"]), (second, ""))
        self.assertEqual([r["address"] for r in envelope["recipients"]], ["y@away.test", "z@there.test"])
        self.assertEqual(pathlib.Path(out / f"{first}.eml").stat().st_mode & 0o777, 0o600)
        # Nothing is written over.
        self.queue("export", out, code=1, said="File exists")
        self.assertEqual((out / f"{first}.eml").read_bytes(), content)
        some = self.running.folder / "some"
        self.assertEqual(self.queue("export", some, "--sender", "anna@one.test"), f"1 message written to {some}\n")
        self.assertEqual(self.queue("export", self.running.folder / "one", second).split()[0], "1")
        # The same octets that a smart host gets.
        self.run_again()
        away = self.bring_up("away")
        wait_for(lambda: len(away.messages) == 2, "all to be delivered", 60)
        self.assertIn(content, [m.content for m in away.messages])

    def test_of_one_that_was_killed(self):
        self.start()
        ids = [self.send("x@away.test") for _ in range(20)]
        self.running.signal(signal.SIGKILL)
        self.running.child.wait()
        self.assertEqual([m["id"] for m in self.listed(said="this is read from the spool")], ids)
