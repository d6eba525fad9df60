"""Postfix: every message on stable storage before the sender is answered, then relayed by the transport map."""

import os
import pwd
import subprocess

from harness import LOOPBACK
from peers import launch_postfix

from . import ALL, System, said


class Postfix(System):
    name = "Postfix"
    row = 50
    answers_when = "it is in the queue"
    durable = "queue on disk, flushed"
    logs = "several lines a message"
    stores = True
    workloads = ALL

    def configure(self):
        for name in ("conf", "queue", "data"):
            (self.folder / name).mkdir()
        os.chown(self.folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        self.fill("postfix.main.cf", self.folder / "conf/main.cf")
        self.fill("postfix.master.cf", self.folder / "conf/master.cf")
        for name, target in (("domains", "ok"), ("transport", f"relay:[{LOOPBACK}]:{self.to}")):
            self.write_domains(self.folder / name, "{} " + target)
            command = ["postmap", "-c", self.folder / "conf", f"hash:{self.folder / name}"]
            subprocess.run(command, check=True, capture_output=True)

    def start(self):
        self.configure()
        self.place.add(launch_postfix(self.folder)).wait_listening(self.port)

    @staticmethod
    def version():
        return said("postconf", "-h", "mail_version").strip()
