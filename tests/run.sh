#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests. The last line is 'N passed, N failed'; exit 1 if any failed.
#
# usage: tests/run.sh [--unit | --all]
#   (neither)  unit tests (with sanitizers, build-asan/) and system tests (release, build/): under ten minutes
#   --unit     unit tests only
#   --all      then each fuzz target for 20 seconds behind its corpus, 2,000 seeds of whole gateways, each measurement of bench/ once
#              and short, and instructions against the committed figures
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

case ${1:-} in
    "" | --unit | --all) ;;
    *) sed -n '4,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
mode=${1:-}

passed=0
failed=0
# Adds the counts of a line 'N passed, N failed'; a run that ended without one is a failure.
add() {
    if [[ $1 =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "run.sh: ended without a result: $1"
        failed=$((failed + 1))
    fi
}
# Runs a command, shows what it says, and adds the counts of its last line.
counted() {
    local output
    output=$(mktemp)
    "$@" 2>&1 | tee "$output" || true
    add "$(tail -n 1 "$output")"
    rm -f "$output"
}

deploy/packages.sh build test peers
tests/corpus.py

deploy/build.sh asan
counted tests/unit.py build-asan

if [[ $mode != --unit ]]; then
    deploy/build.sh release
    counted tests/system/run.py
    if [[ $mode == --all ]]; then
        counted tests/fuzz.sh 20
        counted tests/sim.sh 2000
        counted tests/system/run.py measurements
        deploy/packages.sh bench
        deploy/build.sh bench
        counted bench/instructions.py --check
    fi
fi

echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
