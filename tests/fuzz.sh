#!/usr/bin/env bash
# Builds the fuzz targets and gives each its corpus, then SECONDS of new input. The last line is 'N passed, N failed', a target
# being one; exit 1 if any failed. What made it fail is left in build-fuzz/failures/.
#
# usage: tests/fuzz.sh [SECONDS [TARGET ...]]      (default: 20, all targets)
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
shift $(($# < 1 ? $# : 1))
deploy/packages.sh build test
deploy/build.sh fuzz
mkdir -p build-fuzz/failures

targets=("$@")
if ((${#targets[@]} == 0)); then
    for program in build-fuzz/tests/fuzz/*-fuzz; do
        [[ -f $program && -x $program ]] && name=${program##*/} && targets+=("${name%-fuzz}")
    done
fi

passed=0
failed=0
for target in "${targets[@]}"; do
    program=build-fuzz/tests/fuzz/$target-fuzz
    corpus=tests/fuzz/corpus/$target
    found=build-fuzz/found/$target # what new input taught stays out of the committed corpus
    mkdir -p "$found"
    echo "fuzz: $target: $(find "$corpus" -type f | wc -l) of the corpus, then $seconds s"
    # The same seed every time: a run tells of the change, not of its luck. A campaign of its own takes other seeds.
    options=(-seed="${FUZZ_SEED:-1}" -artifact_prefix="build-fuzz/failures/$target-" -timeout=10 -rss_limit_mb=2048)
    if "$program" "${options[@]}" -runs=0 "$corpus" &>"build-fuzz/failures/$target.log" &&
        "$program" "${options[@]}" -max_total_time="$seconds" "$found" "$corpus" &>"build-fuzz/failures/$target.log"; then
        grep -a -E '^Done ' "build-fuzz/failures/$target.log" || true
        passed=$((passed + 1))
    else
        tail -n 60 "build-fuzz/failures/$target.log"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
