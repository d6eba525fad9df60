#!/usr/bin/env bash
# Installs what is missing, builds to build/, and shows Postern at work: a gateway on loopback with a few rules, postern-bench's
# sink as smart host, mail through it, and what happened in plain words. Then it stays up until interrupted.
#
# usage: deploy/quickstart.sh [--once]      --once: ends after the run; exit code 0 if all went as it should
set -euo pipefail
cd "$(dirname "$0")/.."

once=no
case ${1:-} in
    "") ;;
    --once) once=yes ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

deploy/packages.sh build
deploy/build.sh release
exec /usr/bin/python3 deploy/quickstart.py "$once"
