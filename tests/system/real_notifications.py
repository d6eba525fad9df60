"""A real Postfix reads our notifications (RFC 3464): it takes them with all that it can be told to be strict about, and what lies in its
mailbox is a report by the letter."""

import email.utils
import time

import peers
from delivery import BODY
from harness import wait_for
from keeping import Keeping

# It looks at the parts of what it takes, and refuses what they may not be (RFC 2045, RFC 2046), as it would with any stranger's mail.
STRICT = {
    "disable_mime_input_processing": "no",
    "strict_mime_encoding_domain": "yes",
    "strict_7bit_headers": "yes",
    "strict_8bitmime_body": "yes",
    "strict_rfc821_envelopes": "yes",
}


class RealNotifications(Keeping):
    mode = "queue"

    def send(self, gateway, to, notify):
        s = self.session(gateway)
        self.check(s.command("MAIL FROM:<sender@client.test> RET=HDRS ENVID=env+3Did"), 250)
        self.check(s.command(f"RCPT TO:<{to}> NOTIFY={notify} ORCPT=rfc822;old+2B{to.replace('@', '+40')}"), 250)
        return self.check_queued(s.data(BODY))

    def test_postfix_reads_each_kind(self):
        postfix = peers.Postfix(self.place, **STRICT)
        taking = self.host(rcpt=lambda p: "550-5.1.1 no such\n550 5.1.1 user here" if "bad" in p else "250 2.1.5 ok")  # it has no DSN
        gateway = self.start(
            taking, postfix, rules=f"a.test a\nclient.test b\naway.test 127.0.0.1:{self.nowhere()}\n", retry={"expire": "20 s"}
        )
        began = time.time()
        wanted = {
            "failed": ("bad@a.test", self.send(gateway, "bad@a.test", "FAILURE")),
            "relayed": ("good@a.test", self.send(gateway, "good@a.test", "SUCCESS")),
            "delayed": ("late@away.test", self.send(gateway, "late@away.test", "DELAY")),
        }
        wait_for(lambda: postfix.count() == 3, "three notifications in the mailbox")
        seen = set()
        for recipient, own_lines, content in postfix.copies():
            self.assertEqual(recipient, "sender@client.test")
            self.assertTrue(own_lines.startswith(b"Return-Path: <>\n"), own_lines)
            text, message, (report,), original = self.report(content, "sender@client.test")
            action = report["Action"]
            to, id = wanted[action]
            with self.subTest(action=action):
                seen.add(action)
                self.assertEqual(message["Reporting-MTA"], "dns; gw.test")
                self.assertEqual(message["Original-Envelope-Id"], "env=id")
                arrival = email.utils.parsedate_to_datetime(message["Arrival-Date"]).timestamp()
                self.assertLess(abs(arrival - began), 10)
                self.assertEqual(report["Final-Recipient"], f"rfc822; {to}")
                self.assertEqual(report["Original-Recipient"], f"rfc822; old+{to}")
                self.assertEqual(report["Status"].split(".")[0], {"failed": "5", "relayed": "2", "delayed": "4"}[action])
                if action == "failed":
                    self.assertEqual(report["Status"], "5.1.1")
                    self.assertRegex(report["Diagnostic-Code"], "^smtp; 550.* no such.* user here")
                if action == "delayed":
                    until = email.utils.parsedate_to_datetime(report["Will-Retry-Until"]).timestamp()
                    self.assertLess(abs(until - arrival - 20), 2)
                else:
                    self.assertEqual(report["Remote-MTA"], "dns; [127.0.0.1]")
                    self.assertTrue(report["Last-Attempt-Date"])
                self.assertIn(to, text)
                self.assertEqual(original.get_content_type(), "text/rfc822-headers")
                self.assertIn(f"id {id} ", original.get_payload())
                self.assertIn("Subject: hello", original.get_payload())
        self.assertEqual(seen, set(wanted))
        self.assertEqual([m.recipients for m in taking.messages], [["TO:<good@a.test>"]])
