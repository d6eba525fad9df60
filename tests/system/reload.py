"""Configuration and rules that change while mail flows: by SIGHUP and by `postern reload`. What was in force stays so where
anything is wrong; a transaction keeps the rules it began with; what did not change goes on."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

from harness import BENCH, LOOPBACK, Gateway, Process, Session, SystemTest, free_port, wait_for

BODY = b"Subject: x\r\n\r\nhello\r\n"


class Reload(SystemTest):
    """A gateway with two smart hosts, `one` and `two`."""

    def setUp(self):
        super().setUp()
        self.one = self.host()
        self.two = self.host()

    def start(self, text="a.test one\nb.test two\n", **settings):
        self.pools = {"one": self.one.address, "two": self.two.address}
        self.settings = {"workers": 2, "delivery": {"postmaster": "postmaster@a.test"}, **settings}
        self.running = self.place.add(Gateway(self.place, text, self.pools, **self.settings))
        return self.running

    def configure(self, pools=None, listener=None, more="", **settings):
        """Writes the configuration anew, as `start` did, with these instead of its own."""
        top = {**self.settings, **settings}
        text = self.running.configuration(pools or self.pools, listener or {}, top)
        self.running.config.write_text(text + more)

    def hang_up(self, event="reloaded"):
        """SIGHUP; returns the log's line of what came of it."""
        count = len(self.running.log(event=event))
        self.running.signal(signal.SIGHUP)
        return wait_for(lambda: self.running.log(event=event)[count:], event)[0]

    def command(self, *options, gateway=None):
        return (gateway or self.running).reload(*options)

    def answer(self, session, address):
        """To RCPT, in a transaction of its own."""
        reply = session.envelope(address)[-1]
        session.command("RSET")
        return reply.code

    def generation(self, session, address="x@a.test"):
        """Which one answers a message now: by the log."""
        self.assertEqual(session.mail(address).code, 250)
        count = len(self.one.messages) + len(self.two.messages)
        lines = wait_for(lambda: self.running.log(event="delivered")[count - 1 :], "the message in the log")
        return lines[-1]["generation"]


class Rules(Reload):
    def test_a_transaction_keeps_the_rules_it_began_with(self):
        gateway = self.start()
        began, next_to_it = self.session(gateway), self.session(gateway)
        began.envelope("x@a.test")
        gateway.write_rules("a.test two\nb.test two\nc.test one\n")
        line = self.hang_up()
        self.assertEqual(line["generation"], 2)
        self.assertRegex(line["reply"], r"^rules \+1 -0 ~1 of 3; 1 domain changes its smart host; pools \+0 -0 ~0;")
        self.assertEqual(began.command("RCPT TO:<x@c.test>").code, 550)
        self.assertEqual(began.data(BODY).code, 250)
        self.assertEqual(next_to_it.mail("x@a.test", BODY).code, 250)
        self.assertEqual(self.answer(began, "x@c.test"), 250)
        self.assertEqual((len(self.one.messages), len(self.two.messages)), (1, 1))
        delivered = wait_for(lambda: len(lines := gateway.log(event="delivered")) == 2 and lines, "both in the log")
        self.assertEqual(sorted((line["generation"], line["pool"]) for line in delivered), [(1, "one"), (2, "two")])
        (refused,) = wait_for(lambda: gateway.log(event="rejected"), "the refusal in the log")
        self.assertEqual(refused["generation"], 1)

    def test_four_generations_live_and_a_fifth_asks_for_patience(self):
        gateway = self.start(workers=1)
        sessions = []
        for number in range(1, 6):
            sessions.append(self.session(gateway))
            sessions[-1].envelope("x@a.test")
            if number < 5:
                gateway.write_rules(f"a.test one\ng{number + 1}.test one\n")
                self.hang_up()
        reply = sessions[0].command("RCPT TO:<y@a.test>")
        self.assertEqual((reply.code, reply.text[:5]), (451, "4.3.2"))
        for number, s in list(enumerate(sessions, 1))[1:]:
            self.assertEqual(s.command(f"RCPT TO:<x@g{number}.test>").code, 250)
        self.assertEqual(sessions[0].data(BODY).code, 250)
        self.assertEqual(self.answer(sessions[0], "x@g5.test"), 250)

    def test_what_is_wrong_changes_nothing_and_is_told_in_one_line(self):
        gateway = self.start()
        s = self.session(gateway)
        rules, configuration = gateway.rules.read_text(), gateway.config.read_text()
        broken = [
            (gateway.rules, "a.test two\nb.test\n", r"main\.rules:2:7: .*no target"),
            (gateway.rules, "a.test two\nb.test tw", r"main\.rules:2:.*no pool|main\.rules:2:.*newline"),
            (gateway.rules, "a.test two\na.test two\n", r"main\.rules:2:1: the same pattern"),
            (gateway.rules, "# nothing\n", r"main\.rules:1:1: no rule"),
            (gateway.config, configuration.replace("workers = 2", "wrokers = 2"), r"postern\.toml:2:1: .*wrokers"),
            (gateway.config, configuration[: len(configuration) // 3], r"postern\.toml:\d+:\d+: "),
            (gateway.config, configuration.replace('"main.rules"', '"*.none"'), r"postern\.toml:\d+:\d+: .*\*\.none"),
        ]
        for number, (file, text, said) in enumerate(broken, 1):
            with self.subTest(said):
                file.write_text(text)
                line = self.hang_up("reload refused")
                self.assertRegex(line["reply"], said)
                self.assertEqual(line["generation"], 1)
                self.assertEqual(self.generation(s), 1)
                refused = self.command("--admin", f"unix:{gateway.folder}/admin.sock")
                self.assertEqual(refused.returncode, 1, refused)
                wait_for(lambda: len(gateway.log(event="reload refused")) == 2 * number, "its line")
                self.assertRegex(refused.stderr, said)
                self.assertIn("generation 1 stays in force", refused.stderr)
                gateway.rules.write_text(rules)
                gateway.config.write_text(configuration)
        self.assertEqual(len(self.two.messages), 0)
        gateway.rules.unlink()
        self.assertRegex(self.hang_up("reload refused")["reply"], r"postern\.toml:\d+:\d+: ")
        gateway.rules.mkdir()  # there, and no file
        self.assertRegex(self.hang_up("reload refused")["reply"], r"main\.rules:1:1: ")
        gateway.rules.rmdir()
        gateway.config.unlink()
        self.assertRegex(self.hang_up("reload refused")["reply"], r"postern\.toml:1:1: .*can ?not be read")
        gateway.rules.write_text(rules)
        gateway.config.write_text(configuration)
        self.assertEqual(self.hang_up()["generation"], 2)
        self.assertEqual(self.generation(s), 2)

    def test_many_rules_are_gone_only_by_force(self):
        many = "".join(f"d{i}.test one\n" for i in range(1000))
        gateway = self.start("a.test one\n" + many)
        gateway.write_rules("a.test one\n" + many[: many.index("d700.test")])
        line = self.hang_up("reload refused")
        self.assertRegex(line["reply"], r"postern\.toml: 300 of 1001 rules are gone, .*shrink_max = \"20 %\"")
        self.assertEqual(self.command("--dry-run").returncode, 1)
        looked = self.command("--dry-run", "--force")
        self.assertEqual(looked.returncode, 0, looked)
        self.assertRegex(looked.stdout, r"generation 2 would be: rules \+0 -300 ~0 of 701;")
        self.assertEqual(self.generation(self.session(gateway)), 1)
        forced = self.command("--force")
        self.assertEqual(forced.returncode, 0, forced)
        self.assertRegex(forced.stdout, r"generation 2 is in force, after \d+ ms: rules \+0 -300 ~0 of 701;")
        s = self.session(gateway)
        self.assertEqual((self.answer(s, "x@d699.test"), self.answer(s, "x@d700.test")), (250, 550))

    def test_a_rule_meant_as_a_comment_is_warned_of(self):
        gateway = self.start()
        gateway.write_rules("a.test one\n#b.test two\n")
        self.hang_up()
        (warning,) = gateway.log(event="reload warning")
        self.assertRegex(warning["reply"], r"main\.rules:2:1: '#b\.test' is the rule for that domain alone, not a comment")

    def test_the_command(self):
        gateway = self.start()
        gateway.write_rules("a.test two\nb.test two\n")
        looked = self.command("--dry-run")
        self.assertEqual(looked.returncode, 0, looked)
        self.assertRegex(looked.stdout, r"generation 2 would be: rules \+0 -0 ~1 of 2; 1 domain changes its smart host;")
        self.assertEqual(gateway.log(event="reloaded"), [])
        done = self.command("--admin", f"unix:{gateway.folder}/admin.sock")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.generation(self.session(gateway)), 2)
        nobody = self.command("--admin", f"unix:{gateway.folder}/none.sock")
        self.assertEqual(nobody.returncode, 2, nobody)
        whole = gateway.config.read_text()
        gateway.config.write_text(whole + "\nx = [\n")  # no TOML: refused, whoever sees it first
        for options in ((), ("--admin", f"unix:{gateway.folder}/admin.sock")):
            self.assertEqual(self.command(*options).returncode, 1)
        gateway.config.write_text(whole)
        gateway.close()
        self.assertEqual(self.command().returncode, 2)


class Configuration(Reload):
    def test_an_unchanged_pool_keeps_its_connections_and_a_changed_one_does_not(self):
        gateway = self.start()
        s = self.session(gateway)
        for address in ("x@a.test", "x@b.test"):
            self.assertEqual(s.mail(address, BODY).code, 250)
        self.configure({"one": self.one.address, "two": {"hosts": self.two.address, "pipeline": 3}})
        self.assertIn("pools +0 -0 ~1 (two);", self.hang_up()["reply"])
        wait_for(lambda: "QUIT" in self.two.verbs(1), "the changed pool's connection to quit")
        for address in ("x@a.test", "x@b.test"):
            self.assertEqual(s.mail(address, BODY).code, 250)
        self.assertEqual((self.one.connections, self.two.connections), (1, 2))
        self.assertNotIn("QUIT", self.one.verbs())

    def test_what_no_connection_depends_on_is_a_difference_too(self):
        gateway = self.start()
        s = self.session(gateway)
        self.assertEqual(s.mail("x@a.test", BODY).code, 250)
        names = self.place.folder / "recipients"
        names.write_text("x@b.test\n")
        pool = {"hosts": self.two.address}
        for key in ({"defer": "spool"}, {"expire": "1 h"}, {"verify": "rcpt"}, {"verify_unknown": "accept"}, {"recipients_files": [names]}):
            with self.subTest(**key):
                pool.update({name: [str(each) for each in value] if isinstance(value, list) else value for name, value in key.items()})
                self.configure({"one": self.one.address, "two": pool})
                self.assertIn("pools +0 -0 ~1 (two);", self.hang_up()["reply"])
                self.assertIn("pools +0 -0 ~0;", self.hang_up()["reply"])
        self.assertEqual(s.mail("x@a.test", BODY).code, 250)
        self.assertEqual(self.one.connections, 1)

    def test_a_removed_pool_finishes_what_it_has(self):
        self.two = self.host(body=(1, "250 2.0.0 taken late"))
        gateway = self.start()
        s = self.session(gateway)
        s.envelope("x@b.test")
        s.command("DATA")
        s.send(BODY + b".\r\n")
        wait_for(lambda: self.two.seen, "the message at the host")
        chosen = self.session(gateway)  # it has chosen the pool, and hands over later
        chosen.envelope("x@b.test")
        gateway.write_rules("a.test one\n")
        self.configure({"one": self.one.address})
        self.assertIn("pools +0 -1 (two) ~0;", self.hang_up()["reply"])
        self.assertEqual(chosen.data(BODY).code, 250)
        self.assertEqual(s.read().code, 250)
        self.assertEqual(self.answer(s, "x@b.test"), 550)
        self.assertEqual(len(self.two.messages), 2)
        wait_for(lambda: self.two.verbs().count("QUIT") == self.two.connections, "its connections to quit")
        # Many come and go; none stays.
        for number in range(20):
            gateway.write_rules(f"a.test one\nb.test {LOOPBACK}:{2000 + number}\n")
            self.hang_up()
        self.assertEqual(self.generation(s), 22)

    def test_a_listener_comes_and_another_goes(self):
        gateway = self.start()
        old, port = gateway.port, free_port()
        s = self.session(gateway)
        s.envelope("x@a.test")
        # Not accepted yet when the listener goes: nobody is turned away.
        self.configure(more=f'[[listener]]\naddress = "{LOOPBACK}:{port}"\n')
        self.assertIn(f"listeners +1 ({LOOPBACK}:{port}) -0 ~0", self.hang_up()["reply"])
        newcomer = self.place.add(Session(port))
        self.assertEqual(newcomer.mail("x@a.test", BODY).code, 250)
        gateway.config.write_text(gateway.config.read_text().replace(f'"{LOOPBACK}:{old}"', f'"{LOOPBACK}:{free_port()}"'))
        self.assertIn(f"-1 ({LOOPBACK}:{old})", self.hang_up()["reply"])
        wait_for(lambda: socket.socket().connect_ex((LOOPBACK, old)) != 0, "the old address to be closed")
        self.assertEqual(s.data(BODY).code, 250)
        self.assertEqual(s.mail("x@b.test", BODY).code, 250)
        self.assertEqual(newcomer.mail("x@b.test", BODY).code, 250)
        self.assertEqual(gateway.log(event="delivered")[-1]["listener"], f"{LOOPBACK}:{port}")
        # An address that somebody else has is no reason to change anything.
        with socket.create_server((LOOPBACK, 0)) as taken:
            address = f"{LOOPBACK}:{taken.getsockname()[1]}"
            text = gateway.config.read_text()
            gateway.config.write_text(text + f'[[listener]]\naddress = "{address}"\n')
            self.assertIn(address, self.hang_up("reload refused")["reply"])
            gateway.config.write_text(text)
        # And the first address once more.
        gateway.config.write_text(text + f'[[listener]]\naddress = "{LOOPBACK}:{old}"\n')
        self.hang_up()
        self.assertEqual(self.place.add(Session(old)).mail("x@a.test", BODY).code, 250)

    def test_networks_limits_and_timeouts_are_applied(self):
        gateway = self.start("a.test one\n* two\n")
        s = self.session(gateway)
        self.assertEqual(self.answer(s, "x@else.test"), 550)
        self.configure(
            relay={"networks": [f"{LOOPBACK}/32"]}, limits={"recipients": 1}, timeouts={"command": "300 ms", "shutdown_grace": "3 s"}
        )
        self.assertIn(f"listeners +0 -0 ~1 ({LOOPBACK}:{gateway.port})", self.hang_up()["reply"])
        self.assertEqual(self.answer(s, "x@else.test"), 250)  # the network, for a session that was there before
        behind = self.session(gateway)
        self.assertIn("LIMITS RCPTMAX=1", behind.extensions[-1][4:] + "".join(behind.extensions))
        self.assertEqual([r.code for r in behind.envelope(["x@a.test", "y@a.test"])], [250, 250, 452])
        self.assertTrue(behind.rest().startswith(b"421 4.4.2"))
        self.configure(limits={"connections_per_client": 1})
        self.hang_up()  # those that are connected count
        self.assertEqual(self.session(gateway, ehlo=None).greeting.code, 421)
        s.close()
        wait_for(lambda: self.session(gateway, ehlo=None).greeting.code == 220, "a place")

    def test_what_needs_a_restart_is_named_and_the_rest_applied(self):
        gateway = self.start()
        gateway.write_rules("a.test two\n")
        self.configure(workers=1, log={"output": "stdout"}, limits={"body_memory": "7 MiB"})
        for _ in range(2):
            line = self.hang_up()
            self.assertTrue(line["reply"].endswith("; needs a restart: workers, limits.body_memory, log.output"), line)
        self.assertEqual(self.session(gateway).mail("x@a.test", BODY).code, 250)
        self.assertEqual(len(self.two.messages), 1)


class Numbers(Reload):
    def test_a_metric_shows_it(self):
        gateway = self.start()
        wait_for(lambda: self.running.numbers()["postern_generation"] == 1, "the start to be over")
        gateway.write_rules("a.test two\nb.test two\nc.test one\n")
        self.hang_up()
        found = self.running.numbers()
        self.assertEqual((found["postern_generation"], found["postern_rules"], found["postern_reloads_total"]), (2, 3, 1))
        self.assertEqual(found["postern_last_reload_succeeded"], 1)
        gateway.write_rules("a.test none\n")
        self.hang_up("reload refused")
        found = self.running.numbers()
        self.assertEqual((found["postern_generation"], found["postern_rules"]), (2, 3))
        self.assertEqual((found["postern_last_reload_succeeded"], found["postern_reloads_failed_total"]), (0, 1))


class Manager(Reload):
    """What the service manager is told."""

    def told(self, server):
        server.settimeout(20)
        return dict(line.split("=", 1) for line in server.recv(4096).decode().splitlines())

    def test_ready_reloading_stopping(self):
        for kind in ("path", "abstract"):
            with self.subTest(kind), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
                name = str(self.place.folder / "notify") if kind == "path" else f"@postern-test-{os.getpid()}"
                server.bind(name.replace("@", "\0"))
                gateway = self.start(environment={"NOTIFY_SOCKET": name})
                self.assertEqual(self.told(server), {"READY": "1"})
                before = time.monotonic_ns() // 1000
                for good in (True, False):
                    gateway.write_rules("a.test one\n" if good else "a.test\n")
                    self.hang_up("reloaded" if good else "reload refused")
                    said = self.told(server)
                    self.assertEqual(said["RELOADING"], "1")
                    self.assertTrue(before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000, said)
                    self.assertEqual(self.told(server), {"READY": "1"})
                gateway.signal(signal.SIGTERM)
                self.assertEqual(self.told(server), {"STOPPING": "1"})
                gateway.close()


class Hostile(Reload):
    """Files that are none, or larger than anything: the old generation serves on."""

    def refused(self, text):
        line = self.hang_up("reload refused")
        self.assertIn(text, line["reply"])
        self.assertEqual(self.answer(self.session(self.running), "x@a.test"), 250)

    def test_a_pipe_in_the_place_of_the_configuration(self):
        gateway = self.start()
        gateway.config.unlink()
        os.mkfifo(gateway.config)
        self.refused("it is no file")

    def test_a_pipe_in_the_place_of_rules(self):
        gateway = self.start()
        gateway.rules.unlink()
        os.mkfifo(gateway.rules)
        self.refused("it is no file")

    def test_files_without_end(self):
        gateway = self.start()
        os.truncate(gateway.rules, 1 << 42)
        self.refused("it has more than 1024 MiB")
        gateway.write_rules("a.test one\n")
        os.truncate(gateway.config, 1 << 42)
        self.refused("it has more than 16 MiB")

    def test_rules_that_can_not_be_read(self):
        gateway = self.start()
        gateway.rules.unlink()
        gateway.rules.symlink_to(gateway.rules)
        self.refused("rules")

    def test_a_full_disk_under_the_log(self):
        """The log's lines wait for room; mail, reloads and their answers do not."""
        gateway = self.start(log={"output": "/dev/full"})
        s = self.session(gateway)
        for _ in range(20):
            self.assertEqual(s.mail("x@a.test").code, 250)
        gateway.write_rules("a.test one\nb.test\n")
        refused = self.command()
        self.assertEqual(refused.returncode, 1, refused)
        self.assertIn("main.rules:2:7", refused.stderr)
        gateway.write_rules("a.test two\n")
        self.assertEqual(self.command("--force").returncode, 0)
        self.assertEqual(s.mail("x@a.test").code, 250)
        self.assertEqual((len(self.one.messages), len(self.two.messages)), (20, 1))
        self.assertEqual(self.running.numbers()["postern_reloads_failed_total"], 1)

    def test_a_key_without_end(self):
        gateway = self.start()
        gateway.config.write_text(".".join(["a"] * 200_000) + " = 1\n")
        self.refused("a key has more than a thousand parts")


class TheEnd(Reload):
    def test_sigterm_during_a_reload(self):
        """Who still reads two million rules does not keep the door open."""
        gateway = self.start()
        gateway.write_rules("a.test one\n" + "".join(f"d{i}.test one\n" for i in range(2_000_000)))
        gateway.signal(signal.SIGHUP)
        time.sleep(0.3)
        gateway.signal(signal.SIGTERM)

        def closed():
            with socket.socket() as s:
                return s.connect_ex((LOOPBACK, gateway.port)) != 0

        wait_for(closed, "the listener's end")
        self.assertEqual(gateway.close(), 0)
        self.assertEqual(gateway.log(event="reloaded"), [])

    def test_signals_while_an_answer_is_owed(self):
        log = self.place.folder / "the.log"
        self.one.body = (2, "250 2.0.0 late")
        gateway = self.start(log={"output": str(log)})
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.send(b"BDAT 6 LAST\r\nA: b\r\n")
        wait_for(lambda: self.one.lines, "the message at the host")
        gateway.signal(signal.SIGTERM)
        time.sleep(0.3)
        log.rename(self.place.folder / "the.old")
        gateway.signal(signal.SIGHUP)
        gateway.signal(signal.SIGUSR1)
        wait_for(lambda: "its last events" in gateway.said(), "the state")
        self.assertEqual(s.read().code, 250)
        s.close()
        self.assertEqual(gateway.close(), 0)
        self.assertIn('"delivered"', log.read_text())

    def test_a_listener_that_goes_greets_all_that_it_has_accepted(self):
        gateway = self.start()
        port = free_port()
        more = f'\n[[listener]]\naddress = "{LOOPBACK}:{port}"\n'
        over = threading.Event()
        silent, greeted = [], []

        def connect():
            while not over.is_set():
                with contextlib.suppress(ConnectionError), socket.create_connection((LOOPBACK, port), timeout=20) as s:
                    (greeted if s.recv(512) else silent).append(1)

        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(40):
                for text in (more, ""):
                    self.configure(more=text)
                    self.assertEqual(self.command().returncode, 0)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertGreater(len(greeted), 50)
        self.assertEqual(len(silent), 0)


class UnderLoad(Reload):
    def sink(self):
        control = free_port()
        port = free_port()
        sink = self.place.add(
            Process([BENCH, "sink", "--received", "1", "--control", f"{LOOPBACK}:{control}", f"{LOOPBACK}:{port}"], self.place.folder, f"sink{port}")
        )
        sink.wait_listening(port)
        return f"{LOOPBACK}:{port}", f"{LOOPBACK}:{control}"

    def test_nothing_is_lost_and_each_message_has_one_generation(self):
        address, control = self.sink()
        self.one.address = self.two.address = address
        gateway = self.start("a.test one\nb.test two\n* reject\n", log={"output": "postern.log"})
        log = gateway.folder / "postern.log"
        domains = self.place.folder / "domains"
        domains.write_text("a.test\nb.test\n")
        load = self.place.add(
            Process(
                [BENCH, "load", f"{LOOPBACK}:{gateway.port}", "-c", "20", "-d", "8 s", "--rate", "300", "--domains", domains]
                + ["--sink", control, "--json"],
                self.place.folder,
                "load",
            )
        )
        reloads = 0
        while load.child.poll() is None:
            # Where mail for either domain goes changes with each generation, odd and even.
            turned = reloads % 2 == 0
            gateway.write_rules(f"a.test {'two' if turned else 'one'}\nb.test {'one' if turned else 'two'}\n* reject\n")
            self.assertEqual(self.command().returncode, 0)
            reloads += 1
            time.sleep(0.05)
        report = json.loads(load.said())
        self.assertEqual(load.child.returncode, 0, report)
        self.assertGreater(reloads, 20)
        gateway.close()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        delivered = [line for line in lines if line["event"] == "delivered"]
        self.assertGreater(len(delivered), 1000)
        self.assertEqual([line for line in lines if line["event"] in ("rejected", "deferred", "refused", "unknown")], [])
        self.assertGreater(len({line["generation"] for line in delivered}), 20)
        for line in delivered:
            (to,) = line["to"]
            straight = to.endswith("@a.test") == (line["pool"] == "one")
            self.assertEqual(straight, line["generation"] % 2 == 1, line)

    def test_memory_comes_back(self):
        def rules_of(number):
            return "a.test one\n" + "".join(f"d{i}.x{number}.test one\n" for i in range(100_000))

        gateway = self.start(rules_of(0))
        over = threading.Event()

        def pin():
            """Some generation is always in use."""
            while not over.is_set():
                s = Session(gateway.port)
                s.envelope("x@a.test")
                over.wait(0.3)
                s.close()

        threads = [threading.Thread(target=pin) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            sizes = []
            for number in range(1, 31):
                gateway.write_rules(rules_of(number))
                done = self.command("--force")
                self.assertEqual(done.returncode, 0, done)
                sizes.append(gateway.rss_kib())
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertLess(max(sizes[20:]), max(sizes[:10]) * 1.2 + 4096, sizes)
        self.assertEqual(self.generation(self.session(gateway)), 31)
