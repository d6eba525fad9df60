#!/usr/bin/env bash
# The Debian package on a fresh Debian: a minimal system made by debootstrap (once, to .cache/debian-12), with what the package
# depends on and nothing else, in which tests/system/package.py then installs, upgrades and removes it. Needs root and a mirror, and
# a few minutes the first time; the everyday run does the same over this machine's own system.
#
# usage: tests/package.sh        the last line is 'N passed, N failed'
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/packages.sh build test
deb=$(deploy/build-deb.sh .cache/deb)
root=$PWD/.cache/debian-12
if [[ ! -e $root/made ]]; then
    rm -rf "$root"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)
    # The names of the packages that ours depends on, without versions and alternatives; systemd for its systemd-analyze.
    depends=$(dpkg-deb -f "$deb" Depends | sed -E 's/ *\([^)]*\)//g; s/ *\|[^,]*//g; s/ //g')
    debootstrap --variant=minbase --include="$depends,systemd" bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >/dev/null
    touch "$root/made"
fi
POSTERN_BUILD=$PWD/build POSTERN_ROOT=$root exec tests/system/run.py package
