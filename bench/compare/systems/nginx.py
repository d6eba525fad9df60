"""nginx as a stream proxy: the same as HAProxy in TCP mode, by processes."""

import pathlib

from harness import Process

from . import System, find, said


class Nginx(System):
    name = "nginx, stream"
    row = 30
    reads = "nothing"
    routes = "none"
    logs = "none"
    received = 0

    def start(self):
        modules = pathlib.Path("/usr/lib/nginx/modules")
        config = self.fill("nginx.conf", MODULES=modules)
        command = ["nginx", "-c", config, "-p", self.folder, "-e", self.folder / "error.log"]
        self.place.add(Process(command, self.folder, "nginx")).wait_listening(self.port)

    @staticmethod
    def version():
        return find(r"nginx/(\d[\d.]*)", said("nginx", "-v"))
