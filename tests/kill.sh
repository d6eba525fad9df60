#!/usr/bin/env bash
# Kills the gateway N times under load, and looks for mail that was promised and is lost: tests/system/kills.py, for longer.
#
# usage: tests/kill.sh N      (needs build/: deploy/build.sh release)
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { sed -n '4p' "$0" >&2; exit 2; }
POSTERN_KILLS=$1 exec tests/system/kills.py Kills.test_the_gateway_is_killed
