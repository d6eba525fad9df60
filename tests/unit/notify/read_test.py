#!/usr/bin/python3
"""Python's email package reads notifications of every kind, and finds no defect in them.

usage: tests/unit/notify/read_test.py PROGRAM      PROGRAM: notify-samples
"""

import email
import email.errors
import email.policy
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop() if len(sys.argv) > 1 else None


def defects(message):
    """Of all parts, and of all their fields."""
    for part in message.walk():
        yield from part.defects
        for field in part.values():
            yield from getattr(field, "defects", ())


class Read(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, folder], check=True)
            cls.octets = {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}

    def read(self, name, status_type="message/delivery-status", policy=email.policy.SMTP):
        """(text, blocks of fields, returned part)."""
        octets = self.octets[name]
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), 998)
        self.assertNotIn(b"\n", octets.replace(b"\r\n", b""))
        # A header in UTF-8 (RFC 6532) is read as text: the package takes octets for ASCII.
        utf8 = policy is email.policy.SMTPUTF8
        message = email.message_from_string(octets.decode(), policy=policy) if utf8 else email.message_from_bytes(octets, policy=policy)
        # What is not ASCII in a local part is one to the package even where RFC 6532 allows it.
        allowed = email.errors.NonASCIILocalPartDefect if utf8 else ()
        self.assertEqual([defect for defect in defects(message) if not isinstance(defect, allowed)], [])
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual("message/" + message.get_param("report-type"), status_type)
        self.assertEqual(message["from"].addresses[0].addr_spec, "MAILER-DAEMON@gw.example.net")
        self.assertEqual(message["auto-submitted"], "auto-replied")
        self.assertEqual(message["date"].datetime.isoformat(), "2026-11-22T10:05:03+00:00")
        self.assertEqual(message["message-id"], "<0123ABD@gw.example.net>")
        self.assertEqual(len(message["to"].addresses), 1)
        parts = list(message.iter_parts())
        self.assertEqual([part.get_content_type() for part in parts[:2]], ["text/plain", status_type])
        self.assertEqual(len(parts), 3)
        self.to = message["to"].addresses[0].addr_spec
        return parts[0].get_content(), parts[1].get_payload(), parts[2]

    def check_two(self, blocks, action, statuses):
        self.assertEqual(len(blocks), 3)
        self.assertEqual(self.to, "anna@example.org")
        self.assertEqual(blocks[0]["reporting-mta"], "dns; gw.example.net")
        self.assertEqual(blocks[0]["original-envelope-id"], "Q+1")
        self.assertEqual(blocks[0]["arrival-date"], "Sun, 22 Nov 2026 09:05:03 +0000")
        self.assertEqual([block["action"] for block in blocks[1:]], [action] * 2)
        self.assertEqual([block["status"] for block in blocks[1:]], statuses)
        self.assertEqual([block["original-recipient"] for block in blocks[1:]], ["rfc822; bert+old@example.com", None])
        self.assertEqual([block["final-recipient"] for block in blocks[1:]], ["rfc822; bert@example.com", 'rfc822; "c. d"@[192.0.2.7]'])

    def test_failed(self):
        text, blocks, returned = self.read("failed")
        self.check_two(blocks, "failed", ["5.1.1", "4.2.2"])
        self.assertEqual(blocks[1]["diagnostic-code"], "smtp; 550 5.1.1 no such user nor was there ever")
        self.assertEqual(blocks[1]["remote-mta"], "dns; mx1.internal")
        self.assertIn("<bert@example.com>", text)
        self.assertIn("550 5.1.1 no such user", text)
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        header = email.message_from_string(returned.get_content(), policy=email.policy.SMTP)
        self.assertEqual(header["subject"], "hello")
        self.assertNotIn("body", returned.get_content())

    def test_returned_in_full(self):
        for name, body in (("failed-full", b"the body\r\n"), ("failed-full-8bit", b"the body\r\n\xe4\xf6\r\n")):
            _, blocks, returned = self.read(name)
            self.check_two(blocks, "failed", ["5.1.1", "4.2.2"])
            self.assertEqual(returned.get_content_type(), "message/rfc822")
            original = returned.get_content()
            self.assertEqual(original["message-id"], "<1@example.org>")
            self.assertEqual(original.get_payload(decode=True), body)

    def test_delayed(self):
        text, blocks, _ = self.read("delayed")
        self.check_two(blocks, "delayed", ["4.4.1"] * 2)
        self.assertEqual(blocks[1]["will-retry-until"], "Fri, 27 Nov 2026 09:05:03 +0000")
        self.assertEqual(blocks[1]["last-attempt-date"], "Sun, 22 Nov 2026 09:05:05 +0000")
        self.assertIsNone(blocks[1]["remote-mta"])
        self.assertIn("until Fri, 27 Nov 2026", text)

    def test_relayed(self):
        _, blocks, _ = self.read("relayed")
        self.check_two(blocks, "relayed", ["2.1.5"] * 2)

    def test_internationalized(self):
        for name, returned_type in (("utf8", "message/global-headers"), ("utf8-full", "message/global")):
            _, status, returned = self.read(name, "message/global-delivery-status", email.policy.SMTPUTF8)
            self.assertEqual(self.to, "änna@example.org")
            as_octets = email.message_from_bytes(self.octets[name], policy=email.policy.SMTP)
            self.assertIn("<bért@example.com>", next(as_octets.iter_parts()).get_content())
            # The package knows the older type only, and takes this one for a message: its fields, and behind them text.
            self.assertEqual(status[0]["reporting-mta"], "dns; gw.example.net")
            fields = email.message_from_string(status[0].get_payload(), policy=email.policy.SMTPUTF8)
            self.assertEqual(fields["original-recipient"], "utf-8; é+x@example.com")
            self.assertEqual(fields["final-recipient"], "utf-8; bért@example.com")
            self.assertEqual(fields["status"], "5.1.1")
            self.assertEqual(returned.get_content_type(), returned_type)
            self.assertEqual(returned.get_payload()[0]["subject"], "hällo")

    def test_hostile(self):
        text, blocks, returned = self.read("hostile")
        self.assertEqual(len(blocks), 3)
        for block in blocks[1:]:
            self.assertEqual((block["action"], block.get_all("status")), ("failed", ["5.1.1" if block is blocks[1] else "4.2.2"]))
        for block in blocks:
            self.assertNotIn("bcc", block)
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        self.assertTrue(all(" " <= c <= "~" for c in text.replace("\r\n", "")))


if __name__ == "__main__":
    unittest.main()
