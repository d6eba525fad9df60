#!/usr/bin/env bash
# Builds Postern in one of its profiles. What a profile is stands here and nowhere else.
#
# usage: deploy/build.sh [PROFILE [FOLDER [TARGET ...]]]
#   release  (default, to build/)   GCC, -O2, LTO, hardened: what is deployed and measured
#   debug    (to build-debug/)      GCC, -Og
#   asan     (to build-asan/)       GCC, address and undefined-behaviour sanitizers
#   tsan     (to build-tsan/)       GCC, thread sanitizer
#   fuzz     (to build-fuzz/)       Clang, libFuzzer with address and undefined-behaviour sanitizers
#   bench    (to build-bench/)      as release, with the micro benchmarks
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:-release}
folder=${2:-}
shift $(($# < 2 ? $# : 2))
default=build-$profile
options=(--wrap-mode=nodownload)
compiler=g++
# What a sanitizer finds ends the program, whoever runs it: undefined behaviour would only be printed.
sanitized=("-Dcpp_args=-g1 -fno-sanitize-recover=undefined" -Db_sanitize=address,undefined)
case $profile in
    release) default=build
             options+=(-Dbuildtype=debugoptimized -Doptimization=2 -Db_lto=true -Dtests=false) ;;
    debug)   options+=(-Dbuildtype=debug -Doptimization=g) ;;
    asan)    options+=(-Dbuildtype=debug -Doptimization=1 "${sanitized[@]}") ;;
    tsan)    options+=(-Dbuildtype=debug -Doptimization=1 -Db_sanitize=thread) ;;
    fuzz)    compiler=clang++-14
             options+=(-Dbuildtype=debug -Doptimization=1 "${sanitized[@]}" -Db_lundef=false
                       -Dtests=false -Dfuzz=true) ;;
    bench)   options+=(-Dbuildtype=debugoptimized -Doptimization=2 -Db_lto=true -Dtests=false -Dbenchmarks=true) ;;
    *) echo "build.sh: unknown profile '$profile'; allowed: release, debug, asan, tsan, fuzz, bench" >&2; exit 2 ;;
esac
folder=${folder:-$default}

if [[ ! -f $folder/build.ninja ]]; then
    CXX=$compiler meson setup "$folder" "${options[@]}"
fi
ninja -C "$folder" "$@"
