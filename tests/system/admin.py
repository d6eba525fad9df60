"""The admin address: numbers that add up, health and readiness, `postern route --live`, strangers, requests that never end; and
what a worker that stands still, or SIGUSR1, makes Postern say."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

from harness import BENCH, LOOPBACK, POSTERN, STALL, Process, SystemTest, ask, free_port, numbers_in, wait_for
from peers import PEERS

RULES = 'a.test a\nb.test b\ndirect.test {direct}\nno.test reject:"not here"\n* a restricted\n'
PROMTOOL = PEERS / "usr/bin/promtool"
TYPE_OF_METRICS = "text/plain; version=0.0.4; charset=utf-8"

# Every connection that is accepted makes its worker wait while the file is there.
STALLING = """
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

extern "C" int getpeername(int descriptor, struct sockaddr* address, socklen_t* size) {
    while (access(getenv("STALL_FILE"), F_OK) == 0) {
        usleep(10000);
    }
    return reinterpret_cast<decltype(&getpeername)>(dlsym(RTLD_NEXT, "getpeername"))(descriptor, address, size);
}
"""


class AdminTest(SystemTest):
    tcp_port = None

    def start(self, a=None, **settings):
        self.a, self.b, self.direct = a or self.host(), self.host(), self.host()
        rules = RULES.format(direct=self.direct.address)
        gateway = self.gateway(rules, {"a": self.a.address, "b": self.b.address}, **settings)
        if settings.get("admin", {}).get("address", "").startswith("unix:"):
            return gateway  # at a place of the test's own
        wait_for(lambda: self.is_ready(gateway), "Postern to be ready")
        return gateway

    def is_ready(self, gateway):
        """It accepts mail before it says so: the workers begin behind its listeners."""
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            return self.request(gateway, "/ready").status == 200

    def start_on_tcp(self, **admin):
        self.tcp_port = free_port()
        return self.start(admin={"address": f"{LOOPBACK}:{self.tcp_port}", **admin})

    def request(self, gateway, target, method="GET", **headers):
        """The answer, its body read to `text`."""
        if not self.tcp_port:
            return gateway.ask(target, method, **headers)
        return ask(http.client.HTTPConnection(LOOPBACK, self.tcp_port, timeout=30), target, method, **headers)

    def numbers(self, gateway):
        """name{labels} -> number"""
        answer = self.request(gateway, "/metrics")
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, TYPE_OF_METRICS))
        return numbers_in(answer.text)

    def total(self, numbers, family, **labels):
        """Of all series of that family that have those labels; `reply` stands for `class`, which is a word of Python's."""
        labels = {("class" if name == "reply" else name): value for name, value in labels.items()}
        return sum(
            value
            for name, value in numbers.items()
            if name.split("{")[0] == family and all(f'{k}="{v}"' in name for k, v in labels.items())
        )


class Numbers(AdminTest):
    def test_add_up_after_a_load(self):
        port = free_port()
        sink = self.place.add(Process([BENCH, "sink", f"{LOOPBACK}:{port}"], self.place.folder, "sink"))
        sink.wait_listening(port)
        gateway = self.gateway(
            "here.test sink\nno.test reject\n", {"sink": f"{LOOPBACK}:{port}"}, workers=2,
            limits={"connections_per_client": 0})
        messages, connections = 600, 20
        subprocess.run(
            [BENCH, "load", f"{LOOPBACK}:{gateway.port}", "--recipient", "r%n.%i@here.test", "-c", str(connections), "-m",
             str(messages), "--recipients", "2"], check=True, capture_output=True, timeout=60)
        s = self.session(gateway)
        self.assertEqual([r.code for r in s.envelope(["x@no.test", "y@no.test"])], [250, 550, 550])
        n = self.numbers(gateway)
        listener = {"listener": f"{LOOPBACK}:{gateway.port}"}
        host = {"pool": "sink", "host": f"{LOOPBACK}:{port}"}
        self.assertEqual(self.total(n, "postern_messages_total"), messages)
        self.assertEqual(self.total(n, "postern_messages_total", reply="2xx", **listener), messages)
        self.assertEqual(self.total(n, "postern_host_messages_total", reply="2xx", **host), messages)
        self.assertEqual(self.total(n, "postern_host_messages_total"), messages)
        self.assertEqual(self.total(n, "postern_refusals_total"), 2)
        self.assertEqual(self.total(n, "postern_refusals_total", reply="5xx", **listener), 2)
        self.assertGreater(self.total(n, "postern_messages_bytes_total", **listener), messages * 100)
        # Ours, and what the harness opened to see whether it listens.
        self.assertIn(self.total(n, "postern_connections_total", **listener), range(connections + 1, messages + 3))
        wait_for(lambda: self.total(self.numbers(gateway), "postern_connections_open", **listener) == 1, "one is open")
        self.assertGreaterEqual(self.total(n, "postern_host_connections_open", **host), 1)
        self.assertEqual(self.total(n, "postern_host_trouble_total"), 0)
        for phase, count in (("command", messages), ("body", messages), ("wait", messages), ("answer", messages),
                             ("routing", 2 * messages + 2)):
            self.assertEqual(n[f'postern_phase_seconds_count{{phase="{phase}"}}'], count, phase)
            self.assertEqual(n[f'postern_phase_seconds_bucket{{phase="{phase}",le="+Inf"}}'], count, phase)
        self.assertEqual(n["postern_generation"], 1)
        self.assertEqual(n["postern_rules"], 2)
        self.assertEqual(n["postern_last_reload_succeeded"], 1)
        self.assertEqual(n["postern_log_lines_dropped_total"], 0)
        self.assertLess(abs(n["postern_last_reload_timestamp_seconds"] - time.time()), 120)
        self.assertEqual(self.total(n, "postern_worker_completion_overflows_total"), 0)

    def test_what_hosts_say(self):
        host = self.host(body=lambda m: "550 5.7.1 no" if b"bad" in m.content else "451 4.3.0 later")
        gateway = self.start(host)
        s = self.session(gateway)
        self.assertEqual([s.mail("x@a.test", body).code for body in (b"bad\r\n", b"bad\r\n", b"x\r\n")], [550, 550, 451])
        self.assertEqual(s.mail("x@direct.test").code, 250)
        n = self.numbers(gateway)
        for reply, count in (("2xx", 0), ("4xx", 1), ("5xx", 2), ("none", 0)):
            self.assertEqual(self.total(n, "postern_host_messages_total", pool="a", reply=reply), count, reply)
        self.assertEqual(self.total(n, "postern_messages_total", reply="5xx"), 2)
        self.assertEqual(self.total(n, "postern_messages_total", reply="4xx"), 1)
        direct = self.direct.address  # a host that a rule names is a pool of that name
        self.assertEqual(self.total(n, "postern_host_messages_total", pool=direct, host=direct, reply="2xx"), 1)

    def test_a_host_that_is_away(self):
        gateway = self.start()
        self.a.close()
        self.assertEqual(self.session(gateway).mail("x@a.test").code, 451)
        n = self.numbers(gateway)
        self.assertGreaterEqual(self.total(n, "postern_host_trouble_total", pool="a"), 1)
        self.assertEqual(self.total(n, "postern_host_aside", pool="a"), 1)
        self.assertEqual(self.total(n, "postern_host_aside", pool="b"), 0)

    def test_memory_by_holder(self):
        gateway = self.start()
        self.session(gateway).mail("x@a.test")
        check = subprocess.run([POSTERN, "check", "-c", gateway.config], capture_output=True, text=True)
        holders = [line.split("MiB")[1].strip().split(":")[0] for line in check.stdout.splitlines() if "MiB" in line]
        holders.remove("in all")
        wait_for(lambda: self.total(self.numbers(gateway), "postern_memory_bytes", holder="envelopes") > 0, "a pulse")
        n = self.numbers(gateway)
        for holder in holders:
            self.assertIn(f'postern_memory_bytes{{holder="{holder}"}}', n)
        for holder in ("connections", "command buffers", "rings", "rules"):
            self.assertGreater(self.total(n, "postern_memory_bytes", holder=holder), 0, holder)

    def test_no_label_names_people(self):
        gateway = self.start()
        self.session(gateway).mail("person@a.test", sender="someone@sender.test")
        text = self.request(gateway, "/metrics").text
        for word in ("person", "someone", "sender.test", "a.test", "client.test"):
            self.assertNotIn(word, text)
        labels = set(re.findall(r'[{,]([a-z_]+)="', text))
        known = {"listener", "pool", "host", "class", "phase", "le", "holder", "worker", "outcome", "version", "limit", "resource"}
        self.assertEqual(labels, known)

    def test_promtool_finds_nothing(self):
        gateway = self.start()
        self.session(gateway).mail("x@a.test")
        checked = subprocess.run(
            [PROMTOOL, "check", "metrics"], input=self.request(gateway, "/metrics").text, capture_output=True, text=True,
            timeout=60)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))


class Health(AdminTest):
    def test_ready_and_healthy(self):
        gateway = self.start(workers=2)
        ready = self.request(gateway, "/ready")
        self.assertEqual((ready.status, ready.text), (200, "ready\n"))
        health = self.request(gateway, "/health")
        told = json.loads(health.text)
        self.assertEqual((health.status, told["status"], told["generation"]), (200, "ok", 1))
        self.assertEqual([w["worker"] for w in told["workers"]], [0, 1])
        # Workers that have nothing to do are made to turn, so that it shows when one can not.
        turns = lambda: [w["turns"] for w in json.loads(self.request(gateway, "/health").text)["workers"]]
        first = turns()
        wait_for(lambda: all(b > a for a, b in zip(first, turns())), "all workers to turn")

    def test_stopping_is_not_ready(self):
        gateway = self.start(self.host(body=STALL))
        s = self.session(gateway)
        s.envelope("x@a.test")
        s.command("DATA")
        s.send("hello\r\n.\r\n")
        wait_for(lambda: self.a.seen, "the message at the host")
        gateway.signal(signal.SIGTERM)
        ready = wait_for(
            lambda: (answer := self.request(gateway, "/ready")).status != 200 and answer, "the end to begin")
        self.assertEqual((ready.status, ready.text), (503, "stopping\n"))
        self.a.drop_connections()
        self.assertEqual(s.read().code, 451)
        self.assertEqual(gateway.child.wait(20), 0)
        self.assertFalse((gateway.folder / "admin.sock").exists())

    def test_a_worker_that_stands_still(self):
        source, library, stall = (self.place.folder / name for name in ("stalling.cc", "stalling.so", "stall"))
        source.write_text(STALLING)
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", library], check=True)
        gateway = self.start(environment={
            "LD_PRELOAD": str(library), "STALL_FILE": str(stall), "ASAN_OPTIONS": "verify_asan_link_order=0"})
        stall.touch()
        with contextlib.closing(socket.create_connection((LOOPBACK, gateway.port))) as waiting:
            answer = wait_for(
                lambda: (answer := self.request(gateway, "/health")).status != 200 and answer, "the stall to be seen")
            told = json.loads(answer.text)
            self.assertEqual((answer.status, told["status"]), (503, "a worker stands still"))
            self.assertEqual(told["workers"][0]["status"], "stands still")
            self.assertGreaterEqual(told["workers"][0]["still_ms"], 5000)
            (line,) = wait_for(lambda: gateway.log(event="worker stands still"), "a line about it")
            self.assertTrue(line["reply"].startswith("worker 0: "), line)
            self.assertIn("stalling.so(getpeername", line["reply"])
            self.assertEqual(self.total(self.numbers(gateway), "postern_worker_stalls_total"), 1)
            # SIGUSR1 needs no worker's help.
            gateway.signal(signal.SIGUSR1)
            wait_for(lambda: "worker 0: its last events" in gateway.said(), "what SIGUSR1 prints")
            self.check_a_crowd_is_bounded(gateway)
            stall.unlink()
            self.assertTrue(waiting.recv(100).startswith(b"220 "))
        wait_for(lambda: self.request(gateway, "/health").status == 200, "the worker to go on")
        self.assertEqual(len(wait_for(lambda: gateway.log(event="worker goes on"), "a line about it")), 1)
        self.assertEqual(self.session(gateway).mail("x@a.test").code, 250)

    def test_sigusr1_prints_and_goes_on(self):
        gateway = self.start()
        s = self.session(gateway)
        s.mail("x@a.test")
        self.assertEqual(s.mail("x@no.test").code, 550)
        gateway.signal(signal.SIGUSR1)
        wait_for(lambda: "refused 550 RCPT" in gateway.said(), "the last events")
        said = gateway.said()
        (delivered,) = wait_for(lambda: gateway.log(event="delivered"), "the message's line")
        for event in ("connected 0 127.0.0.1", f"began 0 {delivered['id']}", f"settled 250 {delivered['id']}"):
            self.assertIn(event, said)
        self.assertRegex(said, r"postern: worker 0: .*postern_worker_turns_total=\d+ .*host a [\d.:]+: connections=1")
        self.assertEqual(s.command("RSET").code, 250)
        self.assertEqual(s.mail("x@a.test").code, 250)

    def check_a_crowd_is_bounded(self, gateway):
        """Each answer takes its time now; who asks faster than that waits in the kernel, not in descriptors of the gateway's."""
        descriptors = lambda: len(os.listdir(f"/proc/{gateway.pid}/fd"))
        before, most, crowd = descriptors(), 0, []
        for _ in range(400):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(0.01)
            crowd.append(s)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                s.connect(str(gateway.folder / "admin.sock"))
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            most = max(most, descriptors())
        # However late the gateway comes to them: more wait there than it answers at a time, and none of them goes.
        most = max(most, wait_for(lambda: (now := descriptors()) > before + 50 and now, "a crowd that waits"))
        for s in crowd:
            s.close()
        self.assertLessEqual(most, before + 130)


class Live(AdminTest):
    def live(self, gateway, *arguments):
        return subprocess.run(
            [POSTERN, "route", "-c", gateway.config, "--live", *arguments], capture_output=True, text=True, timeout=60)

    def test_text(self):
        gateway = self.start()
        self.session(gateway).mail("x@a.test")
        done = self.live(gateway, "x@a.test", "no+one@no.test")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("generation 1\nx@a.test\n"), done.stdout)
        self.assertIn("no+one@no.test\n", done.stdout)
        self.assertIn("550 5.1.2 not here", done.stdout)
        self.assertIn(f"host {self.a.address} of a: 1 connection open, trusted, in trouble 0 times so far\n", done.stdout)
        self.assertNotIn(self.b.address, done.stdout)

    def test_json_and_from(self):
        gateway = self.start(relay={"networks": ["192.0.2.0/24"]})
        self.a.close()
        self.session(gateway).mail("x@a.test")
        for client, accepted in (("192.0.2.7", True), ("198.51.100.7", False)):
            done = self.live(gateway, "x@else.test", "--from", client, "--json")
            self.assertEqual(done.returncode, 0, done)
            told = json.loads(done.stdout)
            self.assertEqual(told["generation"], 1)
            self.assertEqual(told["addresses"][0]["from"]["accepted"], accepted)
            (host,) = told["hosts"]
            self.assertEqual((host["pool"], host["host"], host["workers_that_set_it_aside"]), ("a", self.a.address, 1))
            self.assertGreaterEqual(host["trouble"], 1)

    def test_refused_and_nobody(self):
        gateway = self.start()
        for arguments in (["nonsense"], ["x@a.test", "--from", "nobody"]):
            done = self.live(gateway, *arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""), done)
            self.assertTrue(done.stderr)
        done = self.live(gateway, "nonsense", "x@a.test")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("generation 1\nx@a.test\n", done.stdout)
        self.assertRegex(done.stderr, "^postern: 'nonsense' is no address; .*\n$")
        gateway.close()
        done = self.live(gateway, "x@a.test")
        self.assertEqual((done.returncode, done.stdout), (2, ""), done)
        self.assertIn("nobody answers", done.stderr)

    def test_by_its_address_alone(self):
        gateway = self.start()
        for admin, code in ((f"unix:{gateway.folder}/admin.sock", 0), (f"{LOOPBACK}:{free_port()}", 2), ("what", 2)):
            done = subprocess.run(
                [POSTERN, "route", "--live", "--admin", admin, "x@a.test"], cwd="/", capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done)


class Strangers(AdminTest):
    """Who reaches the admin address by TCP reads what is meant for all, and changes nothing."""

    REQUESTS = [
        ("POST", "/reload"), ("POST", "/reload?force=1"), ("GET", "/reload"), ("GET", "/route?address=x@a.test"),
        ("POST", "/metrics"), ("PUT", "/health"), ("DELETE", "/ready"), ("GET", "/"), ("GET", "/metrics/../route"),
        ("GET", "//metrics"), ("OPTIONS", "/metrics"), ("PATCH", "/metrics"),
    ]

    def test_read_and_nothing_else(self):
        gateway = self.start_on_tcp()
        for target in ("/metrics", "/health", "/ready"):
            self.assertEqual(self.request(gateway, target).status, 200)
        for method, target in self.REQUESTS:
            with self.subTest(method=method, target=target):
                answer = self.request(gateway, target, method, Authorization="Bearer ")
                self.assertEqual(answer.status, 403)
        self.assertEqual(self.numbers(gateway)["postern_reloads_total"], 0)

    def test_a_page_in_a_browser_changes_nothing(self):
        """Without the token it can do nothing in any case; and with it, which a page can not know, nothing either. A page whose
        name was made to point at loopback (DNS rebinding) does not even read."""
        gateway = self.start_on_tcp(token="s3cret")
        token = {"Authorization": "Bearer s3cret"}
        pages = (
            {"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.test"},
            {"Host": f"evil.test:{self.tcp_port}"},
        )
        for page in pages:
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json"):
                with self.subTest(page=page, kind=kind):
                    for shown in ({}, token):
                        headers = {"Content-Type": kind, **page, **shown}
                        answer = self.request(gateway, "/reload?force=1", "POST", **headers)
                        self.assertEqual(answer.status, 403)
                        self.assertFalse([name for name in answer.headers if name.lower().startswith("access-control")])
        self.assertEqual(self.request(gateway, "/metrics", Host="evil.test").status, 403)
        self.assertEqual(self.numbers(gateway)["postern_reloads_total"], 0)
        self.assertEqual(self.request(gateway, "/reload", "POST", Host=f"localhost:{self.tcp_port}", **token).status, 200)
        self.assertEqual(self.numbers(gateway)["postern_reloads_total"], 1)

    def test_the_token_is_told_to_nobody(self):
        gateway = self.start_on_tcp(token="s3cret-t0ken")
        for shown in ("Bearer s3cret-t0ken", "Bearer s3cret-t0kem"):
            for target in ("/route?address=x@a.test", "/reload", "/metrics"):
                answer = self.request(gateway, target, "POST" if target == "/reload" else "GET", Authorization=shown)
                self.assertNotIn("s3cret", answer.text)
        self.assertEqual(gateway.reload().returncode, 0)
        gateway.signal(signal.SIGUSR1)
        wait_for(lambda: "its last events" in gateway.said(), "what SIGUSR1 prints")
        self.assertNotIn("s3cret", gateway.said())

    def test_a_token_opens(self):
        gateway = self.start_on_tcp(token="s3cret")
        route = "/route?address=x@a.test"
        for shown in ("", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Bearer S3cret", "s3cret"):
            self.assertEqual(self.request(gateway, route, Authorization=shown).status, 403, shown)
        self.assertEqual(self.request(gateway, route, Authorization="Bearer s3cret").status, 200)
        self.assertEqual(self.request(gateway, "/metrics").status, 200)
        done = subprocess.run(
            [POSTERN, "route", "-c", gateway.config, "--live", "x@a.test"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done)
        self.assertTrue(done.stdout.startswith("generation 1\n"))
        # One that became known to others is changed without a restart.
        gateway.config.write_text(gateway.config.read_text().replace("s3cret", "an0ther"))
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: self.request(gateway, route, Authorization="Bearer an0ther").status == 200, "the other token to hold")
        self.assertEqual(self.request(gateway, route, Authorization="Bearer s3cret").status, 403)


class Endless(AdminTest):
    def closed_within(self, s, seconds):
        s.settimeout(seconds)
        with contextlib.suppress(ConnectionError):
            while s.recv(65536):
                pass

    def connect(self):
        return self.place.add(socket.create_connection((LOOPBACK, self.tcp_port)))

    def still_serves(self, gateway):
        self.assertEqual(self.session(gateway).mail("x@a.test").code, 250)
        self.assertEqual(self.request(gateway, "/ready").status, 200)

    def test_malformed(self):
        gateway = self.start_on_tcp()
        for request in (
            b"\r\n\r\n", b"what\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics HTTP/9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(300), b"\0" * 5000, b"GET /" + b"x" * 9000 + b"\r\n\r\n",
            b"EHLO x\r\nMAIL FROM:<a@b>\r\n\r\n",
            b"POST /reload HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 20000,
            b"POST /reload HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        ):
            with self.subTest(request=request[:40]):
                s = self.connect()
                s.sendall(request)
                self.closed_within(s, 8)
        self.still_serves(gateway)

    def test_headers_without_end(self):
        gateway = self.start_on_tcp()
        s = self.connect()
        sent = 0
        with contextlib.suppress(ConnectionError):
            s.sendall(b"GET /metrics HTTP/1.1\r\n")
            while sent < 100_000_000:
                sent += s.send(b"X: " + b"y" * 1000 + b"\r\n")
        self.assertLess(sent, 100_000_000)
        self.still_serves(gateway)
        self.assertLess(gateway.rss_kib(), 2_000_000)

    def test_a_slow_one(self):
        self.start_on_tcp()
        s = self.connect()
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                s.sendall(b"G")
                time.sleep(0.2)
        self.assertLess(time.monotonic() - began, 15)

    def test_half_requests_blind_nobody(self):
        """They wait for their end without anybody waiting for them."""
        for count in (40, 120, 400):
            with self.subTest(count=count):
                gateway = self.start_on_tcp()
                crowd = [self.connect() for _ in range(count)]
                for s in crowd:
                    with contextlib.suppress(ConnectionError):  # of those that made way
                        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: loc")
                for _ in range(20):
                    began = time.monotonic()
                    self.assertEqual(self.request(gateway, "/health").status, 200)
                    self.assertLess(time.monotonic() - began, 0.5)

    def test_answers_that_nobody_reads_blind_nobody(self):
        gateway = self.start_on_tcp()
        crowd = []
        for _ in range(100):
            s = self.place.add(socket.socket())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.connect((LOOPBACK, self.tcp_port))
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            crowd.append(s)
        for _ in range(20):
            began = time.monotonic()
            self.assertEqual(self.request(gateway, "/health").status, 200)
            self.assertLess(time.monotonic() - began, 0.5)

    def test_a_request_in_pieces(self):
        gateway = self.start_on_tcp(token="s3cret")
        request = (
            b"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nContent-Length: 3\r\n\r\nabc"
        )
        for cut in (1, 30, len(request) - 4, len(request) - 1):
            s = self.connect()
            s.sendall(request[:cut])
            time.sleep(0.05)
            s.sendall(request[cut:])
            s.settimeout(10)
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200 "), cut)
        self.assertEqual(self.numbers(gateway)["postern_reloads_total"], 4)

    def test_a_crowd_that_says_nothing(self):
        gateway = self.start_on_tcp()
        crowd = [self.connect() for _ in range(300)]
        self.assertEqual(self.session(gateway).mail("x@a.test").code, 250)
        for s in crowd:  # most are turned away at once, the others are waited for in turn
            self.closed_within(s, 30)
        self.still_serves(gateway)


class Socket(AdminTest):
    """The Unix socket's file."""

    def run_beside(self, gateway):
        """A second one with the same configuration but its port."""
        config = gateway.folder / "second.toml"
        config.write_text(gateway.config.read_text().replace(f":{gateway.port}", f":{free_port()}"))
        return subprocess.run([POSTERN, "run", "-c", config], capture_output=True, text=True, timeout=30)

    def test_folder_and_mode(self):
        gateway = self.start(admin={"address": "unix:run/deep/admin.sock"})
        file = gateway.folder / "run/deep/admin.sock"
        wait_for(lambda: gateway.log(event="ready"), "it to be ready")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o660)
        gateway.close()
        self.assertFalse(file.exists())

    def test_beside_a_configuration_that_is_named_without_a_folder(self):
        gateway = self.start()
        gateway.close()
        again = self.place.add(Process([POSTERN, "run", "-c", gateway.config.name], gateway.folder, "again"))
        again.wait_listening(gateway.port)
        wait_for(lambda: self.is_ready(gateway), "it to be ready")
        again.close()

    def test_a_live_one_is_an_error(self):
        gateway = self.start()
        second = self.run_beside(gateway)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process answers at the admin socket", second.stderr)
        self.assertEqual(self.request(gateway, "/ready").status, 200)

    def test_a_stale_one_is_replaced(self):
        gateway = self.start()
        gateway.child.kill()
        gateway.child.wait()
        file = gateway.folder / "admin.sock"
        self.assertTrue(file.exists())
        second = self.place.add(Process([POSTERN, "run", "-c", gateway.config], gateway.folder, "second"))
        second.wait_listening(gateway.port)
        wait_for(lambda: self.is_ready(gateway), "the second one to be ready")
        second.close()

    def test_what_is_no_socket_is_left_alone(self):
        gateway = self.start()
        gateway.close()
        file = gateway.folder / "admin.sock"
        file.write_text("precious")
        second = self.run_beside(gateway)
        self.assertEqual(second.returncode, 1)
        self.assertIn("is no socket", second.stderr)
        self.assertEqual(file.read_text(), "precious")

    def test_a_folder_that_cannot_be_made(self):
        gateway = self.start()
        gateway.close()
        (gateway.folder / "file").write_text("")
        config = gateway.config.read_text().replace("unix:admin.sock", "unix:file/admin.sock")
        gateway.config.write_text(config)
        done = subprocess.run([POSTERN, "run", "-c", gateway.config], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be made", done.stderr)
