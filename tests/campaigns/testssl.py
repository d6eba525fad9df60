#!/usr/bin/python3
"""The campaign "testssl": testssl.sh (Debian's) against both kinds of listener, each with an ECDSA and an RSA certificate of an
authority that it is told to trust. Run by hand, on loopback only; takes some minutes.

usage: tests/campaigns/testssl.py [--keep FOLDER]

Prints every finding that is not OK or INFO. Exit 1 on any above LOW that is not listed below by name: those are about how a
certificate was issued, which an authority decides and not a server.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from authority import Authority  # noqa: E402
from harness import HOSTNAME, LOOPBACK, FakeHost, Gateway, Place  # noqa: E402

# What is about the certificate's issuing alone. With several certificates testssl numbers them: "cert_crlDistributionPoints <#1>".
ISSUING = {
    "cert_revocation",  # neither OCSP nor CRL is named in it
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "cert_mustStapleExtension",
    "OCSP_stapling",  # of an authority without OCSP there is nothing to staple
    "DNS_CAArecord",
    "certificate_transparency",
    "cert_chain_of_trust",  # it is not among those of the browsers
    "cert_trust",
    "cert_extlifeSpan",
    "cert_validityPeriod",
    "cert_expirationStatus",
    "cert_notAfter",
}
# What testssl.sh says of itself: of its openssl; and that its client, which ends where its input does, went before the ticket of TLS 1.3
# had come, as it does where something else keeps the machine busy. tests/system/tls.py sees to resumption.
ITS_OWN = {"engine_problem", "sessionresumption_ticket"}
GOOD = {"OK", "INFO", "DEBUG", "LOW"}


def findings(place, gateway, authority, implicit, keep):
    file = keep / f"testssl-{'implicit' if implicit else 'starttls'}.json"
    file.unlink(missing_ok=True)
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "min", "--ip", LOOPBACK, "--sneaky"]
    command += ["--add-ca", str(authority.file), "--jsonfile", str(file)]
    command += [] if implicit else ["--starttls", "smtp"]
    # --nodns leaves names alone; the name is ours and stands for loopback by --ip.
    done = subprocess.run([*command, f"{HOSTNAME}:{gateway.port}"], cwd=keep, capture_output=True, text=True, timeout=1800)
    (keep / f"{file.stem}.txt").write_text(done.stdout + done.stderr)
    if not file.exists():
        raise RuntimeError(f"testssl.sh gave no findings: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(file.read_text())


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--keep", help="a folder for testssl.sh's own reports")
    arguments = options.parse_args()
    keep = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="testssl-")).resolve()
    keep.mkdir(parents=True, exist_ok=True)
    wrong = 0
    try:
        with Place() as place:
            authority = Authority(place.folder / "authority")
            certificates = [authority.issue(HOSTNAME, days=90), authority.issue(HOSTNAME, kind="rsa", days=90)]
            host = place.add(FakeHost())
            for implicit in (False, True):
                kind = "implicit" if implicit else "starttls"
                gateway = place.add(
                    Gateway(
                        place,
                        "a.test a\n",
                        {"a": host.address},
                        listener={"tls": kind},
                        tls={"certificates": certificates},
                        limits={"connections_per_client": 0},
                    )
                )
                for finding in findings(place, gateway, authority, implicit, keep):
                    if finding["severity"] in ("OK", "INFO", "DEBUG") or finding["id"] in ITS_OWN:
                        continue
                    about_issuing = finding["id"].split(" ")[0] in ISSUING
                    bad = finding["severity"] not in GOOD and not about_issuing
                    wrong += bad
                    mark = "WRONG" if bad else "issuing" if about_issuing else "low"
                    print(f"{kind:9} {mark:8} {finding['severity']:9} {finding['id']}: {finding['finding']}")
                gateway.close()
    finally:
        if not arguments.keep:
            shutil.rmtree(keep, ignore_errors=True)
    print(f"{wrong} findings above LOW that are not about how a certificate was issued")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
