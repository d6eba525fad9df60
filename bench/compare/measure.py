"""What a system and the machine spend: a control group for a system's processes, so that those that end in between count too, and
what /proc says of the whole machine.

CPU comes from cgroup v1 (cpuacct), else from cgroup v2 (cpu.stat), else, where no group can be made, from the sums of
/proc/PID/task/*/schedstat over the process tree, which miss what ends between two looks.
"""

import contextlib
import os
import pathlib
import re
import signal
import time


class Group:
    """The processes of one system. A context manager; what is left in it at its end is ended."""

    count = 0

    def __init__(self):
        Group.count += 1
        self.folder = self.home = None
        self.kind = "schedstat"
        self.roots = set()  # without a group: the processes that were started
        self.seen = {}  # and what each of their tree was last seen to have spent
        for kind, home in homes():
            folder = home / f"postern-compare-{os.getpid()}-{Group.count}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                if is_usable(home, folder, "cpuacct.usage" if kind == "cgroup v1" else "cpu.stat"):
                    self.kind, self.home, self.folder = kind, home, folder
                    break
                folder.rmdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 5
            while (pids := self.pids()) and time.monotonic() < end:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(0.05)
        for _ in range(100 if self.folder else 0):  # the kernel needs a moment after the last process
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.05)

    @contextlib.contextmanager
    def inside(self):
        """What is started meanwhile belongs to the group: children are where their parent is, and the parent is here so long."""
        if self.folder is None:
            before = set(tree({os.getpid()}, sessions=False))
            try:
                yield
            finally:
                self.roots = set(tree({os.getpid()}, sessions=False)) - before
            return
        (self.folder / "cgroup.procs").write_text("0")
        try:
            yield
        finally:
            (self.home / "cgroup.procs").write_text("0")

    def pids(self):
        if self.folder is not None:
            return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]
        return tree(self.roots)

    def cpu_seconds(self):
        if self.kind == "cgroup v1":
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        if self.kind == "cgroup v2":
            return int(re.search(r"usage_usec (\d+)", (self.folder / "cpu.stat").read_text())[1]) / 1e6
        for pid in self.pids():
            with contextlib.suppress(OSError):
                tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
                self.seen[pid] = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        return sum(self.seen.values())

    def memory_kib(self):
        """Proportional set size without files: what processes share counts once, and what a library costs depends on who else
        uses it just then. What the kernel holds for them is not in it."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(map(int, re.findall(r"(?m)^Pss_(?:Anon|Shmem):\s+(\d+)", rollup)))
        return total


def mounts():
    """(kind, where its groups are, the controller in /proc/self/cgroup), the best first."""
    lines = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    found = [("cgroup v1", m[1], "cpuacct") for m in lines if m[2] == "cgroup" and "cpuacct" in m[3].split(",")]
    found += [("cgroup v2", m[1], "") for m in lines if m[2] == "cgroup2"]
    return [(kind, pathlib.Path(mount), controller) for kind, mount, controller in found]


def homes():
    """Where groups could be made: (kind, the group that we are in), the best first."""
    ours = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours.update({controller: path for controller in controllers.split(",")})
    for kind, mount, controller in mounts():
        # In a container the path may be one of the host's, and the mount begins at our own.
        for home in (mount / ours.get(controller, "").lstrip("/"), mount):
            if os.access(home / "cgroup.procs", os.W_OK):
                yield kind, home
                break


def is_usable(home, folder, account):
    """Whether the group counts, and we may go in and out."""
    try:
        (folder / "cgroup.procs").write_text("0")
        (home / "cgroup.procs").write_text("0")
        return (folder / account).exists()
    except OSError:
        return False


def tree(roots, sessions=True):
    """These processes, their children, theirs, and who is left of their sessions: what harness.py starts begins one."""
    children, found = {}, set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = int(stat.parent.name), stat.read_text().rsplit(")", 1)[1].split()
            children.setdefault(int(rest[1]), []).append(pid)
            if rest[0] != "Z" and (pid in roots or sessions and int(rest[3]) in roots):
                found.add(pid)
    open_ = list(found)
    while open_:
        some = set(children.get(open_.pop(), [])) - found
        found |= some
        open_ += some
    return sorted(found)


def machine_seconds():
    """CPU of all that runs on this machine, the kernel's part too: of the group that all others are in, where cgroup v1 counts,
    else of /proc/stat, which looks once a tick, and misses much of what runs shortly."""
    for kind, mount, _ in mounts():
        if kind == "cgroup v1":
            return int((mount / "cpuacct.usage").read_text()) / 1e9
    user, nice, system, _, _, irq, softirq = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
