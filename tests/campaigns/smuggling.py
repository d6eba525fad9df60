#!/usr/bin/python3
"""The campaign "Smuggling": all of what tests/system/smuggling.py has an everyday part of. Every way to write something like the
end of the data, by DATA and by BDAT, in each mode of delivery, bare newlines repaired and refused, cut at every place around it and
into single octets, into Postfix (with and without its own protection), Exim, OpenSMTPD and aiosmtpd. Run by hand, on loopback only;
needs root, as the tests of the peers do. Some 330,000 sessions: three quarters of an hour and more.

usage: tests/campaigns/smuggling.py [--quick]

Prints what was sent and each message or answer that was not as it has to be; exit 1 on any.
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import smuggling  # noqa: E402
from harness import Place  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="no cuts: whole streams and single octets")
    quick = parser.parse_args().quick
    cases = list(smuggling.everything())
    around = list(smuggling.endings(smuggling.ENDS, smuggling.DOTS))
    with Place() as place:
        pairs = smuggling.Pairs(place)
        for mode, bare in pairs.gateways:
            began = time.monotonic()
            sent = pairs.run(mode, bare, cases, [smuggling.whole, smuggling.octets])
            if not quick:
                sent += pairs.run(mode, bare, around, [smuggling.at(place) for place in range(8)])
            print(f"{mode}, {bare}: {sent} sessions in {time.monotonic() - began:.0f} s", flush=True)
        wrong = pairs.check()
        print("\n".join(wrong[:200]))
        for name, expected in pairs.expected.items():
            print(f"{name}: {len(expected)} messages were answered for")
        print(f"{len(cases)} kinds of streams, {pairs.number} sessions, {len(pairs.refused)} recipients refused behind the answer and told of, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
