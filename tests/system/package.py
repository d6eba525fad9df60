"""What an operator installs: the Debian package's life from installation to purge, the unit file, the seccomp profile and the
Dockerfile.

The package is installed into an overlay of this machine's own root folder, in namespaces of its own, which ends with the test; with
$POSTERN_ROOT into an overlay of that folder instead (tests/package.sh: a fresh Debian). No systemd and no Docker engine runs in
either: what they would do is done by hand as the unit file says (the user, the capabilities, the system calls), the maintainer scripts
are run without systemd and with a program in its place that writes down how it was called, and of the Dockerfile it is checked that
what it names exists; that an image comes out of it is not.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

from harness import BUILD, HOSTNAME, POSTERN, ROOT, FakeHost, Process, Session, SystemTest, free_port, wait_for

DEPLOY = ROOT / "deploy"
BASE = pathlib.Path(os.environ.get("POSTERN_ROOT", "/"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIG = """[[listener]]
address = "127.0.0.1:25"
[rules]
files = ["rules.d/*.rules"]
"""


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


seccomp = load_module(DEPLOY / "seccomp.py")


def unit_settings():
    """Key -> values, in order."""
    settings = {}
    for line in (DEPLOY / "postern.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


class Debian(Process):
    """A root folder to install into, with a network of its own (loopback only)."""

    def __init__(self, place):
        work = place.subfolder("root")
        self.root = work / "root"
        script = f"""set -e
            mount -t tmpfs tmpfs {work}
            mkdir {work}/upper {work}/work {work}/root
            mount -t overlay overlay -o lowerdir={BASE},upperdir={work}/upper,workdir={work}/work {work}/root
            mount -t proc proc {work}/root/proc
            mount --rbind /dev {work}/root/dev
            mount -t tmpfs tmpfs {work}/root/run
            mount -t tmpfs tmpfs {work}/root/tmp
            ip link set lo up
            echo ready
            exec sleep infinity"""
        super().__init__(["unshare", "--mount", "--propagation", "private", "--net", "sh", "-c", script], place.folder, "debian")

        def ready():
            self.check_running()
            return "ready" in self.said()

        wait_for(ready, "the overlay")
        shutil.rmtree(self.path("/etc/postern"), ignore_errors=True)  # of a package that this machine has
        self.path("/var/lib/man-db/auto-update").unlink(missing_ok=True)  # no index of all manuals after each step

    def path(self, path):
        """Of a file in there, from here."""
        return pathlib.Path(f"/proc/{self.pid}/root{self.root}{path}")

    def command(self, *arguments):
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--net=/proc/{self.pid}/ns/net", "chroot", self.root, *arguments]

    def run(self, *arguments, check=True):
        done = subprocess.run(
            list(map(str, self.command(*arguments))),
            env={"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def install(self, deb):
        shutil.copy(deb, self.path("/tmp/postern.deb"))
        return self.run("dpkg", "--force-unsafe-io", "-i", "/tmp/postern.deb")

    @contextlib.contextmanager
    def network(self):
        """Sockets made in this block are of the network in there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{self.pid}/ns/net") as theirs:
            if libc.setns(theirs.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(ours.fileno(), 0)


class Package(SystemTest):
    @classmethod
    def setUpClass(cls):
        folder = ROOT / ".cache/deb"
        environment = {**os.environ, "POSTERN_BUILD": str(BUILD)}
        cls.debs = {}
        for version in ("0.1.0~test1", "0.1.0~test2"):
            done = subprocess.run(
                [DEPLOY / "build-deb.sh", folder, version], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise AssertionError(f"build-deb.sh failed:\n{done.stderr}")
            cls.debs[version[-1]] = pathlib.Path(done.stdout.splitlines()[-1])

    def setUp(self):
        super().setUp()
        self.debian = self.place.add(Debian(self.place))

    def serve(self):
        """`ExecStart`, as the unit's user and with its capabilities only."""
        settings = unit_settings()
        capabilities = "-all,+" + settings["AmbientCapabilities"][0].lower().removeprefix("cap_")
        self.debian.run("install", "-d", "-o", "postern", "-g", "postern", "-m", settings["RuntimeDirectoryMode"][0], "/run/postern")
        command = self.debian.command(
            *("setpriv", "--reuid", settings["User"][0], "--regid", settings["Group"][0], "--init-groups", "--no-new-privs"),
            *("--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities),
            *settings["ExecStart"][0].split(),
        )
        # What a service manager of the kind `Type` says listens on.
        self.assertEqual(settings["Type"], ["notify"])
        path = self.debian.path("/tmp/notify")
        path.unlink(missing_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.settimeout(1)
        self.manager.bind(str(path))
        path.chmod(0o777)
        gateway = self.place.add(Process(command, self.place.folder, "postern", {"NOTIFY_SOCKET": "/tmp/notify"}))
        self.assertEqual(self.told(gateway), b"READY=1")
        return gateway

    def told(self, gateway, seconds=60):
        """What the gateway says to its manager next; where it says nothing, what it said to others and what its threads do."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            gateway.check_running()
            with contextlib.suppress(TimeoutError):
                return self.manager.recv(4096)
        tasks = pathlib.Path(f"/proc/{gateway.pid}/task").iterdir()
        threads = [(task / "comm").read_text() + (task / "stack").read_text() for task in tasks]
        raise AssertionError(f"nothing was said to the manager for {seconds} s:\n{gateway.said()[-4000:]}\n{''.join(threads)}")

    def reload(self, gateway):
        """`ExecReload`; comes back when it is done."""
        command = self.debian.command(*shlex.split(unit_settings()["ExecReload"][0].replace("${MAINPID}", str(gateway.pid))))
        subprocess.run(list(map(str, command)), check=True, timeout=30)
        self.assertIn(b"RELOADING=1", self.told(gateway))
        self.assertEqual(self.told(gateway), b"READY=1")

    def mail(self, recipient):
        with self.debian.network():
            session = Session(25)
        with contextlib.closing(session):
            return session.mail(recipient)

    def test_a_life(self):
        debian, (old, new) = self.debian, self.debs.values()
        debian.install(old)
        self.assertIn("0.1.0~test1", debian.run("dpkg-query", "-W", "postern").stdout)
        for program in ("postern", "postern-bench"):
            debian.run(program, "--help")
            self.assertTrue(debian.path(f"/usr/share/man/man1/{program}.1.gz").exists())
        self.assertIn("no errors", debian.run("postern", "check").stdout)
        self.assertIn("postern postern 700", debian.run("stat", "-c", "%U %G %a", "/var/spool/postern").stdout)
        self.assertIn("root postern 750", debian.run("stat", "-c", "%U %G %a", "/etc/postern").stdout)

        # As installed it serves, as the user that the package made, and says what is missing.
        gateway = self.serve()
        self.assertEqual(debian.run("id", "-u", "postern").stdout.strip(), str(os.stat(f"/proc/{gateway.pid}").st_uid))
        self.assertEqual(str(self.mail("anna@example.com")), "450 4.1.2 this gateway has no rules yet")
        self.assertEqual(gateway.close(), 0)

        # The administrator's own.
        with debian.network():
            host = self.place.add(FakeHost())
        debian.path("/etc/postern/postern.toml").write_text(CONFIG)
        debian.path("/etc/postern/rules.d/main.rules").write_text(f"example.com {host.address}\n")
        debian.path("/etc/postern/rules.d/more.rules").write_text("example.net reject\n")
        gateway = self.serve()
        self.assertEqual(self.mail("anna@example.com").code, 250)
        self.assertEqual(self.mail("anna@example.org").code, 550)
        debian.path("/etc/postern/rules.d/more.rules").write_text(f"example.net reject\nexample.org {host.address}\n")
        self.reload(gateway)
        self.assertEqual(self.mail("anna@example.org").code, 250)
        debian.path("/etc/postern/rules.d/more.rules").write_text("example.net nowhere\n")
        self.reload(gateway)  # refused: what was in force stays
        self.assertEqual(self.mail("anna@example.org").code, 250)
        debian.path("/etc/postern/rules.d/more.rules").write_text(f"example.org {host.address}\n")

        # An upgrade keeps all of it, and a process that is running goes on.
        debian.install(new)
        self.assertIn("0.1.0~test2", debian.run("dpkg-query", "-W", "postern").stdout)
        self.assertEqual(debian.path("/etc/postern/postern.toml").read_text(), CONFIG)
        self.assertIn(host.address, debian.path("/etc/postern/rules.d/main.rules").read_text())
        self.assertEqual(self.mail("anna@example.com").code, 250)
        self.assertEqual(gateway.close(), 0)
        gateway = self.serve()
        self.assertEqual(self.mail("anna@example.com").code, 250)
        self.assertEqual(gateway.close(), 0)
        self.assertEqual(len(host.messages), 5)

        # Removed: the programs are gone, configuration and spool stay. Purged: only what the administrator added stays.
        debian.path("/var/spool/postern/kept").write_text("mail")
        debian.run("dpkg", "--remove", "postern")
        self.assertFalse(debian.path("/usr/bin/postern").exists())
        self.assertTrue(debian.path("/etc/postern/postern.toml").exists())
        self.assertTrue(debian.path("/var/spool/postern/kept").exists())
        debian.run("dpkg", "--purge", "postern")
        for path in ("/etc/postern/postern.toml", "/etc/postern/rules.d/main.rules", "/var/spool/postern"):
            self.assertFalse(debian.path(path).exists(), path)
        self.assertTrue(debian.path("/etc/postern/rules.d/more.rules").exists())
        self.assertEqual(debian.run("getent", "passwd", "postern", check=False).returncode, 2)

        # And once more, over what was left.
        debian.install(new)
        self.assertIn("no errors", debian.run("postern", "check").stdout)

    def test_without_the_helpers_of_systemd(self):
        for name in ("deb-systemd-helper", "deb-systemd-invoke"):
            self.debian.path(f"/usr/bin/{name}").unlink()
        self.debian.install(self.debs["1"])
        self.debian.install(self.debs["2"])
        self.debian.run("dpkg", "--purge", "postern")

    def test_with_systemd(self):
        """What it is asked to do."""
        debian = self.debian
        debian.path("/run/systemd/system").mkdir(parents=True)
        stub = debian.path("/usr/local/bin/deb-systemd-invoke")
        stub.write_text('#!/bin/sh\necho "$*" >>/tmp/calls\n')
        stub.chmod(0o755)

        def calls():
            file = debian.path("/tmp/calls")
            lines = file.read_text().splitlines() if file.exists() else []
            file.unlink(missing_ok=True)
            return lines

        debian.install(self.debs["1"])
        self.assertEqual(calls(), ["start postern.service"])
        self.assertTrue(debian.path("/etc/systemd/system/multi-user.target.wants/postern.service").is_symlink())
        debian.install(self.debs["2"])
        self.assertEqual(calls(), ["restart postern.service"])
        # What would not come up again is not stopped.
        debian.path("/etc/postern/rules.d/main.rules").write_text("example.com nowhere\n")
        self.assertIn("not restarted", debian.install(self.debs["2"]).stderr)
        self.assertEqual(calls(), [])
        debian.run("dpkg", "--remove", "postern")
        self.assertEqual(calls(), ["stop postern.service"])
        debian.run("dpkg", "--purge", "postern")
        self.assertFalse(debian.path("/etc/systemd/system/multi-user.target.wants/postern.service").is_symlink())

    def test_the_unit(self):
        self.debian.install(self.debs["1"])
        unit = "/lib/systemd/system/postern.service"
        done = self.debian.run("systemd-analyze", "verify", "--man=no", unit, check=False)
        self.assertEqual((done.returncode, [line for line in done.stderr.splitlines() if "postern" in line]), (0, []))
        # Exposure of 10.0 is everything; systemd calls what is below 2.0 "OK" with a smile.
        done = self.debian.run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_package_itself(self):
        deb = self.debs["1"]
        depends = subprocess.run(["dpkg-deb", "-f", deb, "Depends"], capture_output=True, text=True, check=True).stdout
        for library in ("libc6", "libfmt9", "libidn2-0", "adduser"):
            self.assertIn(library, depends)
        listed = subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            self.assertIn(" root/root ", line)
            self.assertRegex(line, r"^([-d])(rw-r--r--|rwxr-xr-x) ")
        for path in ("./usr/bin/postern", "./lib/systemd/system/postern.service", "./usr/share/doc/postern/operating.md"):
            self.assertIn(path, listed)
        # The same build makes the same package.
        again = self.place.subfolder("again")
        subprocess.run(
            [DEPLOY / "build-deb.sh", again, "0.1.0~test1"],
            env={**os.environ, "POSTERN_BUILD": str(BUILD)},
            capture_output=True,
            check=True,
        )
        self.assertEqual((again / deb.name).read_bytes(), deb.read_bytes())


LOADER = """
import json, os, sys
import seccomp

profile = json.load(open(sys.argv[1]))
actions = {"SCMP_ACT_ALLOW": lambda rule: seccomp.ALLOW, "SCMP_ACT_ERRNO": lambda rule: seccomp.ERRNO(rule.get("errnoRet", 1))}
loaded = seccomp.SyscallFilter(seccomp.ERRNO(profile["defaultErrnoRet"]))
for rule in profile["syscalls"]:
    masks = [seccomp.Arg(a["index"], seccomp.MASKED_EQ, a["value"], a["valueTwo"]) for a in rule.get("args", [])]
    for name in rule["names"]:
        try:
            loaded.add_rule(actions[rule["action"]](rule), name, *masks)
        except (RuntimeError, ValueError, OSError):
            pass  # a call that this architecture does not have
loaded.load()
os.execv(sys.argv[2], sys.argv[2:])
"""


class Seccomp(SystemTest):
    def serve_under(self, profile):
        """`postern run` under a profile in Docker's format."""
        folder = self.place.subfolder("seccomp")
        host = self.host()
        self.port = free_port()
        (folder / "profile.json").write_text(json.dumps(profile))
        (folder / "main.rules").write_text(f"example.com {host.address}\n")
        (folder / "postern.toml").write_text(
            f'hostname = "{HOSTNAME}"\n[[listener]]\naddress = "127.0.0.1:{self.port}"\n[rules]\nfiles = ["main.rules"]\n'
            '[admin]\naddress = "unix:admin.sock"\n[spool]\npath = "spool"\n'
        )
        command = ["/usr/bin/python3", "-c", LOADER, folder / "profile.json", POSTERN, "run", "-c", folder / "postern.toml"]
        return self.place.add(Process(command, folder, "postern"))

    def check_serves(self, profile):
        gateway = self.serve_under(profile)
        gateway.wait_listening(self.port)
        self.assertEqual(pathlib.Path(f"/proc/{gateway.pid}/status").read_text().count("Seccomp:\t2"), 1)
        self.assertEqual(self.place.add(Session(self.port)).mail("anna@example.com").code, 250)
        gateway.signal(signal.SIGHUP)
        self.assertEqual(self.place.add(Session(self.port)).mail("anna@example.com").code, 250)
        self.assertEqual(gateway.close(), 0)

    def profile(self):
        return json.loads((DEPLOY / "seccomp.json").read_text())

    def test_the_profile_is_what_its_script_makes(self):
        self.assertEqual(self.profile(), seccomp.profile())
        names = {name for rule in self.profile()["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
        self.assertLessEqual({"io_uring_setup", "io_uring_enter", "io_uring_register", "execve"}, names)
        self.assertFalse(names & {"mount", "bpf", "ptrace", "kexec_load", "init_module", "keyctl", "reboot", "unshare", "setns", "open_tree"})

    def test_postern_serves_under_the_containers_profile(self):
        self.check_serves(self.profile())

    def test_postern_serves_under_the_units_filter(self):
        allowed = set()
        for line in unit_settings()["SystemCallFilter"]:
            for name in line.removeprefix("~").split():
                calls = seccomp.members(name) if name.startswith("@") else {name}
                allowed = allowed - calls if line.startswith("~") else allowed | calls
        # What execve needs stays allowed under systemd, which loads its filter as the last thing before it.
        profile = {"defaultErrnoRet": 1, "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}]}
        self.check_serves(profile)

    def test_without_io_uring_it_says_what_to_set(self):
        profile = self.profile()
        for rule in profile["syscalls"]:
            rule["names"] = [name for name in rule["names"] if not name.startswith("io_uring")]
        gateway = self.serve_under(profile)
        self.assertEqual(gateway.child.wait(20), 1)
        self.assertIn("a seccomp filter", gateway.said())
        self.assertIn("io_uring_setup", gateway.said())


class Dockerfile(unittest.TestCase):
    def test_what_it_names_exists(self):
        text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
        lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
        known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
        self.assertLessEqual({name for name, _ in lines}, known)
        stages = set()
        for name, value in lines:
            if name == "FROM":
                stages |= set(re.findall(r" AS (\S+)", value))
            elif name == "RUN":
                self.assertEqual(subprocess.run(["bash", "-n", "-c", value], check=False).returncode, 0, value)
                for script in re.findall(r"deploy/\S+\.sh", value):
                    self.assertTrue(os.access(ROOT / script, os.X_OK), script)
            elif name == "COPY":
                stage = re.match(r"--from=(\S+)", value)
                self.assertTrue(value.split()[0] == "." or stage[1] in stages, value)
            elif name in ("ENTRYPOINT", "CMD"):
                self.assertTrue(json.loads(value))
        # Its command is the unit's.
        command = [word for name, value in lines if name in ("ENTRYPOINT", "CMD") for word in json.loads(value)]
        self.assertEqual(command, unit_settings()["ExecStart"][0].split())


if __name__ == "__main__":
    sys.exit("run it by tests/system/run.py package")
