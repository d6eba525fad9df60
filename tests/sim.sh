#!/usr/bin/env bash
# Whole gateways on the simulated ring, network and disk, each under a seed of its own: senders, smart hosts that refuse, die and
# come back, writes that fail, power cuts followed by recovery, reloads, a wall clock that is set, places that are short. What was
# promised must be delivered, kept or told of.
#
# usage: tests/sim.sh [N [FIRST]]      (default: 2000 seeds from 1 on; $POSTERN_BUILD: a build to take, default build-debug, made)
#   exit 1: a line for each breach, and the command that repeats it; the last line is 'N passed, N failed', a seed being one
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-2000}
first=${2:-1}
build=${POSTERN_BUILD:-build-debug}
[[ -n ${POSTERN_BUILD:-} ]] || deploy/build.sh debug build-debug tests/sim/sim-gateway >/dev/null

# What a power cut leaves behind is never freed: so many seeds a process, and no more.
chunk=200
export build chunk
end=$((first + seeds))
seq "$first" "$chunk" $((end - 1)) |
    xargs -P "$(nproc)" -I{} bash -c '
        count=$(('"$end"' - {})); ((count < chunk)) || count=$chunk
        "$build/tests/sim/sim-gateway" {} "$count"' | tee /dev/stderr | awk '
    / seeds, .* failed: / { seeds += $1; failed += $3; delivered += $11; twice += $13 }
    END { printf "%d seeds: %d delivered, %d of them twice\n%d passed, %d failed\n", seeds, delivered, twice, seeds - failed, '"$seeds"' - seeds + failed
          exit failed > 0 || seeds != '"$seeds"' }'
