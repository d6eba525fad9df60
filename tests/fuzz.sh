#!/usr/bin/env bash
# Builds the fuzz targets and gives each its corpus, then SECONDS of new input on every core, one target after another. Says for each
# how many inputs it ran and how much of the code that it links they reached. The last line is 'N passed, N failed', a target being
# one; exit 1 if any failed. What made it fail is left in build-fuzz/failures/, what new input taught in build-fuzz/found/.
#
# usage: tests/fuzz.sh [SECONDS [TARGET ...]]      (default: 20, all targets; ten minutes and more is a campaign)
#   FUZZ_SEED=N   other new input
#   FUZZ_TABLE=F  the table of tests/fuzz/README.md goes to F, too
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

# Lines and branches of ours that the corpus and all that was found reach, of those in the program.
coverage() {
    local target=$1 program=$2 profile=build-fuzz/failures/$1.profile
    LLVM_PROFILE_FILE=$profile.raw "$program" -runs=0 "build-fuzz/found/$target" "tests/fuzz/corpus/$target" &>/dev/null
    llvm-profdata-14 merge -sparse "$profile.raw" -o "$profile"
    # ... TOTAL: regions 3, functions 3, lines 3, branches 3 columns
    llvm-cov-14 report "$program" -instr-profile="$profile" -ignore-filename-regex='^(/usr/|.*/tests/)' 2>/dev/null |
        awk '$1 == "TOTAL" { printf "%s of %d lines, %s of %d branches", $10, $8, $13, $11 }'
    rm -f "$profile" "$profile.raw"
}

passed=0
failed=0
table='| target | seeds | executions | new inputs kept | reached |'$'\n''| --- | --- | --- | --- | --- |'
for target in "${targets[@]}"; do
    program=build-fuzz/tests/fuzz/$target-fuzz
    corpus=tests/fuzz/corpus/$target
    found=build-fuzz/found/$target # stays out of the committed corpus
    log=build-fuzz/failures/$target.log
    mkdir -p "$found"
    seeds=$(find "$corpus" -type f | wc -l)
    echo "fuzz: $target: $seeds of the corpus, then $seconds s on $(nproc) cores"
    # The same seed every time: a run tells of the change, not of its luck. A campaign of its own takes other seeds.
    options=(-seed="${FUZZ_SEED:-1}" -artifact_prefix="build-fuzz/failures/$target-" -timeout=10 -rss_limit_mb=2048)
    export LLVM_PROFILE_FILE=/dev/null
    if "$program" "${options[@]}" -runs=0 "$corpus" &>"$log" &&
        "$program" "${options[@]}" -fork="$(nproc)" -max_total_time="$seconds" "$found" "$corpus" &>"$log"; then
        executions=$(grep -a -o -E '^#[0-9]+: cov' "$log" | tail -n 1 | tr -dc 0-9 || true)
        reached=$(coverage "$target" "$program")
        echo "fuzz: $target: ${executions:-0} executions, $reached"
        table+=$'\n'"| $target | $seeds | ${executions:-0} | $(find "$found" -type f | wc -l) | $reached |"
        passed=$((passed + 1))
    else
        tail -n 60 "$log"
        failed=$((failed + 1))
    fi
done
echo "$table"
[[ -z ${FUZZ_TABLE:-} ]] || echo "$table" >"$FUZZ_TABLE"
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
