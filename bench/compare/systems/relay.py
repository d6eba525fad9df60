"""The least that takes a message whole and passes it on: what storing costs by itself, on the ring and with the buffers that
Postern has."""

from harness import BENCH, Process

from . import System


class Relay(System):
    name = "bare relay"
    row = 15
    reads = "verbs"
    routes = logs = "none"
    workloads = ("W3",)
    received = 0
    note = "a yardstick, nothing to run: by BDAT it leaves in the dots that DATA puts in front, which counts as damaged."

    def start(self):
        command = [BENCH, "relay", "--listen", self.address, "--to", f"127.0.0.1:{self.to}"]
        self.place.add(Process(command, self.folder, "relay")).wait_listening(self.port)

    @staticmethod
    def version():
        return "-"


class RelayByData(Relay):
    name = "bare relay, host without CHUNKING"
    row = 16
    sink = ("--no-chunking",)
    note = ""
