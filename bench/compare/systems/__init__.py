"""The systems that are compared, one file each; its configuration stands beside it as it would in a folder of its own, with
@NAME@ where a port, a folder or a list of domains goes in.

A System is made for one run in a Place of its own, `start`ed inside its control group, and ends with the Place. Another one is
another file here: every class in it that has a name of its own is a row.
"""

import importlib
import pathlib
import pkgutil
import re
import subprocess

from harness import LOOPBACK, free_port

HERE = pathlib.Path(__file__).resolve().parent


USUAL = ("W1", "W2", "W3", "idle")
ALL = (*USUAL, "W4", "W5", "plain", "away")


class System:
    name = ""
    row = 0  # where it stands in the tables: the smallest first
    workloads = USUAL  # what it is measured under
    sink = ()  # options of the smart host behind it
    load = ()  # options of the load in front of it
    answers_when = "the smart host has it"  # what a 250 to the sender promises
    durable = "no copy of its own"  # what survives a loss of power once it has said 250
    reads = "SMTP"  # what it understands of what passes: nothing, or SMTP
    routes = "1,000 domains"
    logs = "a line a message"
    received = 1  # Received: lines that it puts in front
    stores = False  # answers before the smart host does: a run ends when the sink has all
    note = ""  # what who reads its figures should know

    def __init__(self, place, to, domains):
        """`to`: the port of the smart host on the loopback."""
        self.place, self.to, self.domains = place, to, domains
        self.port = free_port()
        self.ports = [self.port]  # where senders connect, in turn
        self.address = f"{LOOPBACK}:{self.port}"
        self.folder = place.subfolder(type(self).__name__.lower())

    def start(self):
        """Returns once it listens."""
        raise NotImplementedError

    @staticmethod
    def version():
        """As it says itself."""
        raise NotImplementedError

    def fill(self, template, file=None, **more):
        """Writes the template into our folder, or to `file`, with what belongs in it; returns where."""
        values = {"LOOPBACK": LOOPBACK, "ADDRESS": self.address, "PORT": self.port, "FOLDER": self.folder,
                  "SINK": f"{LOOPBACK}:{self.to}", "SINK_PORT": self.to, **more}
        file = file or self.folder / pathlib.Path(template).name
        text = (HERE / template).read_text()
        file.write_text(re.sub(r"@([A-Z_]+)@", lambda found: str(values[found[1]]), text))
        return file

    def write_domains(self, file, form="{}"):
        file.write_text("".join(form.format(domain) + "\n" for domain in self.domains))
        return file


def said(*command):
    """What a command prints, on either output."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


def find(pattern, text):
    found = re.search(pattern, text)
    return found[1] if found else "?"


def all_systems():
    """In the order of the tables."""
    for module in pkgutil.iter_modules([str(HERE)]):
        importlib.import_module(f"{__name__}.{module.name}")

    def below(cls):
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    return sorted((cls for cls in below(System) if "name" in vars(cls)), key=lambda cls: cls.row)
