"""Name servers for the system tests: unbound in front of nsd as an operator has them, and one that answers whatever a test wants."""

import functools
import itertools
import signal
import socket
import struct
import threading

from harness import LOOPBACK, Process, free_port

NSD = "/usr/sbin/nsd"
UNBOUND = "/usr/sbin/unbound"


class Nsd(Process):
    """The authority for one zone, from a file."""

    count = itertools.count()

    def __init__(self, place, zone, *records):
        self.zone = zone
        self.folder = place.subfolder("nsd")
        self.serial = 0
        self.port = free_port()
        self.write(*records)
        self.start()

    def start(self):
        config = self.folder / "nsd.conf"
        config.write_text(f"""
server:
  ip-address: {LOOPBACK}@{self.port}
  username: ""
  zonesdir: "{self.folder}"
  database: ""
  pidfile: "{self.folder}/nsd.pid"
  xfrdfile: "{self.folder}/xfrd.state"
  xfrdir: "{self.folder}"
  zonelistfile: "{self.folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: {self.zone}
  zonefile: zone
""")
        super().__init__([NSD, "-d", "-c", config], self.folder, f"nsd{next(self.count)}")
        self.wait_listening(self.port)

    def write(self, *records):
        self.serial += 1
        lines = [f"$ORIGIN {self.zone}.", f"@ 1 SOA ns root {self.serial} 3600 3600 3600 1", "@ 1 NS ns", "ns 1 A 127.0.0.1", *records]
        (self.folder / "zone").write_text("\n".join(lines) + "\n")

    def change(self, *records):
        self.write(*records)
        self.signal(signal.SIGHUP)


class Unbound(Process):
    """A caching resolver that asks the given authorities, and nobody else."""

    count = itertools.count()

    def __init__(self, place, *authorities):
        self.folder = place.subfolder("unbound")
        self.port = free_port()
        self.authorities = authorities
        self.start()

    def start(self):
        config = self.folder / "unbound.conf"
        zones = "".join(
            f'  local-zone: "{a.zone}." transparent\nstub-zone:\n  name: "{a.zone}"\n  stub-addr: {LOOPBACK}@{a.port}\nserver:\n'
            for a in self.authorities)
        config.write_text(f"""
server:
  interface: {LOOPBACK}
  port: {self.port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-daemonize: no
  do-not-query-localhost: no
  chroot: ""
  username: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  infra-host-ttl: 1
  infra-keep-probing: yes
  local-zone: "." static
{zones}
remote-control:
  control-enable: no
""")
        super().__init__([UNBOUND, "-d", "-c", config], self.folder, f"unbound{next(self.count)}")
        self.wait_listening(self.port)


def labels(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


A, NS, CNAME, MX, AAAA = 1, 2, 5, 15, 28


def record(owner, type_, data, ttl=1):
    return labels(owner) + struct.pack(">HHIH", type_, 1, ttl, len(data)) + data


class Query:
    """What came, and answers to it. `send(octets)` sends one."""

    def __init__(self, message, tcp, send):
        self.message, self.tcp, self.send = message, tcp, send
        names, at = [], 12
        while message[at]:
            names.append(message[at + 1:at + 1 + message[at]].decode())
            at += 1 + message[at]
        self.name = ".".join(names)
        self.type = struct.unpack(">H", message[at + 1:at + 3])[0]
        self.question = message[12:at + 5]

    def answer(self, *records, rcode=0, flags=0x8180, identity=None, question=None, authority=()):
        header = struct.pack(">HHHHHH", self.identity if identity is None else identity, flags | rcode, 1, len(records), len(authority), 0)
        return header + (question or self.question) + b"".join(records) + b"".join(authority)

    @property
    def identity(self):
        return struct.unpack(">H", self.message[:2])[0]


class FakeDns:
    """Answers over UDP and TCP what `respond(query)` says: octets, a list of them, or None: nothing now (by TCP: never, it closes)."""

    def __init__(self, respond, ip=LOOPBACK, port=None):
        self.respond = respond
        self.asked = []
        self.ip = ip
        self.port = port or free_port()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.ip, self.port))
        self.tcp = socket.create_server((self.ip, self.port))
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def take(self, message, tcp, send):
        """True: it was answered."""
        query = Query(message, tcp, send)
        self.asked.append(query)
        answers = self.respond(query)
        for answer in answers if isinstance(answers, list) else [answers] if answers is not None else []:
            send(answer)
        return answers is not None

    def serve_udp(self):
        while True:
            message, sender = self.udp.recvfrom(4096)
            if not message:
                return
            self.take(message, False, functools.partial(lambda to, octets: self.udp.sendto(octets, to), sender))

    def serve_tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            with connection:
                connection.settimeout(5)
                try:
                    while size := connection.recv(2, socket.MSG_WAITALL):
                        message = connection.recv(struct.unpack(">H", size)[0], socket.MSG_WAITALL)
                        if not message:
                            return
                        if not self.take(message, True, lambda octets: connection.sendall(struct.pack(">H", len(octets)) + octets)):
                            break
                except OSError:
                    pass  # the other side's end

    def close(self):
        """Each thread is ended by an empty message."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", (self.ip, self.port))
        with socket.create_connection((self.ip, self.port)) as s:
            s.sendall(b"\0\0")
            for thread in self.threads:
                thread.join(10)
        self.udp.close()
        self.tcp.close()
