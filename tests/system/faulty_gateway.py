#!/usr/bin/env python3
"""A small SMTP relay that spoils one message on purpose, so that the tests can see whether postern-bench notices. It takes mail
without any extension, puts a Received: line in front, and hands each message on before it answers.

usage: tests/system/faulty_gateway.py --to HOST:PORT [--fault KIND] [--nth N]
Prints "listening on HOST:PORT". KIND is one of:
  none       an honest relay
  lose       answers 250 and delivers nothing
  double     delivers twice
  cut        leaves the second half of the body out
  header     changes a header field
  byte       changes one octet of the body
  recipient  delivers to somebody else
  sender     changes the reverse-path
  refuse     delivers, and answers 554
  hang-up    delivers, and closes the connection without an answer
"""

import argparse
import itertools
import smtplib
import socketserver

KINDS = ["none", "lose", "double", "cut", "header", "byte", "recipient", "sender", "refuse", "hang-up"]


class Session(socketserver.StreamRequestHandler):
    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.reply("220 faulty.invalid ESMTP")
        sender, recipients = None, []
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb = line[:4].upper()
            path = line[line.find("<") + 1:line.find(">")]
            if verb in ("EHLO", "HELO"):
                self.reply("250 faulty.invalid")
            elif verb == "MAIL":
                sender, recipients = path, []
                self.reply("250 ok")
            elif verb == "RCPT":
                recipients.append(path)
                self.reply("250 ok")
            elif verb == "DATA":
                self.reply("354 go ahead")
                answer = self.server.relay(sender, recipients, self.read_content())
                if answer is None:
                    return
                self.reply(answer)
            elif verb == "QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("500 unknown")

    def read_content(self):
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


class Gateway(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, to, fault, nth):
        super().__init__(("127.0.0.1", 0), Session)
        self.to, self.fault, self.nth = to, fault, nth
        self.count = itertools.count(1)  # a single step of it is atomic

    def relay(self, sender, recipients, content):
        """Returns the answer to the content; None: hangs up."""
        fault = self.fault if next(self.count) == self.nth else "none"
        header, body = content.split(b"\r\n\r\n", 1)
        copies, answer = 1, "250 taken"
        if fault == "lose":
            copies = 0
        elif fault == "double":
            copies = 2
        elif fault == "cut":
            body = body[:len(body) // 2].rsplit(b"\r\n", 1)[0] + b"\r\n"
        elif fault == "header":
            header = header.replace(b"Subject: ", b"Subject: Re: ")
        elif fault == "byte":
            body = body[:100] + bytes([body[100] ^ 1]) + body[101:]
        elif fault == "recipient":
            recipients = ["somebody-else@example.com"]
        elif fault == "sender":
            sender = "somebody-else@example.com"
        elif fault == "refuse":
            answer = "554 refused, it says"
        elif fault == "hang-up":
            answer = None
        received = b"Received: from load by faulty.invalid\r\n\twith ESMTP; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        for _ in range(copies):
            with smtplib.SMTP(*self.to) as host:
                host.sendmail(sender, recipients, received + header + b"\r\n\r\n" + body)
        return answer


def main():
    arguments = argparse.ArgumentParser(description="an SMTP relay that spoils one message on purpose")
    arguments.add_argument("--to", required=True)
    arguments.add_argument("--fault", choices=KINDS, default="none")
    arguments.add_argument("--nth", type=int, default=5, help="which message")
    options = arguments.parse_args()
    host, port = options.to.rsplit(":", 1)
    with Gateway((host, int(port)), options.fault, options.nth) as gateway:
        print("listening on 127.0.0.1:%d" % gateway.server_address[1], flush=True)
        gateway.serve_forever()


if __name__ == "__main__":
    main()
