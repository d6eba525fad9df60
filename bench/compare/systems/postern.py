"""Postern in each delivery mode that it has, and before a smart host that offers less."""

from harness import POSTERN, Process

from . import ALL, System, find, said


class PosternSync(System):
    name = "Postern sync"
    row = 10
    mode = "sync"
    workloads = ALL

    def start(self):
        config = self.fill("postern.toml", MODE=self.mode)
        self.write_domains(self.folder / "domains.rules", "{} sink")
        self.place.add(Process([POSTERN, "run", "-c", config], self.folder, "postern")).wait_listening(self.port)

    @staticmethod
    def version():
        return find(r"(\d[\w.~-]*)", said(POSTERN, "--version"))


class PosternSyncByData(PosternSync):
    name = "Postern sync, host without CHUNKING"
    row = 11
    workloads = ("W1", "W2", "W3")
    sink = ("--no-chunking",)
