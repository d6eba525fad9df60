"""Nothing between the senders and the sink: what the load and the sink cost by themselves, and how fast they are."""

from . import System


class Direct(System):
    name = "no gateway"
    answers_when = durable = reads = routes = logs = "-"
    workloads = ("W1", "W2", "W3")
    received = 0

    def start(self):
        self.ports = [self.to]

    @staticmethod
    def version():
        return ""
