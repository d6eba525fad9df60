"""What the tests of the modes that keep mail share: short retry times, smart hosts that come and go, and what the spool has."""

import contextlib
import email
import email.policy
import json
import resource
import subprocess
import time

from delivery import Delivery
from harness import LOOPBACK, POSTERN, Process, behind_received, free_port, wait_for

RULES = "a.test a\nb.test b\nclient.test b\n"  # whoever sent it is told at b
# Seconds for which a smart host makes a message wait: behind a deadline and a write to a slow disk, before it is given up.
LATE = 4
TIMES = {"connect": "1 s", "reply": "5 s", "busy": "500 ms", "data_done": "10 s"}


class Keeping(Delivery):
    """One gateway in the module's mode before the hosts `a` and `b`."""

    mode = "hybrid"

    def start(self, a=None, b=None, rules=RULES, pools=None, trusted=False, **settings):
        """`a` and `b` may be ports at which nobody listens yet. `pools`: more keys for a."""
        self.a, self.b = a or self.host(), b or self.host()
        at = [f"{LOOPBACK}:{host}" if isinstance(host, int) else host.address for host in (self.a, self.b)]
        relay = {"networks": ["127.0.0.0/8"]} if trusted else {}
        return self.gateway(
            rules,
            {"a": {"hosts": at[0], **(pools or {})}, "b": at[1]},
            delivery={"mode": self.mode, "hybrid_deadline": "5 s", **settings.pop("delivery", {})},
            retry={"first": "1 s", "max": "2 s", **settings.pop("retry", {})},
            timeouts={**TIMES, **settings.pop("timeouts", {})},
            relay={**relay, **settings.pop("relay", {})},
            **settings,
        )

    def nowhere(self):
        return free_port()

    def kept(self, gateway):
        """Messages in the spool."""
        return gateway.numbers()["postern_spool_messages"]

    def wait_kept(self, gateway, count):
        """A spool is read again behind a start, and is said to hold nothing until then."""
        wait_for(lambda: self.kept(gateway) == count, f"{count} messages in the spool")

    def wait_written(self, gateway):
        """What is to be written follows with one of the next writes: until there is none for a second."""

        def no_more():
            before = self.writes(gateway)
            time.sleep(1)
            return self.writes(gateway) == before

        wait_for(no_more, "the disk to be at rest")

    def writes(self, gateway):
        return sum(value for name, value in gateway.numbers().items() if name.startswith("postern_spool_writes_total"))

    def wait_empty(self, gateway, seconds=20):
        def empty():
            spool = json.loads(gateway.ask("/health").text)["spool"]
            return not spool["recovering"] and spool["messages"] == 0

        wait_for(empty, "the spool to be empty", seconds)

    def arrived(self, host, count=1, seconds=20):
        """The messages that the host took, when there are so many."""
        wait_for(lambda: len(host.messages) >= count, f"{count} messages at {host.address}", seconds)
        return host.messages

    def check_queued(self, reply):
        """It is the gateway's own promise; returns the ID."""
        self.check(reply, 250, "2.0.0")
        self.assertRegex(str(reply), r"^250 2\.0\.0 queued as [0-9A-Za-z]+$")
        return str(reply).rsplit(" ", 1)[1]

    def logged(self, gateway, event, count=1):
        """The lines of that event, when there are so many."""
        return wait_for(lambda: lines if len(lines := gateway.log(event=event)) >= count else None, f"{count} lines of {event}")

    def check_stays(self, host, count, seconds=3):
        """No more comes than has come: nothing is delivered twice."""
        time.sleep(seconds)
        self.assertEqual(len(host.seen), count)

    def queue(self, gateway, *arguments):
        done = subprocess.run(
            [POSTERN, "queue", *arguments, "-c", gateway.config], capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def listed(self, gateway, *filters):
        return json.loads(self.queue(gateway, "list", "--json", *filters))

    def kill_and_start(self, gateway, while_down=lambda: None):
        """kill -9, and the same configuration again."""
        gateway.child.kill()
        gateway.child.wait()
        while_down()
        Process.__init__(gateway, gateway.child.args, gateway.folder, gateway.name)
        gateway.wait_listening(gateway.port)

        def answers():
            with contextlib.suppress(OSError):  # a socket outlives its process for a moment
                return gateway.ask("/health").status == 200
            return False

        wait_for(answers, "the new process to answer")

    def writes_fail(self, gateway, fail=True):
        """Whatever the process writes to a file is refused from now on; its log, too."""
        _, most = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0 if fail else most, most))

    def failures(self, gateway):
        return gateway.numbers()["postern_spool_failed_writes_total"]

    def notification(self, delivered, sender="sender@client.test"):
        """What a host took is a notification to the sender: its parts, the fields of the first recipient's report."""
        self.assertTrue(delivered.sender.startswith("FROM:<>"), delivered.sender)
        self.assertEqual([r.split(" ")[0] for r in delivered.recipients], [f"TO:<{sender}>"])
        content = delivered.content
        if content.startswith(b"Received:"):
            content = behind_received(content)
        return self.report(content, sender)

    def report(self, content, sender):
        """The parts of a notification to that one."""
        message = email.message_from_bytes(content, policy=email.policy.default)
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertTrue(message["Auto-Submitted"].startswith("auto-replied"))
        self.assertEqual(message["To"], sender)
        self.assertEqual(message.defects, [])
        text, report, original = message.iter_parts()
        self.assertEqual(report.get_content_type(), "message/delivery-status")
        per_message, *per_recipient = report.get_payload()
        return text.get_content(), per_message, per_recipient, original
