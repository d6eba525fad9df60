"""Other people's mail programs as the tests use them: servers that store what they get (aiosmtpd in this process; Postfix,
Exim and OpenSMTPD in folders of their own), HAProxy in TCP mode, and clients that send a message.

A server has `port`, `address`, `count()` of the messages it has, and `stored()`: recipient -> content with CRLF lines as it
came in, without the lines that the server itself put in front. The instance that may run on this machine is never touched:
nothing is read from or written to its folders; what has fixed paths or users compiled in (Exim, OpenSMTPD) gets a mount
namespace of its own.
"""

import os
import pathlib
import pwd
import re
import shlex
import smtplib
import subprocess
import sys
import tempfile

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from harness import LOOPBACK, ROOT, Process, free_port

PEERS = pathlib.Path(os.environ.get("POSTERN_PEERS", ROOT / ".cache/peers"))


# --- servers


class LongLinesSmtp(SMTP):
    line_length_limit = 1 << 20  # RFC 5321 asks for 1,000 at least; real mail has longer lines


class Aiosmtpd(Controller):
    """aiosmtpd, without PIPELINING and CHUNKING."""

    def __init__(self, tls=None):
        self.messages = []
        self.tls = tls  # an ssl.SSLContext: STARTTLS is offered
        super().__init__(self, hostname=LOOPBACK, port=free_port(), ready_timeout=20)
        self.address = f"{LOOPBACK}:{self.port}"
        self.start()

    def factory(self):
        options = {"data_size_limit": None, "enable_SMTPUTF8": True, "hostname": "aiosmtpd.test", "loop": self.loop}
        return LongLinesSmtp(self, tls_context=self.tls, **options)

    async def handle_DATA(self, server, session, envelope):
        self.messages.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 OK"

    def close(self):
        self.stop()

    def count(self):
        return len(self.messages)

    def stored(self):
        return {recipient: content for _, recipients, content in self.messages for recipient in recipients}


class Maildir:
    """What the other servers deliver into: one file a message, LF lines, the server's own lines in front."""

    own_lines = None  # what this server puts in front; its group is the recipient

    def __init__(self, folder):
        self.maildir = folder
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir()

    def count(self):
        return sum(1 for _ in os.scandir(self.maildir / "new"))

    def copies(self):
        """Of each message: the recipient, the server's own lines, the content. Without the server's own lines, of a server that
        was killed while it wrote them: no recipient, and all that is there."""
        for file in (self.maildir / "new").iterdir():
            text = file.read_bytes()
            own = self.own_lines.match(text)
            recipient, lines = (own[1].decode(), own[0]) if own else (None, b"")
            yield recipient, lines, text[len(lines) :].replace(b"\n", b"\r\n")

    def stored(self):
        messages = {}
        for recipient, _, content in self.copies():
            if recipient is None:
                raise AssertionError(f"{self.maildir}: not this server's own lines: {content[:500]!r}")
            messages[recipient] = content
        return messages


class Daemon:
    """A server that is a process: `start` starts it again, on the same port and with what it had on disk."""

    place, process, port = None, None, None

    def launch(self):
        """Gives the Process."""
        raise NotImplementedError

    def start(self):
        self.process = self.place.add(self.launch())
        self.process.wait_listening(self.port)


class AiosmtpdProgram(Daemon):
    """aiosmtpd as a process, so that it may be killed: its Mailbox handler writes a file before it answers. A message has been
    through Python's parser."""

    own_headers = re.compile(rb"(?m)^X-Peer: .*\nX-MailFrom: .*\nX-RcptTo: (.*)\n")

    def __init__(self, place):
        self.place, self.folder = place, place.subfolder("aiosmtpd")
        self.maildir = self.folder / "maildir"
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.start()

    def launch(self):
        handler = ["-c", "aiosmtpd.handlers.Mailbox", self.maildir]
        return Process(
            [sys.executable, "-m", "aiosmtpd", "--nosetuid", "--listen", self.address, *handler], self.folder, "aiosmtpd"
        )

    def count(self):
        return sum(1 for _ in os.scandir(self.maildir / "new"))

    def copies(self):
        for file in (self.maildir / "new").iterdir():
            text = file.read_bytes().replace(b"\r\n", b"\n")
            own = self.own_headers.search(text)
            content = (text[: own.start()] + text[own.end() :]).replace(b"\n", b"\r\n")
            for recipient in own[1].decode().split(", "):
                yield recipient, b"", content


class Postfix(Maildir, Daemon):
    """A Postfix of its own: smtpd on one port, every message into one maildir. Nothing about a message is changed."""

    own_lines = re.compile(
        rb"Return-Path: .*\nX-Original-To: .*\nDelivered-To: (.*)\n"
        rb"Received: from .*\n\tby postfix\.test \(Postfix\) .*\n(?:\t.*\n)*"
    )

    def __init__(self, place, **parameters):
        folder = place.subfolder("postfix")
        for name in ("conf", "queue", "data", "maildir"):
            (folder / name).mkdir()
        super().__init__(folder / "maildir")
        nobody = pwd.getpwnam("nobody")
        for path in (self.maildir, *self.maildir.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        main = {
            "compatibility_level": "3.6",
            "myhostname": "postfix.test",
            "mydestination": "",
            "inet_interfaces": LOOPBACK,
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "queue_directory": folder / "queue",
            "data_directory": folder / "data",
            "maillog_file": "/dev/stdout",
            "smtpd_peername_lookup": "no",
            "alias_maps": "",
            "local_recipient_maps": "",
            "virtual_mailbox_domains": "static:all",
            "virtual_mailbox_maps": "static:maildir/",
            "virtual_mailbox_base": folder,
            "virtual_uid_maps": f"static:{nobody.pw_uid}",
            "virtual_gid_maps": f"static:{nobody.pw_gid}",
            "virtual_mailbox_limit": 0,
            "mailbox_size_limit": 0,
            "message_size_limit": 100 << 20,
            "hopcount_limit": 1000,
            "smtpd_client_connection_count_limit": 0,
            "smtpd_recipient_limit": 10000,
            "virtual_destination_recipient_limit": 1,
            "in_flow_delay": 0,
            # As Debian's version stands against smuggling.
            "smtpd_forbid_bare_newline": "yes",
            # A message is stored as it came: no missing headers made up, none dropped, none cut, no MIME repaired.
            "local_header_rewrite_clients": "",
            "message_drop_headers": "",
            "header_size_limit": 1 << 20,
            "disable_mime_input_processing": "yes",
            "undisclosed_recipients_header": "",
            **parameters,
        }
        (folder / "conf/main.cf").write_text("".join(f"{key} = {value}\n" for key, value in main.items()))
        services = [
            ("cleanup", "unix", 0, "cleanup"),
            ("qmgr", "unix", 1, "qmgr"),
            ("rewrite", "unix", "-", "trivial-rewrite"),
            ("bounce", "unix", 0, "bounce"),
            ("defer", "unix", 0, "bounce"),
            ("trace", "unix", 0, "bounce"),
            ("error", "unix", "-", "error"),
            ("discard", "unix", "-", "discard"),
            ("virtual", "unix", "-", "virtual"),
            ("smtp", "unix", "-", "smtp"),
            ("tlsmgr", "unix", 1, "tlsmgr"),
            ("proxymap", "unix", "-", "proxymap"),
            ("anvil", "unix", 1, "anvil"),
            ("postlog", "unix-dgram", 1, "postlogd"),
        ]
        public = ("cleanup", "qmgr", "postlog")
        # Else what was in the queue at a start waits for the next message.
        wakeup = {"qmgr": 1}
        lines = [f"{LOOPBACK}:{self.port} inet n - n - 100 smtpd\n"]
        lines += [
            f"{name} {kind} {'n' if name in public else '-'} {'n' if name == 'virtual' else '-'} n {wakeup.get(name, '-')} {limit} "
            f"{program}\n"
            for name, kind, limit, program in services
        ]
        (folder / "conf/master.cf").write_text("".join(lines))
        self.place, self.folder = place, folder
        self.start()

    def launch(self):
        return launch_postfix(self.folder)


def launch_postfix(folder):
    """Gives the Process of the Postfix whose configuration is in `folder`/conf."""
    # The check makes the queue's folders.
    subprocess.run(["postfix", "-c", str(folder / "conf"), "check"], check=True, capture_output=True)
    daemons = subprocess.run(["postconf", "-h", "daemon_directory"], check=True, capture_output=True, text=True).stdout.strip()
    # `postfix start-fg` would leave its master behind: this one is our child.
    return Process([daemons + "/master", "-c", folder / "conf", "-s"], folder, "postfix")


class Mounted:
    """Starts a program under `unshare --mount` with the users it insists on and its fixed folders in our own."""

    @staticmethod
    def launch(folder, name, users, mounts, command):
        passwd, group = folder / "passwd", folder / "group"
        passwd.write_text(
            pathlib.Path("/etc/passwd").read_text()
            + "".join(f"{u}:x:{n}:{n}::/nonexistent:/bin/false\n" for u, n in users.items())
        )
        group.write_text(pathlib.Path("/etc/group").read_text() + "".join(f"{u}:x:{n}:\n" for u, n in users.items()))
        mounts = [(passwd, "/etc/passwd"), (group, "/etc/group"), *mounts]
        script = "set -e\n" + "".join(f"mount --bind {shlex.quote(str(a))} {shlex.quote(str(b))}\n" for a, b in mounts)
        script += "exec " + shlex.join(map(str, command)) + "\n"
        return Process(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], folder, name)


class OpenSmtpd(Maildir, Daemon):
    own_lines = re.compile(
        rb"Return-Path: .*\nDelivered-To: (.*)\nReceived: from .*\n\tby opensmtpd\.test \(OpenSMTPD\) .*\n(?:\t.*\n)*"
    )

    def __init__(self, place):
        folder = place.subfolder("opensmtpd")
        for name in ("run", "spool/smtpd", "lib/opensmtpd/empty", "maildir"):
            (folder / name).mkdir(parents=True)
        (folder / "spool/smtpd").chmod(0o711)
        super().__init__(folder / "maildir")
        nobody = pwd.getpwnam("nobody")
        for path in (self.maildir, *self.maildir.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        (folder / "smtpd.conf").write_text(
            f"""
table anyone {{ "@" = "nobody" }}
smtp max-message-size "100M"
listen on {LOOPBACK} port {self.port} hostname opensmtpd.test
action "store" maildir "{self.maildir}" virtual <anyone>
match from any for any action "store"
"""
        )
        (folder / "smtpd.conf").chmod(0o600)
        self.place, self.folder = place, folder
        self.start()

    def launch(self):
        return Mounted.launch(
            self.folder,
            "opensmtpd",
            {"opensmtpd": 64001, "opensmtpq": 64002},
            [
                (self.folder / "run", "/run"),
                (self.folder / "spool", "/var/spool"),
                (self.folder / "lib", "/var/lib"),
                (PEERS / "usr/libexec", "/usr/libexec"),
            ],
            [PEERS / "usr/sbin/smtpd", "-d", "-f", self.folder / "smtpd.conf"],
        )


class Exim(Maildir, Daemon):
    own_lines = re.compile(rb"Return-path: .*\nEnvelope-to: (.*)\nReceived: from .*\n\tby exim\.test .*\n(?:\t.*\n)*")

    users = {"Debian-exim": 64003}

    def __init__(self, place, *options, certificate=None):
        folder = place.subfolder("exim")
        for name in ("spool", "maildir", "lib"):
            (folder / name).mkdir()
        super().__init__(folder / "maildir")
        for path in (folder / "spool", self.maildir, *self.maildir.iterdir()):
            os.chown(path, 64003, 64003)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        tls = "tls_advertise_hosts ="  # by default it makes a certificate of its own
        if certificate:
            tls = "tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}".format(*certificate)
        # The file that Debian's Exim reads by default: with one named by -C it would give up its privileges.
        (folder / "lib/exim4").mkdir()
        (folder / "lib/exim4/config.autogenerated").write_text(
            f"""
{tls}
exim_path = {PEERS}/usr/sbin/exim4
primary_hostname = exim.test
local_interfaces = {LOOPBACK}.{self.port}
pid_file_path = {folder}/exim.pid
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
host_lookup =
rfc1413_hosts =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
message_size_limit = 100M
accept_8bitmime = true
smtp_accept_max = 200
smtp_accept_max_per_connection = 10000
smtp_accept_queue_per_connection = 0
recipients_max = 10000
received_headers_max = 1000
never_users =
return_path_remove = false
envelope_to_remove = false
delivery_date_remove = false
begin routers
all:
  driver = accept
  transport = store
begin transports
store:
  driver = appendfile
  directory = {self.maildir}
  maildir_format
  user = Debian-exim
  envelope_to_add
  return_path_add
  message_size_limit = 0
begin retry
* * F,1h,1m
"""
        )
        self.place, self.folder, self.options = place, folder, options
        self.start()

    def launch(self):
        command = [PEERS / "usr/sbin/exim4", "-bdf", *self.options]
        return Mounted.launch(self.folder, "exim", self.users, [(self.folder / "lib", "/var/lib")], command)


class HaProxy:
    """HAProxy in TCP mode in front of one server."""

    def __init__(self, place, server):
        folder = place.subfolder("haproxy")
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        (folder / "haproxy.cfg").write_text(
            f"""
defaults
    mode tcp
    timeout connect 10s
    timeout client 300s
    timeout server 300s
frontend in
    bind {self.address}
    default_backend out
backend out
    server one {server.address}
"""
        )
        self.process = place.add(Process(["haproxy", "-db", "-f", folder / "haproxy.cfg"], folder, "haproxy"))
        self.process.wait_listening(self.port)


# --- clients: send one file to one recipient, and return the content that the server must have got


def by_smtplib(server, recipient, file):
    content = file.read_bytes()
    with smtplib.SMTP(LOOPBACK, server.port, "smtplib.test", timeout=60) as client:
        client.sendmail("sender@client.test", [recipient], content, [] if content.isascii() else ["BODY=8BITMIME"])
    return content


class ClientFailed(RuntimeError):
    """`said`: what the program wrote, with the answer that it did not like."""

    def __init__(self, program, code, said):
        super().__init__(f"{program} ended with {code}: {said[-2000:]!r}")
        self.said = said.decode(errors="replace")


def run_client(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    if done.returncode:
        raise ClientFailed(command[0], done.returncode, done.stdout + done.stderr)


def by_curl(server, recipient, file):
    run_client(
        "curl",
        "-sS",
        f"smtp://{server.address}/curl.test",
        "--mail-from",
        "sender@client.test",
        "--mail-rcpt",
        recipient,
        "-T",
        str(file),
    )
    return file.read_bytes()


def by_swaks(server, recipient, file):
    content = file.read_bytes()
    with tempfile.NamedTemporaryFile() as prepared:
        # Without fix-up swaks sends the file as it stands and a CRLF: dots and the end of the data are ours to write.
        prepared.write(re.sub(rb"(?m)^\.", b"..", content) + b".")
        prepared.flush()
        run_client(
            "swaks",
            "--server",
            server.address,
            "--helo",
            "swaks.test",
            "--from",
            "sender@client.test",
            "--to",
            recipient,
            "--no-data-fixup",
            "--data",
            f"@{prepared.name}",
            "--silent",
            "2",
        )
    return content


def by_smtp_source(server, recipient, file):
    content = file.read_bytes()
    with tempfile.NamedTemporaryFile() as prepared:
        # smtp-source wants LF lines, ends the last where that is missing, and then sends an empty one in any case.
        prepared.write(content.replace(b"\r\n", b"\n").removesuffix(b"\n"))
        prepared.flush()
        run_client(
            "smtp-source",
            "-M",
            "smtp-source.test",
            "-f",
            "sender@client.test",
            "-t",
            recipient,
            "-F",
            prepared.name,
            server.address,
        )
    return content if content.endswith(b"\r\n\r\n") else content + b"\r\n"


CLIENTS = {"smtplib": by_smtplib, "curl": by_curl, "swaks": by_swaks, "smtp-source": by_smtp_source}
