"""The results of compare.py as tables in Markdown, and what stands above them: the machine, and what each system promises."""

import os
import pathlib
import platform
import re
import tempfile

from rounds import YARDSTICK

COLUMNS = (  # head, key, how it is written
    ("messages/s", "messages_per_second", ",.0f"),
    ("CPU a message, us", "cpu_us", ",.0f"),
    ("to HAProxy's", "cpu_ratio", ",.2f"),
    ("of the machine, us", "machine_us", ",.0f"),
    ("answer, median ms", "answer_ms_median", ",.1f"),
    ("slowest percent ms", "answer_ms_p99", ",.1f"),
    ("lost", "lost", ",d"),
    ("doubled", "doubled", ",d"),
    ("damaged", "damaged", ",d"),
    ("not accepted", "not_accepted", ",d"),
)
PROMISES = (
    ("version", "version"),
    ("250 to the sender means", "answers_when"),
    ("outlives a loss of power", "durable"),
    ("understands", "reads"),
    ("routes by", "routes"),
    ("logs", "logs"),
)


def machine():
    cpu = re.search(r"model name\s*: (.+)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu[1].strip() if cpu else platform.machine(),
        "memory_gib": round(int(memory[1]) / (1 << 20)),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "queues_on": file_system(tempfile.gettempdir()),
    }


def file_system(folder):
    """Its type: a queue in memory costs less than one on a disk."""
    folder, best = os.path.realpath(folder), ("", "?")
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        if (folder + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def promises(system):
    try:
        version = system.version()
    except Exception as error:  # what is not there is a row that says so, as where it fails to run
        version = f"not to be had ({type(error).__name__})"
    said = {key: getattr(system, key) for _, key in PROMISES[1:]}
    return {"version": version, **said, "stores": system.stores, "note": system.note}


def row(*cells):
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |\n"


def head(*cells):
    return row(*cells) + "|" + " --- |" * len(cells) + "\n"


def cell(figures, key, how):
    """What is no system spends nothing, and what has nothing beside it has no ratio."""
    return format(figures[key], how) if figures.get(key) or key in figures and key != "cpu_us" else "-"


def workload_table(workload):
    text = head("", *(name for name, _, _ in COLUMNS))
    notes = []
    for name, figures in workload["systems"].items():
        if "failed" in figures:
            text += row(name, f"failed: {figures['failed']}", *[""] * (len(COLUMNS) - 1))
            continue
        text += row(name, *(cell(figures, key, how) for _, key, how in COLUMNS))
        if figures["faults"] or figures["errors"]:
            counted = {**figures["faults"], **figures["errors"]}
            notes.append(f"{name}: " + ", ".join(f"{what.replace('_', ' ')} {count:,}" for what, count in counted.items()) + ".")
        notes += [f"{name}: a round failed: {why}." for why in figures.get("failed_rounds", ())]
    return text + "".join(f"\n{note}\n" for note in notes)


def idle_table(idle):
    connections = max((figures.get("connections", 0) for figures in idle.values()), default=0)
    text = head("", "idle, KiB", f"an idle connection of {connections:,}, KiB")
    for name, figures in idle.items():
        if "failed" in figures:
            text += row(name, f"failed: {figures['failed']}", "")
        else:
            text += row(name, f"{figures['idle_kib']:,}", f"{figures['connection_kib']:,.1f}")
    return text


def counted_by(result):
    """Where CPU comes from."""
    runs = [run for one in result["workloads"].values() for run in one["systems"].values()] + list(result["idle"].values())
    return " and ".join(sorted({run["cpu_by"] for run in runs if "cpu_by" in run})) or "nothing"


def markdown(result):
    machine_ = result["machine"]
    length = "A quick look: short loads, one round; no figures to quote. " if result["quick"] else ""
    rounds = f"medians of {result['rounds']} rounds in turn" if result["rounds"] > 1 else "one round in turn"
    text = (
        f"# Postern beside others\n\n"
        f"{result['date']}, {machine_['cores']} cores ({machine_['cpu']}), {machine_['memory_gib']} GiB, Linux "
        f"{machine_['kernel']}, queues on {machine_['queues_on']}; {result['minutes']} minutes in all. {length}"
        f"W1 to W3: {rounds}, the others one; each load lasts {result['seconds']:g} s. Counts are sums.\n\n"
        f"CPU a message is that of all processes of a system (by {counted_by(result)}); to HAProxy's is the median of the "
        f"rounds' ratios to {YARDSTICK}. That of the machine has load, sink, kernel and whatever else ran in it, for on the "
        "loopback the receiver's work is charged to the sender. An answer's time counts from the sender's last octet. A system "
        "with a queue answers before it delivers: its messages a second and its CPU are those until the sink had all. Lost is "
        f"what the sink had not {result['settle']} s after the load. Damaged counts changed headers and changed bodies, not "
        "accepted what was refused or got no answer.\n\n")
    # What is no system promises nothing.
    systems = {name: facts for name, facts in result["systems"].items() if facts["reads"] != "-"}
    text += head("", *(name for name, _ in PROMISES))
    text += "".join(row(name, *(facts[key] for _, key in PROMISES)) for name, facts in systems.items())
    text += "".join(f"\n{name}: {facts['note']}\n" for name, facts in systems.items() if facts["note"])
    for name, workload in result["workloads"].items():
        text += f"\n## {name}: {workload['title']}, {workload['senders']:,} senders\n\n" + workload_table(workload)
    if result["idle"]:
        text += ("\n## Memory\n\nOf all processes, what they share counted once (Pss_Anon and Pss_Shmem); files that are mapped "
                 "and what the kernel holds for sockets are not in it.\n\n" + idle_table(result["idle"]))
    return text
