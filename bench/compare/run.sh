#!/usr/bin/env bash
# Postern beside other programs that pass mail on: installs them, and runs the comparison (compare.py). As root: their packages
# have to be installed, some run as users of their own, and CPU is counted by control groups. All of it on the loopback; no daemon
# of the packages is started, and nothing of an instance that may run here is touched.
#
# usage: bench/compare/run.sh [--quick] [--only SYSTEM ...] [--workload NAME ...] [--profile] [--out FOLDER]      (--help: all)
#   under 45 minutes, --quick under 4, installing apart; writes compare.md, .json and .svg into .cache/compare, or FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then exec bench/compare/compare.py --help; fi
sets=(build compare)
[[ " $* " != *" --profile "* ]] || sets+=(bench)
deploy/packages.sh "${sets[@]}"
tests/corpus.py

haraka=${POSTERN_HARAKA:-.cache/haraka}
locked=bench/compare/systems/haraka/package-lock.json
# The stamp is written last: a half-done installation has none.
if ! cmp -s "$locked" "$haraka/stamp"; then
    echo "run.sh: installing Haraka into $haraka"
    mkdir -p "$haraka"
    cp bench/compare/systems/haraka/package.json "$locked" "$haraka/"
    # Its optional plugins are not used; integrity is npm's to check. Where it cannot be had, its rows say so.
    if (cd "$haraka" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error </dev/null >/dev/null); then
        cp "$locked" "$haraka/stamp"
    fi
fi

# A build that was brought here without its build.ninja is taken as it is.
if [[ -z ${POSTERN_BUILD:-} && (-f build/build.ninja || ! -x build/src/app/postern) ]]; then
    deploy/build.sh release
fi
exec bench/compare/compare.py "$@"
