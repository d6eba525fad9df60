"""Postern in each delivery mode that it has. Its configuration is the default but for what is set here, beside the other systems'
files: two workers, and no limit to what one client's address may open."""

from harness import POSTERN, Gateway

from . import System, find, said


class PosternSync(System):
    name = "Postern sync"
    mode = "sync"
    thorough = True

    def start(self):
        gateway = self.place.add(Gateway(
            self.place,
            "\n".join(f"{domain} sink" for domain in self.domains),
            {"sink": f"127.0.0.1:{self.to}"},
            workers=2,
            delivery={"mode": self.mode},
            limits={"connections_per_client": 0},
            log={"output": str(self.folder / "log")},
        ))
        self.ports = [gateway.port]

    @staticmethod
    def version():
        return find(r"(\d[\w.~-]*)", said(POSTERN, "--version"))
