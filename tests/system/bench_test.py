#!/usr/bin/env python3
"""postern-bench against itself and against gateways made faulty on purpose: each fault is caught by its own counter, and by no
other; an honest gateway leaves them all at zero.

usage: tests/system/run.py bench_test
"""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from authority import Authority
from harness import BENCH

GATEWAY = [sys.executable, str(pathlib.Path(__file__).with_name("faulty_gateway.py"))]
BAD = ["lost", "duplicate", "header_changed", "body_changed", "wrong_recipient", "unexpected", "refused_delivered"]


class Server:
    """A process that says where it listens; ended, and its output read, on leaving."""

    def __init__(self, *command):
        self.command = [str(part) for part in command]
        self.said = {}
        self.report = self.code = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        wanted = {"listening", "control"} if "--control" in self.command else {"listening"}
        while set(self.said) != wanted:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("%s did not start" % self.command)
            what, where = re.fullmatch(r"(\w+) on (\S+)\n", line).groups()
            self.said[what] = where
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.report = self.process.communicate(timeout=20)[0]
        self.code = self.process.returncode

    @property
    def address(self):
        return self.said["listening"]

    @property
    def control(self):
        return self.said["control"]


def sink(*options):
    return Server(BENCH, "sink", "127.0.0.1:0", "--control", "127.0.0.1:0", "--json", *options)


def relay(host):
    return Server(BENCH, "relay", "--listen", "127.0.0.1:0", "--to", host.address)


def load(target, *options):
    run = subprocess.run([BENCH, "load", target, "--json", *map(str, options)], stdout=subprocess.PIPE, text=True, timeout=60)
    return run.returncode, json.loads(run.stdout) if run.stdout else None


class Faults(unittest.TestCase):
    def through(self, fault, *options):
        with sink("--received", 1) as host, Server(*GATEWAY, "--to", host.address, "--fault", fault) as gateway:
            return load(gateway.address, "-m", 20, "-c", 3, "--settle", "0 s", "--sink", host.control, *options)

    def expect(self, fault, counter, code=1, **messages):
        got, report = self.through(fault)
        counted = {name: report["delivery"][name] for name in BAD if report["delivery"][name]}
        self.assertEqual(counted, {counter: 1} if counter else {}, report)
        self.assertEqual(got, code)
        self.assertEqual(report["delivery"]["violations"], 0, report["sinks"])
        self.assertEqual(sum(report["messages"].values()), 20)
        for name, count in messages.items():
            self.assertEqual(report["messages"][name], count)
        return report

    def test_honest(self):
        report = self.expect("none", None, code=0, accepted=20)
        self.assertEqual(report["delivery"]["delivered"], 20)

    def test_lost(self):
        self.expect("lose", "lost", accepted=20)

    def test_doubled(self):
        self.expect("double", "duplicate", accepted=20)

    def test_cut(self):
        self.expect("cut", "body_changed", accepted=20)

    def test_header(self):
        self.expect("header", "header_changed", accepted=20)

    def test_byte(self):
        self.expect("byte", "body_changed", accepted=20)

    def test_recipient(self):
        self.expect("recipient", "wrong_recipient", accepted=20)

    def test_sender(self):
        report = self.expect("sender", "lost", accepted=20)
        self.assertEqual(report["sinks"][0]["foreign"], 1)

    def test_refused_and_delivered(self):
        self.expect("refuse", "refused_delivered", accepted=19, refused=1)

    def test_answer_lost(self):
        report = self.expect("hang-up", None, accepted=19, unknown=1)
        self.assertEqual(report["delivery"]["unknown_delivered"], 1)
        self.assertEqual(report["errors"], {"closed by the peer": 1})

    def test_several_recipients(self):
        code, report = self.through("none", "--recipients", 4)
        self.assertEqual((code, report["delivery"]["delivered"]), (0, 80))


class Direct(unittest.TestCase):
    """Load and sink without a gateway."""

    def good(self, options, sink_options=(), messages=200):
        with sink(*sink_options) as host:
            code, report = load(host.address, "-m", messages, "--sink", host.control, *options)
        self.assertEqual(code, 0, report)
        self.assertEqual(report["messages"]["accepted"], messages)
        self.assertEqual(host.code, 0)
        return report

    def test_each_way_to_send(self):
        for options in (["--size", 300], ["--size", "200 KiB"], ["--bdat"], ["--bdat", "--chunk-size", 100],
                        ["--bdat", "--chunk-size", 1000, "--no-pipelining"], ["--no-pipelining"],
                        ["--recipients", 30], ["--recipients", 3, "--bdat", "--no-pipelining"]):
            for connection in (["-c", 7], ["-c", 7, "--per-connection", 1], ["-c", 3, "--per-connection", 9, "--workers", 2]):
                with self.subTest(options=options, connection=connection):
                    self.good(options + connection)

    def test_each_way_to_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            pair = Authority(pathlib.Path(folder) / "ca").issue("sink.test")
            shown = ["--chain", pair["chain"], "--key", pair["key"]]
            for tls in ("starttls", "implicit"):
                for options in (["-c", 7], ["-c", 7, "--per-connection", 1], ["-c", 3, "--size", "200 KiB"], ["-c", 3, "--slow", 500000]):
                    with self.subTest(tls=tls, options=options):
                        report = self.good(["--tls", tls, *options], ["--tls", tls, *shown], 20)
                        self.assertEqual(report["tls"], {"handshakes": report["connections"], "resumed": 0})
                with self.subTest(tls=tls, resume=True):
                    report = self.good(["--tls", tls, "--resume", "--per-connection", 1], ["--tls", tls, *shown], 20)
                    self.assertEqual(report["tls"], {"handshakes": 20, "resumed": 19})

    def test_tls_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            pair = Authority(pathlib.Path(folder) / "ca").issue("sink.test")
            shown = ["--tls", "starttls", "--chain", pair["chain"], "--key", pair["key"]]
            for options, tls in (((), "starttls"), ((), "implicit"), ((*shown, "--fail", "starttls:454"), "starttls")):
                with self.subTest(options=options, tls=tls), sink(*options) as host:
                    status, report = load(host.address, "-m", 2, "--tls", tls, "--timeout", "2 s", "--sink", host.control)
                    self.assertEqual((status, report["messages"]["unsent"]), (1, 2))

    def test_lesser_sinks(self):
        for options in (["--no-pipelining"], ["--no-chunking", "--no-8bitmime", "--no-smtputf8"],
                        ["--size", "1 MiB", "--limits", "RCPTMAX=10", "--workers", 2]):
            with self.subTest(options=options):
                self.good(["-c", 5], options)

    def test_real_messages_arrive_as_they_are(self):
        messages = {
            "a": b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\na.\r\n\r\n.\r\n",
            "b": b"\r\nno header\r\n",
            "c": b"Received: one already there\r\n\tfolded\r\nSubject: x\r\n\r\n" + b"y" * 48677 + b"\r\n",
            "d": "Subject: 8 bit\r\n\r\nvær så god\r\n".encode(),
            "e": b"Subject: no body\r\n\r\n",
            "f": b"no empty line at all\r\n",
        }
        with tempfile.TemporaryDirectory() as folder:
            for name, content in messages.items():
                pathlib.Path(folder, name).write_bytes(content)
            for options in ([], ["--bdat"], ["--bdat", "--chunk-size", 7], ["--no-pipelining"], ["--slow", 500000]):
                with self.subTest(options=options), tempfile.TemporaryDirectory() as store:
                    self.good(["--messages-from", folder, "-c", 2, *options], ["--store", store], messages=12)
                    stored = sorted(path.read_bytes() for path in pathlib.Path(store).iterdir())
                    self.assertEqual(stored, sorted(list(messages.values()) * 2))

    def test_bare_line_ends_are_noticed(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a").write_bytes(b"Subject: x\r\n\r\na\rb\nc\r\n")
            with sink() as host:
                code, report = load(host.address, "--messages-from", folder, "--sink", host.control)
        self.assertEqual(code, 1)
        self.assertEqual(report["delivery"]["violations"], 2)
        self.assertEqual(set(report["sinks"][0]["violations"]), {"bare CR in content", "bare LF in content"})

    def test_refusals_by_step(self):
        for step, code in (("mail", 451), ("rcpt", 550), ("data", 451), ("body", 554)):
            with self.subTest(step=step), sink("--fail", "%s:%d" % (step, code)) as host:
                status, report = load(host.address, "-m", 10, "-c", 2, "--sink", host.control)
                self.assertEqual(status, 1)
                self.assertEqual(report["messages"]["refused"], 10)
                self.assertEqual(report["answers"][step], {str(code): 10})
                self.assertEqual(report["delivery"]["violations"], 0, report["sinks"])
                self.assertEqual([report["delivery"][name] for name in BAD], [0] * len(BAD))

    def test_session_refused(self):
        for step, code in (("greeting", 421), ("greeting", 554), ("ehlo", 502)):
            with self.subTest(step=step), sink("--fail", "%s:%d" % (step, code)) as host:
                status, report = load(host.address, "-m", 3, "--sink", host.control)
                self.assertEqual((status, report["messages"]["unsent"]), (1, 3))
                self.assertEqual(report["answers"][step], {str(code): 3})

    def test_closing_by_step(self):
        for step in ("greeting", "ehlo", "mail", "rcpt", "data", "body"):
            with self.subTest(step=step), sink("--fail", step + ":close") as host:
                status, report = load(host.address, "-m", 5, "--sink", host.control)
                self.assertEqual(status, 1)
                self.assertEqual(report["messages"]["unknown" if step == "body" else "unsent"], 5)
                self.assertEqual(report["delivery"]["unanswered"], 5 if step == "body" else 0)
                self.assertEqual([report["delivery"][name] for name in BAD], [0] * len(BAD))

    def test_chunk_refused(self):
        with sink("--fail", "bdat:552") as host:
            status, report = load(host.address, "-m", 5, "--bdat", "--chunk-size", 1000, "--sink", host.control)
        self.assertEqual((status, report["messages"]["refused"]), (1, 5))
        self.assertEqual(report["delivery"]["violations"], 0, report["sinks"])

    def test_broken_chunking(self):
        with sink("--break-chunking") as host:
            status, report = load(host.address, "-m", 3, "--bdat", "--sink", host.control)
        self.assertEqual(status, 1)
        self.assertEqual(report["messages"]["accepted"], 0)
        self.assertEqual(report["delivery"]["violations"], 0)
        self.assertEqual(host.code, 0)

    def test_silence_ends_in_a_timeout(self):
        with sink("--fail", "greeting:silent") as host:
            status, report = load(host.address, "-m", 2, "-c", 2, "--timeout", "300 ms")
        self.assertEqual((status, report["messages"]["unsent"]), (1, 2))
        self.assertEqual(report["errors"], {"no answer in time": 2})

    def test_delayed_answers(self):
        with sink("--delay", "body:200") as host:
            status, report = load(host.address, "-m", 4, "-c", 4, "--sink", host.control)
        self.assertEqual(status, 0)
        self.assertGreaterEqual(report["answer_ms"]["p50"], 195)

    def test_some_delayed_answers_left_out(self):
        with sink("--delay", "body:300:0.3") as host:
            _, report = load(host.address, "-m", 100, "-c", 4, "--below", "300 ms", "--sink", host.control)
        fast = report["below"]["answer_ms"]
        self.assertGreater(report["answer_ms"]["max"], 300)
        self.assertLess(fast["max"], 300)
        self.assertTrue(30 < fast["count"] < 95, fast)

    def test_some_recipients_rejected(self):
        with sink("--reject-rcpt", "r*.1@*:450") as host:
            status, report = load(host.address, "-m", 10, "--recipients", 3, "--sink", host.control)
        self.assertEqual(status, 1)
        self.assertEqual(report["messages"]["accepted"], 10)
        self.assertEqual(report["answers"]["rcpt"], {"250": 20, "450": 10})
        self.assertEqual((report["delivery"]["expected"], report["delivery"]["delivered"]), (20, 20))

    def test_too_large(self):
        with sink("--size", 1000) as host:
            status, report = load(host.address, "-m", 3, "--sink", host.control)
        self.assertEqual((status, report["answers"]["mail"]), (1, {"552": 3}))

    def test_domains_in_turn(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as domains, sink("--reject-rcpt", "*@two.example:550") as host:
            domains.write("# names\none.example\ntwo.example\n\nthree.example\n")
            domains.flush()
            _, report = load(host.address, "-m", 9, "--domains", domains.name)
        self.assertEqual(report["answers"]["rcpt"], {"250": 6, "550": 3})

    def test_open_loop(self):
        with sink() as host:
            status, report = load(host.address, "--rate", 200, "-d", "1 s", "-c", 20, "--sink", host.control)
        self.assertEqual(status, 0, report)
        self.assertAlmostEqual(report["messages"]["accepted"] + report["messages"]["not_started"], 200, delta=2)

    def test_open_loop_counts_from_the_intended_start(self):
        # One connection and 100 ms an answer: of 20 messages a second each is later than the one before it by 50 ms more.
        with sink("--delay", "body:100") as host:
            _, report = load(host.address, "--rate", 20, "-m", 10, "-c", 1, "--sink", host.control)
        self.assertGreaterEqual(report["message_ms"]["max"], 500)
        self.assertGreaterEqual(report["messages"]["late_starts"], 8)

    def test_count_ends_the_sink(self):
        host = sink("--count", 5)
        with host:
            load(host.address, "-m", 5)
            self.assertEqual(host.process.wait(timeout=10), 0)
        self.assertEqual(json.loads(host.report)["messages"], 5)

    def test_delay_holds_each_way(self):
        with sink() as host, Server(BENCH, "delay", "--listen", "127.0.0.1:0", "--to", host.address, "--ms", 30) as wire:
            begin = time.monotonic()
            status, report = load(wire.address, "-m", 5, "--sink", host.control, "--size", "300 KiB")
            passed = time.monotonic() - begin
        self.assertEqual(status, 0, report)
        # Greeting, EHLO, and two round trips for each of five messages, at the least.
        self.assertGreaterEqual(passed, 0.030 + 11 * 0.060)
        self.assertGreaterEqual(report["answer_ms"]["p50"], 60)
        self.assertEqual(wire.code, 0)


class Relay(unittest.TestCase):
    """The yardstick for what stores and passes on."""

    def passed_on(self, chunks, *options):
        """What a host stores of a message whose data come in these chunks."""
        with tempfile.TemporaryDirectory() as store, sink("--store", store, *options) as host, relay(host) as gateway:
            name, port = gateway.address.rsplit(":", 1)
            with socket.create_connection((name, int(port)), timeout=10) as peer, peer.makefile("rb") as answers:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for chunk, codes in ((b"EHLO x\r\n", 3), (b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", 3)):
                    peer.sendall(chunk)
                    said = [answers.readline()[:3] for _ in range(codes)]
                self.assertEqual(said, [b"250", b"250", b"354"])
                for chunk in chunks:
                    peer.sendall(chunk)
                    time.sleep(0.003)  # so that they are read one by one
                self.assertEqual(answers.readline(), b"250 2.0.0 taken\r\n")
                peer.sendall(b"QUIT\r\n")
                self.assertEqual(answers.read()[:3], b"221")
            (message,) = [path.read_bytes() for path in pathlib.Path(store).iterdir()]
        self.assertEqual((host.code, gateway.code), (0, 0))
        return message

    def test_the_end_of_data_split_at_each_octet(self):
        content = b"Subject: x\r\n\r\na.\r\nb\r\n"
        wire = content + b".\r\n"
        for options in ([], ["--no-chunking"]):
            for chunks in [[wire], [wire[i:i + 1] for i in range(len(wire))], *([wire[:i], wire[i:]] for i in range(1, len(wire)))]:
                with self.subTest(options=options, chunks=chunks):
                    self.assertEqual(self.passed_on(chunks, *options), content)
            with self.subTest(options=options, chunks="no content"):
                self.assertEqual(self.passed_on([b".", b"\r", b"\n"], *options), b"")

    def test_lines_that_only_begin_like_the_end(self):
        lines = [b"..\r\n", b"\r\n", b"..x\r\n", b"..\r", b"\n", b"x\r\n", b".\r\n"]
        self.assertEqual(self.passed_on(lines, "--no-chunking"), b".\r\n\r\n.x\r\n.\r\nx\r\n")
        self.assertEqual(self.passed_on(lines), b"".join(lines[:-1]), "by BDAT the dots stay")

    def test_mail(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a").write_bytes(b"Subject: x\r\n\r\n" + b"line\r\n" * 100000)
            pathlib.Path(folder, "b").write_bytes(b"Subject: x\r\n\r\n")
            for options in ([], ["--no-chunking"]):
                for sent in (["--per-connection", 1], ["--per-connection", 5], ["--recipients", 3, "--no-pipelining"]):
                    with self.subTest(options=options, sent=sent), sink(*options) as host, relay(host) as gateway:
                        code, report = load(gateway.address, "-m", 60, "-c", 7, *sent, "--messages-from", folder, "--sink", host.control)
                        self.assertEqual(code, 0, report)
                        self.assertLess(report["sinks"][0]["connections"], 10)  # they are kept

    def test_the_host_says_no(self):
        for options in ([], ["--no-chunking"]):
            with self.subTest(options=options), sink("--reject-rcpt", "r*5@*:550", *options) as host, relay(host) as gateway:
                _, report = load(gateway.address, "-m", 20, "-c", 3, "--recipient", "r%n@b.example")
                self.assertEqual((report["messages"]["accepted"], report["answers"]["body"]), (18, {"250": 18, "550": 2}))

    def test_the_host_goes_away(self):
        for step in ("greeting", "ehlo", "mail", "body"):
            with self.subTest(step=step), sink("--fail", step + ":close") as host, relay(host) as gateway:
                _, report = load(gateway.address, "-m", 6, "-c", 3)
                self.assertEqual(report["answers"]["body"], {"451": 6})
            self.assertEqual(gateway.code, 0)


class Attack(unittest.TestCase):
    def test_each_has_its_address_and_comes_again(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(20)
            command = [BENCH, "attack", "127.0.0.1:%d" % server.getsockname()[1], "--slow", "20", "--garbage", "10"]
            process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
            try:
                connections = {}
                while len(connections) < 30:
                    connection, (address, _) = server.accept()
                    self.assertNotIn(address, connections)
                    connections[address] = connection
                told = json.loads(process.stdout.readline())
                while told["open"] < 30:
                    told = json.loads(process.stdout.readline())
                self.assertEqual((told["opened"], told["ended"]), (30, 0))
                address = "127.16.0.25"  # throws garbage
                with connections.pop(address) as connection:
                    connection.settimeout(20)
                    self.assertTrue(connection.recv(1))
                connection, (again, _) = server.accept()
                connection.close()
                self.assertEqual(again, address)
                while not told["ended"]:
                    told = json.loads(process.stdout.readline())
                self.assertGreater(told["octets"], 0)
            finally:
                for connection in connections.values():
                    connection.close()
                process.terminate()
                process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0)


class Strictness(unittest.TestCase):
    """The sink counts what a client may not do."""

    def dialogue(self, octets, *options):
        with sink(*options) as host:
            name, port = host.address.rsplit(":", 1)
            with socket.create_connection((name, int(port)), timeout=10) as peer:
                peer.sendall(octets)
                answers = b""
                while piece := peer.recv(65536):
                    answers += piece
        return [line[:3] for line in answers.decode().splitlines()], json.loads(host.report)["violations"], host.code

    def test_wrong_order(self):
        codes, violations, code = self.dialogue(b"MAIL FROM:<a@b.example>\r\nQUIT\r\n")
        self.assertEqual((codes, list(violations), code), (["220", "503", "221"], ["MAIL at the wrong time"], 1))

    def test_bare_lf_in_a_command(self):
        _, violations, _ = self.dialogue(b"HELO x\nQUIT\r\n")
        self.assertIn("bare CR or LF in a command", violations)

    def test_pipelining_that_was_not_offered(self):
        octets = b"EHLO x\r\n"
        _, violations, _ = self.dialogue(octets + b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nQUIT\r\n", "--no-pipelining")
        self.assertIn("pipelined where it may not be", violations)

    def test_parameters_that_were_not_offered(self):
        _, violations, _ = self.dialogue(b"HELO x\r\nMAIL FROM:<> BODY=8BITMIME\r\nQUIT\r\n", "--no-8bitmime")
        self.assertEqual(violations["parameter that was not offered"]["example"], "BODY=8BITMIME")


class Usage(unittest.TestCase):
    def test_options_do_not_swallow_the_target(self):
        with sink("--fail", "mail:450:0", "--delay", "mail:1:0", "--reject-rcpt", "x:550") as host:
            run = subprocess.run([BENCH, "load", "--source", "127.0.0.1", "--sink", host.control, host.address],
                                 stdout=subprocess.PIPE)
        self.assertEqual(run.returncode, 0)

    def test_exit_codes(self):
        for command, code in ((["load", "--help"], 0), (["sink", "--help"], 0), (["delay", "--help"], 0), (["relay", "--help"], 0),
                              (["attack", "--help"], 0), (["attack"], 2), (["attack", "x"], 2), ([], 2),
                              (["load", "nonsense"], 2), (["load", "--nonsense"], 2), (["sink", "--fail", "mail:99"], 2),
                              (["load", "--recipients", "2", "--recipient", "a@b.example"], 2),
                              (["load", "127.0.0.1:1", "--sink", "127.0.0.1:1"], 1)):
            with self.subTest(command=command):
                run = subprocess.run([BENCH, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
                self.assertEqual(run.returncode, code, run.stderr)
                self.assertTrue(run.stdout if code == 0 else run.stderr)


if __name__ == "__main__":
    unittest.main()
