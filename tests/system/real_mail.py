"""Real mail, byte for byte behind Postern's one Received: line: a fixed 200 from other people's clients to other people's
servers, and all 6,046 from postern-bench to its sink over every pair of DATA and BDAT and to a real Postfix."""

import json
import subprocess

import peers
from harness import BENCH, CORPUS, Process, SystemTest, behind_received, difference, free_port, wait_for
from peers_direct import send_all


class FixedMail(SystemTest):
    """200 messages from four clients through Postern to a server."""

    files = sorted((CORPUS / "fixed200").iterdir())

    def check(self, server):
        gateway = self.gateway("example.com server\n", {"server": {"hosts": server.address, "send_8bit": True}})
        sent = send_all(peers.CLIENTS, Front(gateway), self.files)
        wait_for(lambda: server.count() >= len(sent), f"{len(sent)} messages (there are {server.count()})", 120)
        stored = server.stored()
        self.assertEqual(sorted(stored), sorted(sent))
        wrong = {
            recipient: found
            for recipient, content in sent.items()
            if (found := difference(behind_received(stored[recipient]), content))
        }
        self.assertEqual(wrong, {})

    def test_to_aiosmtpd(self):
        self.check(self.place.add(peers.Aiosmtpd()))

    def test_to_postfix(self):
        self.check(peers.Postfix(self.place))

    def test_to_opensmtpd(self):
        self.check(peers.OpenSmtpd(self.place))

    def test_to_exim(self):
        self.check(peers.Exim(self.place))


class Front:
    """A gateway as clients want a server."""

    def __init__(self, gateway):
        self.port, self.address = gateway.port, f"127.0.0.1:{gateway.port}"


class Sink:
    """postern-bench's sink, behind one gateway."""

    def __init__(self, place, *options):
        self.port, control = free_port(), free_port()
        self.address, self.control = f"127.0.0.1:{self.port}", f"127.0.0.1:{control}"
        self.process = place.add(
            Process(
                [BENCH, "sink", self.address, "--control", self.control, "--received", 1, *options],
                place.folder,
                f"sink{self.port}",
            )
        )
        self.process.wait_listening(self.port)


def load(gateway, *options, timeout=600):
    """postern-bench load; its report."""
    done = subprocess.run(
        [BENCH, "load", f"127.0.0.1:{gateway.port}", "--json", *map(str, options)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        raise AssertionError(
            f"postern-bench load ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        ) from None


class AllMail(SystemTest):
    files = sorted((CORPUS / "all").iterdir())
    count = len(files)

    def check(self, sending, sink_options):
        sink = Sink(self.place, *sink_options)
        gateway = self.gateway("example.com sink\n", {"sink": sink.address}, workers=2)
        code, report = load(
            gateway, "-c", 8, "-m", self.count, "--messages-from", CORPUS / "all", "--sink", sink.control, *sending
        )
        self.assertEqual((code, report["good"]), (0, True), report)
        self.assertEqual(report["messages"]["accepted"], self.count, report)

    def test_data_to_data(self):
        self.check([], ["--no-chunking"])

    def test_data_to_bdat(self):
        self.check([], [])

    def test_bdat_to_data(self):
        self.check(["--bdat", "--chunk-size", 1000], ["--no-chunking"])

    def test_bdat_to_bdat(self):
        self.check(["--bdat", "--chunk-size", 4099], [])

    def test_to_postfix(self):
        server = peers.Postfix(self.place)
        gateway = self.gateway("example.com server\n", {"server": server.address}, workers=2)
        code, report = load(
            gateway, "-c", 8, "-m", self.count, "--messages-from", CORPUS / "all", "--recipient", "%n@example.com"
        )
        self.assertEqual((code, report["messages"]["accepted"]), (0, self.count), report)
        wait_for(lambda: server.count() >= self.count, f"{self.count} messages", 300)
        stored = {int(recipient.split("@")[0]): content for recipient, content in server.stored().items()}
        wrong = {
            file.name: found
            for number, file in enumerate(self.files)
            if (found := difference(behind_received(stored[number]), file.read_bytes()))
        }
        self.assertEqual(wrong, {})


class BareCarriageReturns(SystemTest):
    """The 8 messages that have bare CRs, as they are."""

    files = sorted((CORPUS / "raw").iterdir())

    def test_normalize(self):
        for sending in ("data", "bdat"):
            for chunking in (True, False):
                with self.subTest(sending=sending, chunking=chunking):
                    host = self.host() if chunking else self.host(("PIPELINING", "8BITMIME"))
                    s = self.session(self.gateway("example.com host\n", {"host": host.address}))
                    for file in self.files:
                        s.envelope("x@example.com", parameters=" BODY=8BITMIME")
                        reply = getattr(s, sending)(file.read_bytes())
                        self.assertEqual(reply.code, 250, reply)
                        self.assertIsNone(
                            difference(behind_received(host.messages[-1].content), (CORPUS / "all" / file.name).read_bytes())
                        )

    def test_normalize_under_load(self):
        sink = Sink(self.place)
        gateway = self.gateway("example.com sink\n", {"sink": sink.address})
        for sending in ([], ["--bdat"]):
            code, report = load(
                gateway, "-m", 80, "--messages-from", CORPUS / "raw", "--repaired", "--sink", sink.control, *sending
            )
            self.assertEqual((code, report["good"], report["messages"]["accepted"]), (0, True, 80), report)

    def test_reject(self):
        host = self.host()
        s = self.session(self.gateway("example.com host\n", {"host": host.address}, listener={"bare_newline": "reject"}))
        for sending in ("data", "bdat"):
            for file in self.files:
                s.envelope("x@example.com", parameters=" BODY=8BITMIME")
                reply = getattr(s, sending)(file.read_bytes())
                self.assertTrue(str(reply).startswith("550 5.5.2"), reply)
        self.assertEqual(host.seen, [])
        self.assertEqual(s.mail("x@example.com").code, 250)
