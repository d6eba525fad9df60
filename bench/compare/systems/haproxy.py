"""HAProxy in TCP mode: bytes from one connection to another; every domain goes to the one server it has."""

from harness import Process

from . import System, find, said


class HaProxy(System):
    name = "HAProxy, TCP"
    reads = "nothing"
    routes = "none"
    logs = "none"
    received = 0
    thorough = True

    def start(self):
        config = self.fill("haproxy.cfg")
        self.place.add(Process(["haproxy", "-db", "-f", config], self.folder, "haproxy")).wait_listening(self.port)

    @staticmethod
    def version():
        return find(r"version (\d[\d.]*)", said("haproxy", "-v"))
