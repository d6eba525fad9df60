"""Haraka with queue/smtp_forward: the sender gets the smart host's answer. It opens a connection to it for each message.
It asks for Node.js 20 and runs by Debian 12's 18 too, as far as it is used here."""

import json
import os
import pathlib

from harness import ROOT, Process

from . import HERE, System, said

PACKAGE = pathlib.Path(os.environ.get("POSTERN_HARAKA", ROOT / ".cache/haraka")) / "node_modules/Haraka"


class Haraka(System):
    name = "Haraka, smtp_forward"
    row = 40
    logs = "a line a connection"

    def start(self):
        config = self.folder / "config"
        config.mkdir()
        (self.folder / "queue").mkdir()
        for template in ("smtp.ini", "smtp_forward.ini", "plugins", "connection.ini"):
            self.fill(HERE / "haraka" / template, config / template)
        self.write_domains(config / "host_list")
        (config / "me").write_text("haraka.test\n")
        (config / "loglevel").write_text("notice\n")
        command = ["node", PACKAGE / "bin/haraka", "-c", self.folder]
        self.place.add(Process(command, self.folder, "haraka")).wait_listening(self.port)

    @staticmethod
    def version():
        version = json.loads((PACKAGE / "package.json").read_text())["version"]
        return f"{version} by Node.js {said('node', '--version').strip().lstrip('v')}"
