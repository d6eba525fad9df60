"""OpenSMTPD as a relay. It is unpacked, not installed, and finds users and folders where it has them compiled in only in a mount
namespace of its own."""

from harness import LOOPBACK, free_port
from peers import PEERS, Mounted

from . import System, find, said

PORTS = 25


class OpenSmtpd(System):
    name = "OpenSMTPD"
    row = 70
    answers_when = "it is in the queue"
    durable = "queue on disk, flushed"
    logs = "several lines a message"
    stores = True
    note = (
        "it considers new connections to a smart host every ten seconds only, and until then what it took waits behind one: its "
        f"messages a second say that, not what it could do. It listens on {PORTS} ports, for on one it lets five senders wait."
    )

    def start(self):
        # It lets five connections wait to be accepted, and nothing sets that. Past it the kernel answers with SYN cookies, and
        # then drops what completes: a sender that waits for the greeting waits for ever. Many ports have many such queues.
        self.ports = [self.port] + [free_port() for _ in range(PORTS - 1)]
        for name in ("run", "spool/smtpd", "lib/opensmtpd/empty"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "spool/smtpd").chmod(0o711)
        self.write_domains(self.folder / "domains")
        listen = "\n".join(f"listen on {LOOPBACK} port {port} hostname opensmtpd.test" for port in self.ports)
        config = self.fill("opensmtpd.conf", LISTEN=listen)
        config.chmod(0o600)
        # It would ask the DNS for each sender's name, and keep the sender waiting.
        (self.folder / "resolv.conf").write_text("lookup file\n")
        daemon = Mounted.launch(
            self.folder,
            "opensmtpd",
            {"opensmtpd": 64001, "opensmtpq": 64002},
            [
                (self.folder / "resolv.conf", "/etc/resolv.conf"),
                (self.folder / "run", "/run"),
                (self.folder / "spool", "/var/spool"),
                (self.folder / "lib", "/var/lib"),
                (PEERS / "usr/libexec", "/usr/libexec"),
            ],
            [PEERS / "usr/sbin/smtpd", "-d", "-f", config],
        )
        self.place.add(daemon).wait_listening(self.port)

    @staticmethod
    def version():
        return find(r"OpenSMTPD (\S+)", said(PEERS / "usr/sbin/smtpd", "-h"))
