"""No heap allocation for a message on a worker's thread, once it has served a while, and no lock: counted by a preloaded library that
stands in front of malloc, operator new and the locks of pthreads (count_allocations.cc), all libraries included."""

import pathlib
import struct
import subprocess

from harness import BENCH, LOOPBACK, Process, SystemTest, free_port

HERE = pathlib.Path(__file__).parent


class Allocations(SystemTest):
    def setUp(self):
        super().setUp()
        self.library = self.place.folder / "count_allocations.so"
        subprocess.run(
            ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", HERE / "count_allocations.cc", "-o", self.library], check=True)
        self.counts = self.place.folder / "counts"
        self.counts.write_bytes(bytes(16))

    def count(self):
        """(allocations, locks) so far."""
        return struct.unpack("QQ", self.counts.read_bytes())

    def load(self, gateway, *options):
        run = subprocess.run(
            [BENCH, "load", f"{LOOPBACK}:{gateway.port}", "--recipient", "r%n.%i@here.test", "--timeout", "30 s", *options],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_none_for_a_message(self):
        hosts = []
        for _ in range(3):
            port = free_port()
            sink = self.place.add(Process([BENCH, "sink", f"{LOOPBACK}:{port}"], self.place.folder, f"sink{port}"))
            sink.wait_listening(port)
            hosts.append(f"{LOOPBACK}:{port}")
        gateway = self.gateway(
            "here.test sink", {"sink": hosts}, limits={"connections_per_client": 0},
            environment={"LD_PRELOAD": str(self.library), "POSTERN_COUNT_ALLOCATIONS": str(self.counts)})
        kinds = [
            ["-c", "20", "-m", "4000", "--per-connection", "1"],
            ["-c", "20", "-m", "4000", "--per-connection", "100"],
            ["-c", "20", "-m", "4000", "--per-connection", "100", "--bdat"],
            ["-c", "4", "-m", "100", "--size", "1048576"],
            ["-c", "4", "-m", "400", "--recipients", "50"],
        ]
        for kind in kinds:  # pools grow to what this load needs; more than will be needed later
            self.load(gateway, *kind[:1], str(2 * int(kind[1])), *kind[2:])
        self.assertGreater(min(self.count()), 0, "nothing was counted: the library does not see the workers")
        for kind in kinds:
            with self.subTest(kind=kind):
                before = self.count()
                self.load(gateway, *kind)
                self.assertEqual(self.count(), before)
