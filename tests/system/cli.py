"""`postern check`, `postern route`, and what every command shares: exit codes, errors with their place, all in one
go, --help."""

import json
import os
import pathlib
import subprocess

from harness import BENCH, POSTERN, ROOT, SystemTest, free_port

GOOD = """hostname = "gw.test"
[[listener]]
address = "127.0.0.1:0"
[rules]
files = ["*.rules"]
[relay]
networks = ["192.0.2.0/24"]
[pool.cluster-a]
hosts = ["10.1.0.1:25"]
[pool.cluster-b]
hosts = ["10.1.0.2:2525"]
"""
RULES = """# where mail goes
example.com cluster-a
#example.com cluster-b     # the domain itself
.deep.example.com cluster-b restricted
anna@example.com cluster-a
direct.test 10.1.0.9
gone.test reject:"went away"
* reject
"""


class Cli(SystemTest):
    def setUp(self):
        super().setUp()
        self.folder = self.place.subfolder("cli")
        self.write("postern.toml", GOOD.replace(":0", f":{free_port()}"))
        self.write("main.rules", RULES)

    def write(self, name, text):
        (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def run_program(self, *arguments, program=POSTERN, timeout=30):
        return subprocess.run(
            [str(a) for a in (program, *arguments)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def postern(self, command, *arguments):
        return self.run_program(command, "-c", "postern.toml", *arguments)

    def errors(self, done):
        self.assertEqual(done.returncode, 1, done)
        return [line for line in (done.stderr + done.stdout).splitlines() if line]


class Help(Cli):
    def test_help_on_each(self):
        for program, commands in ((POSTERN, ("run", "check", "route", "reference")), (BENCH, ("load", "sink"))):
            for arguments in (["--help"], *([c, "--help"] for c in commands)):
                with self.subTest(arguments=arguments):
                    done = self.run_program(*arguments, program=program)
                    self.assertEqual(done.returncode, 0)
                    self.assertEqual(done.stderr, "")
                    self.assertIn("Usage", done.stdout)

    def test_unknown_commands_and_options(self):
        for arguments in (["what"], ["check", "--what"], [], ["route", "-c", "postern.toml"]):
            with self.subTest(arguments=arguments):
                done = self.run_program(*arguments)
                self.assertNotEqual(done.returncode, 0)
                self.assertTrue(done.stderr)

    def test_missing_file(self):
        for command in ("run", "check"):
            done = self.run_program(command, "-c", "nowhere.toml")
            self.assertEqual(done.returncode, 1)
            self.assertIn("nowhere.toml", done.stderr)
        # What answers at the default address is somebody else.
        for command, code in (["queue", "list"], 2), (["queue", "hold", "--all"], 2), (["route", "--live", "x@a.test"], 2), (["reload"], 1):
            for admin in [], ["--admin", "unix:admin.sock"]:
                for name in "nowhere.toml", "":
                    with self.subTest(command=command, admin=admin, name=name):
                        done = self.run_program(*command, "-c", name, *admin)
                        self.assertEqual((done.returncode, done.stdout), (2 if admin else code, ""))
                        self.assertRegex(done.stderr, f"^postern: {name}:1:1: the configuration can not be read: No such file or directory\n$")


class Check(Cli):
    def test_good(self):
        done = self.postern("check")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("7", done.stdout)  # rules are counted
        self.assertRegex(done.stdout, r"[KMGT]i?B")  # the memory bound

    def test_the_example_of_the_manual_is_accepted(self):
        self.write("main.rules", "example.com 10.0.0.1\n")
        self.write("postern.toml", '[[listener]]\naddress = "127.0.0.1:2525"\n[rules]\nfiles = ["main.rules"]\n')
        self.assertEqual(self.postern("check").returncode, 0)

    def test_every_error_of_the_configuration_in_one_go(self):
        self.write(
            "postern.toml",
            """workers = "many"
wrokers = 3
[[listener]]
address = "nonsense"
tls = "sometimes"
[rules]
files = ["main.rules"]
[pool.a]
hosts = ["10.0.0.1:99999"]
connections = -1
[timeouts]
command = "5 parsecs"
[limits]
message_size = "10 bananas"
[nosuch]
x = 1
""",
        )
        errors = self.errors(self.postern("check"))
        for place in ("1:", "2:", "4:", "5:", "9:", "10:", "12:", "14:", "15:"):
            with self.subTest(place=place):
                found = [line for line in errors if line.startswith(f"postern.toml:{place}")]
                self.assertEqual(len(found), 1, errors)
                self.assertRegex(found[0], r"^postern\.toml:\d+:\d+: \S")
        # What is allowed is said.
        self.assertIn("starttls", "\n".join(errors))

    def test_toml_that_does_not_parse(self):
        self.write("postern.toml", 'hostname = "x\n')
        (error,) = self.errors(self.postern("check"))
        self.assertRegex(error, r"^postern\.toml:1:\d+: ")

    def test_every_error_of_the_rules_in_one_go(self):
        bad = [
            ("*.example.com cluster-a", ".example.com"),
            ("/regex/ cluster-a", None),
            ("a.test smtp:[h]", None),
            ("b.test relay:h", None),
            ("c.test :h", None),
            ("d.test nosuchpool", "nosuchpool"),
            ("e.test cluster-a whatever", "whatever"),
            ("f.test", None),
            ("* cluster-a always-relay", "open relay"),
            ("single cluster-a", "always-relay"),
            ("g..test cluster-a", None),
            ("x" * 64 + ".test cluster-a", "63"),
            ("h.test cluster-a delivery=never", "sync, hybrid, queue"),
            ('i.test reject:"unfinished', None),
            ("j.test cluster-a always-relay restricted", None),
            ("[192.0.2.999] cluster-a", None),
            ("k.test mx:192.0.2.1", None),
        ]
        self.write("main.rules", "ok.test cluster-a\n" + "".join(rule + "\n" for rule, _ in bad))
        errors = self.errors(self.postern("check"))
        for number, (rule, hint) in enumerate(bad, 2):
            with self.subTest(rule=rule):
                found = [line for line in errors if line.startswith(f"main.rules:{number}:")]
                self.assertTrue(found, errors)
                self.assertRegex(found[0], r"^main\.rules:\d+:\d+: \S")
                if hint:
                    self.assertIn(hint, "\n".join(found))
        self.assertFalse([line for line in errors if line.startswith("main.rules:1:")])

    def test_as_a_name_that_has_no_rule_or_itself(self):
        self.write("main.rules", "a.test as:nowhere.test\nb.test as:c.test\nc.test as:b.test\n")
        errors = "\n".join(self.errors(self.postern("check")))
        self.assertIn("main.rules:1:", errors)
        self.assertRegex(errors, r"main\.rules:[23]:")

    def test_the_same_pattern_twice_names_both_places(self):
        self.write("one.rules", "example.net cluster-a\n")
        self.write("two.rules", "Example.NET. cluster-b\n")
        errors = "\n".join(self.errors(self.postern("check")))
        self.assertIn("two.rules:1:1:", errors)
        self.assertIn("one.rules:1", errors)

    def test_a_cut_file(self):
        self.write("main.rules", "example.com cluster-a\nexample.net cluster")
        self.assertRegex("\n".join(self.errors(self.postern("check"))), r"main\.rules:2:\d+: ")

    def test_bom_crlf_and_utf8(self):
        self.write("main.rules", b"\xef\xbb\xbfexample.com cluster-a\r\n" + "b\u00fccher.test cluster-b\r\n".encode())
        done = self.postern("check")
        self.assertEqual(done.returncode, 0, done)
        self.write("main.rules", b"b\xfccher.test cluster-b\n")
        self.assertRegex("\n".join(self.errors(self.postern("check"))), r"main\.rules:1:\d+: ")

    def test_no_files_no_rules_no_listener(self):
        self.write("main.rules", "# nothing\n")
        self.assertTrue(self.errors(self.postern("check")))
        (self.folder / "main.rules").unlink()
        self.assertRegex("\n".join(self.errors(self.postern("check"))), r"postern\.toml:\d+:\d+: ")
        self.write("main.rules", RULES)
        self.write(
            "postern.toml",
            '[rules]\nfiles = ["*.rules"]\n[pool.cluster-a]\nhosts=["10.0.0.1"]\n[pool.cluster-b]\nhosts=["10.0.0.2"]\n',
        )
        self.assertIn("listener", "\n".join(self.errors(self.postern("check"))))

    def test_a_log_file_that_can_not_be_opened(self):
        for path in ("missing/postern.log", "."):
            with self.subTest(path=path):
                self.write("postern.toml", GOOD.replace(":0\"", ":2525\"") + f'[log]\noutput = "{path}"\n')
                self.assertRegex("\n".join(self.errors(self.postern("check"))), r"postern\.toml:1:1: log\.output: ")

    def test_a_spool_that_is_no_folder(self):
        text = GOOD.replace(":0\"", ":2525\"") + '[spool]\npath = "spool"\n'
        self.write("postern.toml", text)
        self.assertEqual(self.postern("check").returncode, 0)  # it is made at the start
        self.write("spool", "")
        said = "spool.path: spool is there and is no folder"
        self.assertIn(f"postern.toml:1:1: {said}", "\n".join(self.errors(self.postern("check"))))
        # In sync it is run without.
        self.write("postern.toml", text + '[delivery]\nmode = "sync"\n')
        done = self.postern("check")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn(f"warning: postern.toml:1:1: {said}", done.stderr)

    def test_a_postmaster_whom_no_rule_takes_is_warned_of(self):
        for postmaster, warned in (("pm@norule.test", True), ("pm@direct.test", False)):
            with self.subTest(postmaster=postmaster):
                self.write("main.rules", "direct.test 10.1.0.9\n")
                self.write("postern.toml", GOOD.replace(":0\"", ":2525\"") + f'[delivery]\npostmaster = "{postmaster}"\n')
                self.assertEqual("no rule takes " + postmaster in self.postern("check").stderr, warned)

    def test_notifications_without_a_way_are_warned_of(self):
        text = (self.folder / "postern.toml").read_text()
        for more, rules, warned in (
            ("", RULES, True),
            ("", RULES.replace("* reject", "* cluster-a"), False),
            ('[delivery]\nnotify_pool = "cluster-b"\n', RULES, False),
            ('[delivery]\npostmaster = "anna@example.com"\n', RULES, False),
            ('[[listener]]\naddress = "127.0.0.1:1"\nnotify_pool = "cluster-b"\n', RULES, False),
        ):
            with self.subTest(more=more, rules=rules):
                self.write("main.rules", rules)
                self.write("postern.toml", text + more)
                self.assertEqual("delivery.notify_pool: neither" in self.postern("check").stderr, warned)

    def test_a_folder_or_a_pipe_is_no_rules_file(self):
        (self.folder / "x.rules").mkdir()
        self.assertRegex("\n".join(self.errors(self.postern("check"))), r"x\.rules:1:1: ")
        (self.folder / "x.rules").rmdir()
        os.mkfifo(self.folder / "x.rules")
        self.assertRegex("\n".join(self.errors(self.postern("check"))), r"x\.rules:1:1: ")

    def test_run_refuses_what_check_refuses(self):
        self.write("main.rules", "example.com nosuchpool\n*.x.test cluster-a\n")
        checked, ran = self.postern("check"), self.postern("run")
        self.assertEqual(ran.returncode, 1)
        for place in ("main.rules:1:", "main.rules:2:"):
            self.assertIn(place, checked.stderr + checked.stdout)
            self.assertIn(place, ran.stderr)

    def test_run_says_what_it_cannot_have(self):
        import socket

        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.write("postern.toml", GOOD.replace("127.0.0.1:0", address))
            done = self.postern("run")
            self.assertEqual(done.returncode, 1)
            self.assertIn(address, done.stderr)


class Route(Cli):
    def route(self, *arguments):
        done = self.postern("route", *arguments)
        self.assertEqual(done.stderr, "", done)
        return done

    def test_the_rule_that_decides(self):
        for address, line, pool, host in (
            ("x@www.example.com", 2, "cluster-a", "10.1.0.1:25"),
            ("x@example.com", 3, "cluster-b", "10.1.0.2:2525"),
            ("x@a.deep.example.com", 4, "cluster-b", "10.1.0.2:2525"),
            ("anna+list@example.com", 5, "cluster-a", "10.1.0.1:25"),
            ("x@direct.test", 6, None, "10.1.0.9:25"),
            ("x@gone.test", 7, None, "went away"),
            ("x@nowhere.test", 8, None, None),
        ):
            with self.subTest(address=address):
                text = self.route(address).stdout
                self.assertIn(address, text)
                self.assertIn(f"main.rules:{line}", text)
                if pool:
                    self.assertIn(pool, text)
                if host:
                    self.assertIn(host, text)

    def test_candidates_that_lost(self):
        text = self.route("x@a.deep.example.com").stdout
        self.assertIn("main.rules:4", text)
        self.assertIn("main.rules:2", text)

    def test_several_addresses(self):
        text = self.route("x@example.com", "y@direct.test").stdout
        self.assertIn("x@example.com", text)
        self.assertIn("y@direct.test", text)

    def test_one_that_is_no_address_leaves_the_others(self):
        for more in [], ["--json"]:
            done = self.postern("route", *more, "x@example.com", "nonsense", "y@direct.test", "@")
            self.assertEqual(done.returncode, 2, done)
            for address in "x@example.com", "y@direct.test":
                self.assertIn(address, done.stdout)
            self.assertRegex(done.stderr, "^postern: 'nonsense' is no address; .*\npostern: '@' is no address; .*\n$")
            if more:
                self.assertEqual([each["address"] for each in json.loads(done.stdout)], ["x@example.com", "y@direct.test"])
            done = self.postern("route", *more, "nonsense")
            self.assertEqual((done.returncode, done.stdout), (2, ""))

    def test_from(self):
        inside = self.route("--from", "192.0.2.9", "x@a.deep.example.com").stdout
        outside = self.route("--from", "198.51.100.9", "x@a.deep.example.com").stdout
        self.assertIn("relaying denied", outside)
        self.assertNotIn("relaying denied", inside)

    def test_the_mode_and_what_says_it(self):
        self.write("main.rules", "a.test cluster-a\nb.test cluster-b\nc.test cluster-b delivery=sync\nd.test as:c.test\n* reject\n")
        text = (self.folder / "postern.toml").read_text() + 'delivery = "queue"\n'  # of cluster-b, the last section
        self.write("postern.toml", text.replace("[rules]", f'mode = "sync"\n[[listener]]\naddress = "127.0.0.1:{free_port()}"\n[rules]'))
        for address, shown in (
            ("x@a.test", "hybrid, by delivery.mode"),
            ("x@b.test", "queue, by the pool"),
            ("x@c.test", "sync, by the rule"),
            ("x@d.test", "sync, by the rule"),
        ):
            with self.subTest(address=address):
                text = self.route(address).stdout
                self.assertRegex(text, rf"delivery +{shown}\n")
                self.assertEqual("sync at the listener 127.0.0.1:" in text, address == "x@a.test")
        self.assertNotIn("delivery", self.route("x@e.test").stdout)
        delivery = [each["delivery"] for each in json.loads(self.route("--json", "x@a.test", "x@b.test", "x@e.test").stdout)]
        self.assertEqual((delivery[0]["mode"], list(delivery[0]["listeners"].values())), ("hybrid", ["sync"]))
        self.assertEqual(delivery[1:], [{"mode": "queue", "by": "the pool", "listeners": {}}, None])

    def test_json(self):
        done = self.route("--json", "--from", "198.51.100.9", "x@a.deep.example.com", "x@example.com")
        value = json.loads(done.stdout)
        text = json.dumps(value)
        for part in ("main.rules", "cluster-b", "10.1.0.2:2525", "x@a.deep.example.com", "550"):
            self.assertIn(part, text)

    def test_an_address_is_read_as_at_rcpt(self):
        """A source route and a trailing dot are dropped (product.md, section 1); what is no path is none here either."""
        for text in ("<@relay.test,@b.test:x@direct.test>", "x@DIRECT.test.", "<x@direct.test>"):
            with self.subTest(text=text):
                explained = self.route(text).stdout
                self.assertIn("main.rules:6", explained)
                self.assertNotIn("553", explained)
                self.assertNotIn("relay.test", explained)
        self.assertIn("postmaster", self.route("<Postmaster>").stdout)
        for text in ("a b@direct.test", "x@direct.test>", "<x@direct.test"):
            with self.subTest(text=text):
                self.assertEqual(self.postern("route", text).returncode, 2)

    def test_impossible_addresses(self):
        for address in ("no-at-sign", "x@", "x@" + "a" * 64 + ".test", "x@a..b"):
            with self.subTest(address=address):
                done = self.postern("route", address)
                self.assertTrue(done.returncode != 0 or "553" in done.stdout, done)
        done = self.postern("route", "a" * 257 + "@direct.test")
        self.assertIn("501 5.1.3: the local part is longer than 256 octets", done.stdout)


class Quickstart(Cli):
    def test_shows_its_work_and_leaves_nothing_behind(self):
        """The package's spool is another user's: a gateway that only shows itself has its own."""
        spool = pathlib.Path("/var/spool/postern")
        before = spool.exists() and sorted(spool.iterdir())
        done = subprocess.run(
            ["/usr/bin/python3", ROOT / "deploy/quickstart.py", "yes"], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("All of it as it should be.", done.stdout)
        self.assertEqual(spool.exists() and sorted(spool.iterdir()), before)


class Output(Cli):
    """Whoever reads what a command says may stop, and a disk may be full."""

    COMMAND = "--from-postfix", "map"

    def setUp(self):
        super().setUp()
        self.write("map", "".join(f"d{number}.example smtp:[10.0.0.1]\n" for number in range(50000)))

    def run_into(self, out):
        return subprocess.run([POSTERN, "check", *self.COMMAND], cwd=self.folder, stdout=out, stderr=subprocess.PIPE, text=True, timeout=30)

    def test_a_pipe_that_is_closed(self):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = self.run_into(writer)
        finally:
            os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (1, ""))

    def test_a_full_disk(self):
        with open("/dev/full", "wb") as out:
            done = self.run_into(out)
        self.assertEqual((done.returncode, done.stderr), (1, "postern: standard output did not take all that was to be said\n"))


class Reference(Cli):
    def test_names_every_key(self):
        done = self.run_program("reference")
        self.assertEqual(done.returncode, 0)
        for key in (
            "hostname",
            "workers",
            "bare_newline",
            "shrink_max",
            "pipeline",
            "sync_limit",
            "data_done",
            "connections_per_client",
            "body_memory",
            "received_max",
            "format",
        ):
            self.assertIn(key, done.stdout)
