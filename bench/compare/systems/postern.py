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


class PosternHybrid(PosternSync):
    name = "Postern hybrid"
    row = 12
    mode = "hybrid"
    workloads = ("W1", "W2", "W3")
    answers_when = "the smart host has it, or it is on stable storage"
    durable = "what the smart host did not take in time: queue on disk, flushed"


class PosternQueue(PosternSync):
    name = "Postern queue"
    row = 13
    mode = "queue"
    workloads = ("W1", "W2", "W3")
    answers_when = "it is in the queue"
    durable = "queue on disk, flushed"
    stores = True
