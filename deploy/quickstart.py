"""What deploy/quickstart.sh runs once everything is built: see there."""

import json
import pathlib
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
POSTERN = ROOT / "build/src/app/postern"
BENCH = ROOT / "build/bench/load/postern-bench"

CONFIGURATION = """\
hostname = "gw1.example.net"

[[listener]]
address = "127.0.0.1:{port}"

[rules]
files = ["main.rules"]

[pool.cluster-a]
hosts = ["127.0.0.1:{cluster_a}"]

[pool.cluster-b]
hosts = ["127.0.0.1:{cluster_b}"]

[delivery]
mode = "sync"
postmaster = "postmaster@example.com"

[spool]
path = "spool"

[admin]
address = "unix:admin.sock"

[log]
output = "postern.log"
"""
RULES = """\
example.com          cluster-a     # the domain and every subdomain
#lists.example.com   cluster-b     # exactly that domain
anna@example.com     cluster-b     # one mailbox, moved ahead of the rest
old.example.org      cluster-a     rewrite=example.com
gone.example.net     reject:"this domain has moved away"
"""
# recipient, what must come of it
MAIL = [
    ("bert@example.com", "cluster-a"),
    ("carla@mail.example.com", "cluster-a"),
    ("news@lists.example.com", "cluster-b"),
    ("anna@example.com", "cluster-b"),
    ("dora@old.example.org", "cluster-a"),
    ("emil@gone.example.net", None),
    ("frieda@elsewhere.example", None),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(folder, name, *arguments):
    """A process of ours, and its port once it answers there."""
    output = open(folder / f"{name}.out", "wb")
    # In a session of its own: a Ctrl-C at the terminal is for this program, which then ends the others in order.
    return subprocess.Popen(
        [str(a) for a in arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def wait_for_greeting(process, port, name, folder):
    for _ in range(500):
        if process.poll() is not None:
            sys.exit(f"{name} ended: {(folder / f'{name}.out').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.settimeout(5)
                if s.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{name} does not answer on port {port}")


def send(port, recipient):
    """One message by Python's smtplib; (code, text) of the answer that decided."""
    message = (
        f"From: <you@sender.example>\r\nTo: <{recipient}>\r\nSubject: hello\r\n\r\nThrough the gate to {recipient}.\r\n"
    )
    with smtplib.SMTP("127.0.0.1", port, "sender.example", timeout=20) as client:
        client.ehlo()
        for code, text in (client.mail("you@sender.example"), client.rcpt(recipient)):
            if code != 250:
                return code, text.decode()
        code, text = client.data(message.encode())
        return code, text.decode()


def stored(folder):
    return [file.read_text(errors="replace") for file in sorted(folder.iterdir())]


def show_mail(port, stores):
    """Sends the messages, says what became of each; were all as expected?"""
    good = True
    for recipient, pool in MAIL:
        code, text = send(port, recipient)
        # A message names its recipient in its own To: line.
        arrived = [
            name for name, folder in stores.items() if any(f"To: <{recipient}>" in message for message in stored(folder))
        ]
        print(f"  {recipient:26} {'accepted' if code == 250 else 'refused '}  {code} {text}")
        if arrived:
            print(f"  {'':26} it is now at {' and '.join(arrived)}")
        good &= arrived == ([pool] if pool else []) and (code == 250) == bool(pool)
    return good


def show_load(port, control):
    run = subprocess.run(
        [BENCH, "load", f"127.0.0.1:{port}", "-c", "4", "-m", "2000", "--sink", control, "--json"],
        capture_output=True,
        text=True,
    )
    report = json.loads(run.stdout)
    print(
        f"  {report['messages']['accepted']} messages of 4 KiB on 4 connections in {report['seconds']:.2f} s: "
        f"{report['messages_per_second']:.0f} a second."
    )
    print(
        "  Compared at the smart host: each arrived once and unchanged."
        if run.returncode == 0
        else f"  Not all arrived as they should: {run.stdout}"
    )
    return run.returncode == 0


def run(folder, processes, once):
    ports = {"gateway": free_port(), "cluster-a": free_port(), "cluster-b": free_port(), "control": free_port()}
    stores = {}
    for name in ("cluster-a", "cluster-b"):
        stores[name] = folder / name
        stores[name].mkdir()
        control = ["--control", f"127.0.0.1:{ports['control']}", "--received", "1"] if name == "cluster-a" else []
        processes.append(start(folder, name, BENCH, "sink", f"127.0.0.1:{ports[name]}", "--store", stores[name], *control))
        wait_for_greeting(processes[-1], ports[name], name, folder)
    (folder / "postern.toml").write_text(
        CONFIGURATION.format(port=ports["gateway"], cluster_a=ports["cluster-a"], cluster_b=ports["cluster-b"])
    )
    (folder / "main.rules").write_text(RULES)
    gateway = start(folder, "postern", POSTERN, "run", "-c", folder / "postern.toml")
    processes.append(gateway)
    wait_for_greeting(gateway, ports["gateway"], "postern", folder)

    print(f"\nPostern listens on 127.0.0.1:{ports['gateway']}; its configuration, rules and log are in {folder}.")
    print(
        f"Two sinks stand in for smart hosts: cluster-a on port {ports['cluster-a']}, cluster-b on port {ports['cluster-b']}.\n"
        "The rules:\n"
    )
    print("".join(f"  {line}\n" for line in RULES.splitlines()))
    print("One message to each of these recipients, and what the sender is told:\n")
    good = show_mail(ports["gateway"], stores)
    print("\nThe message to bert as cluster-a has it, behind the one line that Postern puts in front:\n")
    first = next((m for m in stored(stores["cluster-a"]) if "bert" in m), "(it is not there)")
    print("".join(f"  {line}\n" for line in first.splitlines()))
    print("Then a little load:\n")
    good &= show_load(ports["gateway"], f"127.0.0.1:{ports['control']}")
    lines = (folder / "postern.log").read_text().splitlines()
    print("\nThe log has one line for each message and each refusal, for example:\n")
    for word in ("bert@", "emil@", "frieda@"):
        print("".join(f"  {line}\n" for line in lines if word in line), end="")
    print(f"\n{'All of it as it should be.' if good else 'SOMETHING IS NOT AS IT SHOULD BE: see above.'}")

    if not once:
        print(
            f"\nIt stays up until you interrupt it (Ctrl-C). Try:\n"
            f"swaks --server 127.0.0.1:{ports['gateway']} --to bert@example.com\n"
            f"or: {POSTERN} route -c {folder}/postern.toml anna@example.com",
            flush=True,
        )
        try:
            sys.exit(f"postern ended by itself with {gateway.wait()}")
        except KeyboardInterrupt:
            print()
    gateway.terminate()
    code = gateway.wait(60)
    print(f"Postern ended with exit code {code}.")
    return good and code == 0


def main():
    once = sys.argv[1:] == ["yes"]
    # Both end it, also where a shell has set SIGINT aside for what runs in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    processes = []
    with tempfile.TemporaryDirectory(prefix="postern-quickstart-") as folder:
        try:
            return 0 if run(pathlib.Path(folder), processes, once) else 1
        except KeyboardInterrupt:
            return 130
        finally:
            for process in processes:
                process.terminate()
                process.wait(60)


if __name__ == "__main__":
    sys.exit(main())
