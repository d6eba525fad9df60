#!/usr/bin/env python3
"""Shows that the simulated gateways can fail: breaks the code in one way after the other, and counts the seeds that it takes
until a run says so. What is broken is a copy of the tree; nothing here is changed.

usage: tests/mutations.py [--seeds N] [--only NAME] [FOLDER]
  N: give up behind so many seeds (10,000); FOLDER: for the copy and its build (.cache/mutations), kept for the next time
  exit 1: a mutation was not found; the last line is 'N found, N not found'
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHUNK = 200

# name: what it breaks, file, what stands there, what stands there then.
MUTATIONS = {
    "false-250": (
        "the sender of a message that could not be written is told 250",
        "src/shard/deliveries.cc",
        "        const mail::Reply reply = trouble ? sync_answer(attempt.kind, attempt.reply) : not_kept;\n",
        "        const mail::Reply reply{250, {2, 0, 0}, trouble ? not_kept.text : \"queued\"};\n",
    ),
    "lost-wish": (
        "a record whose write failed is not written again",
        "src/spool/write.cc",
        "                    wishes.push_front(kept);\n",
        "",
    ),
    "failed-write": (
        "a write that failed is taken for one that did not",
        "src/spool/write.cc",
        "    if (result != static_cast<std::int32_t>(write_size)) {\n",
        "    if (result == 1) {\n",
    ),
    "done-before-notice": (
        "a message is over before its notification is on the disk",
        "src/shard/notices.cc",
        "    if (attempt != nullptr) {\n        ++attempt->notices;\n    }\n    spool_->keep(",
        "    telling->second.attempt = nullptr;\n    spool_->keep(",
    ),
    "lost-progress": (
        "no record says that some recipients have the message",
        "src/spool/spool.cc",
        "    implementation_->want(kept, KeptAccess::progress);\n",
        "",
    ),
    "lost-done": (
        "no record says that a message is over",
        "src/spool/write.cc",
        "            const auto at = batch.done(kept->id(), ++KeptAccess::revision(*kept));\n",
        "            const auto at = batch.progress(kept->id(), ++KeptAccess::revision(*kept), false, {});\n",
    ),
    "temporary-is-final": (
        "a recipient that was put off is taken for refused, and nobody is told",
        "src/shard/kept_mail.cc",
        "    if (reply.permanent()) {\n        return State::refused;\n",
        "    if (reply.code >= 400) {\n        return State::delivered;\n",
    ),
    "late-answer": (
        "an answer that comes when the message is on the disk does not count",
        "src/shard/deliveries.cc",
        "    if (attempt.has_outcome) {\n        process(attempt);\n    } else if (attempt.with_relay) {\n",
        "    if (attempt.has_outcome && attempt.kind != Kind::accepted) {\n        process(attempt);\n"
        "    } else if (attempt.has_outcome) {\n        conclude(attempt);\n    } else if (attempt.with_relay) {\n",
    ),
    "one-recipient": (
        "the last of several recipients is taken for one who has it, whatever was said",
        "src/shard/kept_mail.cc",
        "                found[r->number] = apply(attempt, said, submission.envelope, *r);\n",
        "                found[r->number] = apply(attempt, said, submission.envelope, *r);\n"
        "                if (r->next == nullptr && r->number > 0) {\n                    found[r->number] = State::delivered;\n"
        "                }\n",
    ),
    "freed-too-early": (
        "a segment is used again though messages are in it",
        "src/spool/write.cc",
        "            KeptAccess::place(kept) = {segment, written.at.offset, size};\n            segment->hold(size);\n",
        "            KeptAccess::place(kept) = {segment, written.at.offset, size};\n            segment->hold(size);\n"
        "            segment->release(size);\n",
    ),
    "silent-refusal": (
        "a recipient that was refused is told of to nobody",
        "src/shard/kept_mail.cc",
        "        tell_sender(attempt, attempt.failed, notify::Action::failed);\n",
        "",
    ),
    "no-barrier": (
        "bodies go to some groups before the others are asked",
        "src/shard/grouped_mail.cc",
        "            part->waits = true;\n",
        "",
    ),
    "recovery-stops": (
        "the last message of a recovery is left out",
        "src/shard/kept_mail.cc",
        "void Deliveries::recovered(spool::Kept& kept) {\n",
        "void Deliveries::recovered(spool::Kept& kept) {\n    if (kept.id().low % 4 == 1) {\n        return;\n    }\n",
    ),
}


def run(command, **more):
    return subprocess.run(command, cwd=more.pop("cwd", None), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def build(tree):
    done = run(["deploy/build.sh", "debug", "build-mutated", "tests/sim/sim-gateway"], cwd=tree)
    if done.returncode != 0:
        sys.exit(f"mutations.py: the tree does not build:\n{done.stdout[-3000:]}")
    return tree / "build-mutated/tests/sim/sim-gateway"


def seeds_until_found(program, most):
    """How many seeds it took; None: they were not enough."""
    for first in range(1, most + 1, CHUNK):
        count = min(CHUNK, most + 1 - first)
        try:
            done = run([str(program), str(first), str(count)], timeout=600)
        except subprocess.TimeoutExpired:
            return first  # it turns and turns: a breach, too
        if done.returncode != 0:
            failing = re.search(r"^seed (\d+):", done.stdout, re.M)
            return int(failing.group(1)) if failing else first
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=10000)
    arguments.add_argument("--only", choices=MUTATIONS)
    arguments.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / ".cache/mutations")
    options = arguments.parse_args()
    tree = options.folder.resolve()
    tree.mkdir(parents=True, exist_ok=True)
    listed = run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT).stdout.split("\n")
    for name in filter(None, listed):
        source, copy = ROOT / name, tree / name
        if source.is_file() and (not copy.is_file() or copy.read_bytes() != source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    program = build(tree)
    if seeds_until_found(program, CHUNK) is not None:
        sys.exit("mutations.py: the code fails as it is; nothing can be told from that")

    found = 0
    wanted = {options.only: MUTATIONS[options.only]} if options.only else MUTATIONS
    for name, (what, path, before, after) in wanted.items():
        file = tree / path
        text = file.read_text()
        if text.count(before) != 1:
            sys.exit(f"mutations.py: {name}: {path} holds {text.count(before)} times what is to be changed; mend the table")
        began = time.monotonic()
        try:
            file.write_text(text.replace(before, after))
            seeds = seeds_until_found(build(tree), options.seeds)
        finally:
            file.write_text(text)
        found += seeds is not None
        said = "NOT FOUND" if seeds is None else f"found by seed {seeds}"
        print(f"{name:20} {said:22} {time.monotonic() - began:5.0f} s  {what}", flush=True)
    print(f"{found} found, {len(wanted) - found} not found")
    return 0 if found == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
