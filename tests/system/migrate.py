"""`postern check --from-postfix`: the printed rules say of every address what Postfix itself says of it. Postfix's own
trivial-rewrite, with the table as its transport_maps, is the judge."""

import json
import random
import socket
import subprocess

from harness import POSTERN, SystemTest, free_port
from peers import Postfix

CLASS_RELAY = 1 << 11  # of trivial-rewrite's answer: the domain is in relay_domains

TRANSPORT = """# a table with everything in it
Example.com      smtp:[10.0.0.1]:2525
.example.com     relay:[10.0.0.2]
deep.www.example.com
    # a comment within
    smtp:[10.0.0.3]

anna@example.com :[10.0.0.4]
anna+list@example.com :[10.0.0.5]
anna@other.test  smtp:[10.0.0.6]
other.test       error:5.1.2 "moved" to \\\\ nowhere
.later.test      retry:4.3.0 come back
v6.test          smtp:[2001:db8::1]:26
tagged.test      smtp:[ipv6:2001:db8::2]
[192.0.2.7]      smtp:[10.0.0.7]
single           smtp:[10.0.0.8]
"""
ADDRESSES = [
    *("x@example.com", "X@EXAMPLE.COM", "x@www.example.com", "x@deep.www.example.com", "x@a.deep.www.example.com", "x@notexample.com"),
    *("anna@example.com", "Anna@Example.com", "anna+list@example.com", "anna+else@example.com", "anna@www.example.com", "ann@example.com"),
    *("anna@other.test", "x@other.test", "x@www.other.test", "x@later.test", "x@a.later.test", "x@a.b.later.test"),
    *("x@v6.test", "x@a.v6.test", "x@tagged.test", "x@[192.0.2.7]", "x@[192.0.2.8]", "x@single", "x@nowhere.test", "x@test"),
]


class Rewrite:
    """Postfix's answer for an address, from its resolver's socket."""

    def __init__(self, place, transport, relay_domains):
        folder = place.subfolder("tables")
        (folder / "transport").write_text(transport)
        (folder / "relay").write_text(relay_domains)
        self.server = Postfix(
            place,
            virtual_mailbox_domains="",
            transport_maps=f"texthash:{folder}/transport",
            relay_domains=f"texthash:{folder}/relay",
            recipient_delimiter="+",
        )
        self.folder = folder
        self.socket_path = f"{self.server.maildir.parent}/queue/private/rewrite"

    def resolve(self, address):
        """(transport, nexthop, whether it is in relay_domains)"""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.socket_path)
            file = s.makefile("rwb")
            self.attributes(file)  # the protocol's name
            request = [b"request", b"resolve", b"sender", b"", b"address", address.encode()]
            file.write(b"\0".join(request) + b"\0\0")
            file.flush()
            answer = self.attributes(file)
        return answer["transport"], answer["nexthop"], bool(answer["class"] & CLASS_RELAY)

    @staticmethod
    def attributes(file):
        """Names and values, each ended by a NUL; an empty name ends them. `flags` comes twice: the second is the class."""

        def text():
            octets = b""
            while (octet := file.read(1)) != b"\0":
                if not octet:
                    raise EOFError("trivial-rewrite closed the connection")
                octets += octet
            return octets.decode()

        found = {}
        while name := text():
            value = text()
            if name == "flags":
                found["class"] = int(value)
            found[name] = value
        return found


class FromPostfix(SystemTest):
    def translate(self, folder, *names, code=0):
        done = subprocess.run(
            [POSTERN, "check", "--from-postfix", *names], cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
        self.assertEqual(done.returncode, code, done)
        return done

    def postern(self, folder, rules, command, *arguments):
        """A command over a configuration with these rules."""
        (folder / "main.rules").write_text(rules)
        (folder / "postern.toml").write_text(
            f'hostname = "gw.test"\n[[listener]]\naddress = "127.0.0.1:{free_port()}"\n[rules]\nfiles = ["main.rules"]\n'
        )
        done = subprocess.run(
            [POSTERN, command, "-c", "postern.toml", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def compare(self, transport, relay_domains, addresses):
        rewrite = Rewrite(self.place, transport, relay_domains)
        rules = self.translate(rewrite.folder, "transport", "relay").stdout
        self.postern(rewrite.folder, rules, "check")
        routes = json.loads(self.postern(rewrite.folder, rules, "route", "--json", *addresses))
        matched = 0
        for address, route in zip(addresses, routes, strict=True):
            domain = address.rsplit("@", 1)[1]
            transport, nexthop, relayed = rewrite.resolve(address)
            with self.subTest(address=address, postfix=(transport, nexthop, relayed), postern=route):
                if nexthop.lower() == domain.lower() and transport in ("smtp", "relay"):  # no entry
                    self.assertIsNone(route["rule"])
                    continue
                matched += 1
                target = route["target"]
                if transport in ("error", "retry"):
                    status, _, text = nexthop.partition(" ")
                    self.assertEqual((target["kind"], target["text"]), ("defer" if status[0] == "4" else "reject", text))
                else:
                    host, _, port = nexthop[1:].partition("]")
                    host = host.removeprefix("ipv6:")
                    host = f"[{host}]" if ":" in host else host
                    self.assertEqual((target["kind"], target["text"]), ("address", f"{host}:{port[1:] or 25}"))
                    self.assertTrue(route["to_trusted"]["accepted"])
                    self.assertEqual(route["to_anyone"]["accepted"], relayed)
        return matched

    def test_a_table_with_everything_in_it(self):
        relay = "www.example.com OK\nexample.com OK\n"
        self.assertGreater(self.compare(TRANSPORT, relay, ADDRESSES), 15)

    def test_random_tables(self):
        """Names over few labels, so that they meet; half of the tables with '*'."""
        for seed in range(4):
            with self.subTest(seed=seed):
                chance = random.Random(seed)

                def name():
                    return ".".join(chance.choice("abc") for _ in range(chance.randint(1, 3))) + ".test"

                keys = {chance.choice(["", ".", "u@", "u+x@"]) + name() for _ in range(25)}
                keys |= {"*"} if seed % 2 else set()
                transport = "".join(f"{key}\tsmtp:[10.0.0.{number}]\n" for number, key in enumerate(sorted(keys), 1))
                # Where nothing covers a name's subdomains, Postfix asks MX records: those are an error of their own.
                relay = "".join(f"{name} OK\n" for name in sorted({name() for _ in range(8)})) if seed % 2 else "none.example OK\n"
                if not seed % 2:
                    transport += "none.example smtp:[10.0.0.99]\n.none.example smtp:[10.0.0.99]\n"
                addresses = sorted({chance.choice(["u@", "u+x@", "u+y@", "v@"]) + chance.choice(["", "d."]) + name() for _ in range(150)})
                self.assertGreater(self.compare(transport, relay, addresses), 20)

    def test_what_has_no_equal(self):
        folder = self.place.subfolder("tables")
        (folder / "transport").write_text("a.test smtp:[10.0.0.1]\nb.test local:\n* discard:\n/x/ smtp:[10.0.0.2]\n")
        done = self.translate(folder, "transport", code=1)
        self.assertEqual([line for line in done.stdout.splitlines() if not line.startswith("# ")], ["#a.test 10.0.0.1"])
        errors = done.stderr.splitlines()
        self.assertEqual([line.split(" ")[0] for line in errors], ["transport:2:", "transport:3:", "transport:4:"])
        self.assertIn("cannot be read", self.translate(folder, "nowhere", code=1).stderr)
