#!/usr/bin/env python3
"""Holds the arrows between the rooms: reads every #include of src/ and include/ against the table below and fails on one that
is not in it; and fails where something that one room alone may touch (a library, the clock, randomness) is used elsewhere.

usage: tests/rooms.py [ROOT]        exit 0: all as drawn; 1: each breach in a line FILE:LINE: what is wrong
"""

import pathlib
import re
import sys

# room: what it may know. A room also knows what those know (the values that pass through them).
KNOWS = {
    "base": [],
    "mail": ["base"],
    "smtp": ["mail"],
    "notify": ["smtp"],
    "route": ["mail"],
    "journal": ["mail"],
    "config": ["base"],
    "metrics": ["base"],
    "log": ["base"],
    "shared": ["base"],
    "names": ["base"],
    "tls": ["base"],
    "auth": ["base"],
    "io": ["base"],
    "spool": ["journal", "io", "metrics", "log"],
    "inbound": ["smtp", "tls", "io", "log", "shared"],
    "relay": ["smtp", "tls", "io", "metrics", "log", "shared"],
    "shard": ["inbound", "relay", "spool", "notify", "route", "config", "names", "auth", "tls"],
    "app": ["shard"],
}

# library header: its only room
ONLY = {
    "liburing.h": "io",
    "openssl/": "tls",
    "ares.h": "names",
    "xxhash.h": "journal",
    "crypt.h": "auth",
    "toml++/": "config",
    "CLI/": "app",
    "httplib.h": "app",
}

# Nothing but `io` asks the system for time or randomness (architecture.md, "A worker").
ASKS = re.compile(
    r"\b(?:steady_clock|system_clock|high_resolution_clock)\s*::\s*now|\bclock_gettime\b|\bgettimeofday\b|\btime\s*\(\s*(?:nullptr|NULL|0)\s*\)"
    r"|\brandom_device\b|\bgetrandom\b|\bmt19937|\barc4random|(?<![.>])\b(?:s|d|l)?rand(?:om|48)?\s*\(\s*\)|/dev/u?random"
)
SOURCES = {".cc", ".h"}


def reach(room):
    seen, todo = set(), [room]
    while todo:
        for known in KNOWS[todo.pop()]:
            if known not in seen:
                seen.add(known)
                todo.append(known)
    return seen


def room_of(path, root):
    parts = path.relative_to(root).parts
    if parts[0] == "src":
        return parts[1]
    return parts[2]  # include/postern/<room>/


def breaches(root):
    for top in ("src", "include/postern"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SOURCES:
                continue
            room = room_of(path, root)
            where = path.relative_to(root)
            if room not in KNOWS:
                yield f"{where}:1: the room '{room}' is not in the table of tests/rooms.py"
                continue
            allowed = reach(room) | {room}
            for number, line in enumerate(path.read_text().splitlines(), 1):
                code = line.split("//")[0]
                include = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
                if include:
                    name = include[1]
                    other = re.match(r"postern/([^/]+)/", name)
                    if other and other[1] not in allowed:
                        yield f"{where}:{number}: {room} may not know {other[1]} (it knows: {', '.join(sorted(allowed))})"
                    for library, owner in ONLY.items():
                        if name.startswith(library) and room != owner:
                            yield f"{where}:{number}: <{name}> belongs to {owner} alone"
                    private = re.match(r"(?:\.\./|src/)", name)
                    if private:
                        yield f"{where}:{number}: {name} reaches into another folder: use a face in include/postern"
                elif room != "io" and ASKS.search(code):
                    yield f"{where}:{number}: time and randomness come from io, as arguments: {code.strip()}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    found = list(breaches(root))
    print("\n".join(found) if found else "rooms: every arrow is in the table")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
