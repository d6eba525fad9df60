"""HAProxy in TCP mode: bytes from one connection to another; every domain goes to the one server it has."""

from harness import Process

from . import ALL, System, find, said


class HaProxy(System):
    name = "HAProxy, TCP"
    row = 20
    reads = "nothing"
    routes = "none"
    logs = "none"
    received = 0
    workloads = ALL
    buffer = 16 << 10  # as it has by default, two for a connection that moves

    def start(self):
        config = self.fill("haproxy.cfg", BUFFER=self.buffer)
        self.place.add(Process(["haproxy", "-db", "-f", config], self.folder, "haproxy")).wait_listening(self.port)

    @staticmethod
    def version():
        return find(r"version (\d[\d.]*)", said("haproxy", "-v"))


class HaProxyWithLargeBuffers(HaProxy):
    """Fewer and larger pieces: what W3 likes, for four times the memory of each connection that moves."""

    name = "HAProxy, TCP, 64 KiB buffers"
    row = 21
    workloads = ("W1", "W2", "W3")
    buffer = 64 << 10
