#!/usr/bin/python3
"""Prints the seccomp profile for containers (deploy/seccomp.json, in Docker's format): what is not named is refused with EPERM.

The system calls are those of systemd's set @system-service, which the unit file takes too, without those that a container's
runtime withholds by default. Docker's own default profile would do as well, were the three io_uring calls in it.

usage: deploy/seccomp.py >deploy/seccomp.json      needs systemd-analyze
"""

import json
import subprocess

# What a process in a container has no business with.
WITHHELD = {"@keyring", "kcmp", "name_to_handle_at", "personality", "process_vm_readv", "process_vm_writev", "setns", "unshare", "userfaultfd"}
# Made with other arguments only: a clone into new namespaces (CLONE_NEW*) is refused; clone3 hides its flags in memory, where no filter
# sees them, so it "does not exist", and the C library takes clone.
NAMESPACES = 0x7E020000
ENOSYS = 38


def members(name):
    """The system calls of a set, those of the sets in it among them."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    calls = set()
    for word in (line.strip() for line in shown.splitlines()[1:]):
        if word.startswith("@"):
            calls |= members(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def profile():
    withheld = set().union(*(members(name) if name.startswith("@") else {name} for name in WITHHELD))
    allowed = members("@system-service") - withheld - {"clone", "clone3"}
    masked = {"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
        ],
    }


if __name__ == "__main__":
    print(json.dumps(profile(), indent=2))
