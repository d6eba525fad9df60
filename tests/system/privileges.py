"""What Postern gives up: a start as root becomes the user `postern` after it has bound its ports, and no thread that reads what
strangers send has a capability, however it was started. The kernel's own tables are the witness."""

import os
import pathlib
import shlex
import socket
import stat
import time
import unittest

from harness import BUILD, HOSTNAME, LOOPBACK, POSTERN, Process, Session, SystemTest, UnixConnection, ask, free_port, wait_for

NET_BIND_SERVICE, DAC_READ_SEARCH = 1 << 10, 1 << 2
USER, UID = "postern", 64010
LOW = "127.0.91.1"  # where low ports are nobody's


def low_port():
    for port in range(700, 1000):
        with socket.socket() as s:
            try:
                s.bind((LOW, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free low port")


class Started(Process):
    """`postern run` in a mount namespace in which the user exists, or does not."""

    def __init__(self, place, host, user=True, before=(), **tables):
        self.folder = place.subfolder("started")
        self.folder.chmod(0o700)  # root's own, as /etc/postern may be
        self.port, self.low = free_port(), low_port()
        (self.folder / "main.rules").write_text(f"a.test {host.address}\n")
        (self.folder / "main.rules").chmod(0o600)
        self.tables = {"admin": 'address = "unix:admin/admin.sock"', "log": 'output = "log/postern.log"', **tables}
        (self.folder / "log").mkdir()
        self.configure()
        users = {name: pathlib.Path(f"/etc/{name}").read_text() for name in ("passwd", "group")}
        lines = {"passwd": f"{USER}:x:{UID}:{UID}::/nonexistent:/bin/false\n", "group": f"{USER}:x:{UID}:\n"}
        script = "set -e\n"
        for name, text in users.items():
            others = "".join(line for line in text.splitlines(True) if not line.startswith(f"{USER}:"))
            file = place.subfolder("etc") / name
            file.write_text(others + (lines[name] if user else ""))
            file.chmod(0o644)
            script += f"mount --bind {file} /etc/{name}\n"
        command = [*before, POSTERN, "run", "-c", self.folder / "postern.toml"]
        script += "exec " + shlex.join(map(str, command)) + "\n"
        super().__init__(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], self.folder, "postern")
        wait_for(lambda: self.check_running() or '"event":"ready"' in self.log_text(), "it to be ready")
        # The main thread has what it needs no more until a moment later.
        time.sleep(0.2)

    def configure(self, more=""):
        text = f'hostname = "{HOSTNAME}"\nworkers = 2\n[[listener]]\naddress = "{LOOPBACK}:{self.port}"\n'
        text += f'[[listener]]\naddress = "{LOW}:{self.low}"\n{more}[rules]\nfiles = ["main.rules"]\n[spool]\npath = "spool"\n'
        text += "".join(f"[{name}]\n{keys}\n" for name, keys in self.tables.items())
        (self.folder / "postern.toml").write_text(text)
        (self.folder / "postern.toml").chmod(0o600)

    def log_text(self):
        file = self.folder / "log/postern.log"
        return self.said() + (file.read_text() if file.exists() else "")

    def threads(self):
        """name -> (user ids, capabilities, no new privileges), of all threads of that name."""
        found = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            sets = {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}
            capabilities = 0
            for each in sets:
                capabilities |= each
            name = status["Name"].split(" ")[0]
            found.setdefault(name, set()).add((status["Uid"].split()[0], capabilities, status["NoNewPrivs"]))
        return found

    def capable(self):
        return {name: {c for _, c, _ in told if c} for name, told in self.threads().items() if any(c for _, c, _ in told)}

    def reload(self):
        return ask(UnixConnection(self.folder / "admin/admin.sock"), "/reload", "POST")


@unittest.skipUnless(os.geteuid() == 0, "starts as root")
class AsRoot(SystemTest):
    def start(self, **options):
        self.a = self.host()
        return self.place.add(Started(self.place, self.a, **options))

    def mail(self, gateway):
        return self.place.add(Session(gateway.port)).mail("x@a.test").code

    def test_becomes_the_user(self):
        gateway = self.start()
        told = gateway.threads()
        self.assertLessEqual({"postern", "worker", "rules", "admin"}, told.keys())
        self.assertEqual({uid for each in told.values() for uid, _, _ in each}, {str(UID)})
        self.assertEqual({no_new for each in told.values() for _, _, no_new in each}, {"1"})
        self.assertEqual(gateway.capable(), {"rules": {NET_BIND_SERVICE | DAC_READ_SEARCH}, "postern": {DAC_READ_SEARCH}})
        groups = pathlib.Path(f"/proc/{gateway.pid}/status").read_text().split("Groups:\t")[1].split("\n")[0]
        self.assertEqual(groups.split(), [str(UID)])
        if "asan" not in BUILD.name:  # neither dumped nor read by others of its user: such a process is root's in /proc
            self.assertEqual(os.stat(f"/proc/{gateway.pid}/mem").st_uid, 0)
        self.assertIn("runs as the user postern", gateway.log_text())
        self.assertEqual(self.mail(gateway), 250)

    def test_a_reload_reads_what_root_reads_and_binds_low_ports(self):
        gateway = self.start()
        more = low_port()
        gateway.configure(f'[[listener]]\naddress = "{LOW}:{more}"\n')
        (gateway.folder / "main.rules").write_text(f"a.test {self.a.address}\nb.test {self.a.address}\n")
        answer = gateway.reload()
        self.assertEqual(answer.status, 200, answer.text)
        with socket.create_connection((LOW, more), timeout=10) as s:
            self.assertTrue(s.recv(100).startswith(b"220 "))
        self.assertEqual(self.place.add(Session(gateway.port)).mail("x@b.test").code, 250)
        self.assertEqual(gateway.capable(), {"rules": {NET_BIND_SERVICE | DAC_READ_SEARCH}, "postern": {DAC_READ_SEARCH}})

    def test_its_files_are_the_users(self):
        gateway = self.start()
        socket_file, log = gateway.folder / "admin/admin.sock", gateway.folder / "log/postern.log"
        for file in (socket_file, log):
            self.assertEqual((file.stat().st_uid, file.stat().st_gid), (UID, UID), file)
        self.assertEqual(stat.S_IMODE(socket_file.stat().st_mode), 0o660)
        # What logrotate has made new, for the user.
        log.rename(log.with_suffix(".1"))
        log.touch(0o640)
        os.chown(log, UID, UID)
        gateway.signal(1)
        wait_for(lambda: '"event":"reloaded"' in log.read_text(), "a line in the new file")

    def test_without_the_user(self):
        gateway = self.start(user=False)
        self.assertIn("there is no user postern", gateway.log_text())
        told = gateway.threads()
        self.assertEqual({uid for each in told.values() for uid, _, _ in each}, {"0"})
        # Those that speak with the network have nothing all the same.
        self.assertEqual(gateway.capable().keys(), {"postern", "rules"})
        self.assertEqual(self.mail(gateway), 250)

    def test_where_it_may_not(self):
        """A container's root, without the capabilities to become somebody else."""
        allowed = "-all,+net_bind_service"
        gateway = self.start(before=["setpriv", "--bounding-set", allowed, "--inh-caps", allowed])
        self.assertIn("it may not become the user", gateway.log_text())
        self.assertEqual(self.mail(gateway), 250)
        self.assertEqual(gateway.reload().status, 200)

    def test_started_as_the_user(self):
        """As the unit does."""
        self.a = self.host()
        ambient = "-all,+net_bind_service"
        before = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps", ambient, "--ambient-caps",
                  ambient, "--bounding-set", ambient]
        before = ["sh", "-c", f'chown -R {UID}:{UID} "$0" && exec "$@"', ".", *before]
        gateway = self.place.add(Started(self.place, self.a, before=before))
        self.assertEqual({uid for each in gateway.threads().values() for uid, _, _ in each}, {str(UID)})
        self.assertEqual(gateway.capable(), {"rules": {NET_BIND_SERVICE}})
        self.assertEqual(self.mail(gateway), 250)
        self.assertEqual(gateway.reload().status, 200)
