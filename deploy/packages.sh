#!/usr/bin/env bash
# Installs what is missing of the Debian 12 packages that Postern needs. Everything that builds or tests calls this script,
# so a package is named in one place: here.
#
# usage: deploy/packages.sh [build|test|peers|bench|compare ...]      (default: build)
#   build  compile and run postern and postern-bench
#   test   unit tests, fuzzers, checks, the programs that the system tests speak with
#   peers  the mail servers and proxies that tests and comparisons run against. Postfix is installed; Exim and OpenSMTPD,
#          which Debian does not allow beside it, and Prometheus, of which only promtool is wanted, are unpacked into
#          $POSTERN_PEERS (default: .cache/peers), their libraries installed
#   bench  what benchmarks measure with
#   compare  `peers`, and what bench/compare/ runs besides
set -euo pipefail

build=(meson ninja-build g++ pkg-config liburing-dev libssl-dev libmimalloc-dev libfmt-dev libtomlplusplus-dev
       libcli11-dev libidn2-dev libpsl-dev publicsuffix nlohmann-json3-dev libcpp-httplib-dev libc-ares-dev libcrypt-dev libxxhash-dev
       systemtap-sdt-dev dpkg-dev)
test_=(clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev llvm-14 libgtest-dev libgmock-dev python3 python3-aiosmtpd
       openssl testssl.sh swaks libnet-ssleay-perl curl valgrind systemd python3-seccomp iproute2 adduser debootstrap nsd unbound)
# Debian has npm apart from Node.js, others' packages of Node.js bring it.
npm=()
[[ -n $(type -P npm) ]] || npm=(npm)
test_+=("${npm[@]}")
peers=(postfix haproxy libdb5.3 libevent-2.1-7 libgnutls-dane0 libidn12 libnsl2 libpcre2-8-0)
unpacked=(exim4-daemon-light exim4-base opensmtpd prometheus)
bench=(libbenchmark-dev valgrind haproxy linux-perf)
compare=("${peers[@]}" nginx libnginx-mod-stream python3 python3-aiosmtpd "${npm[@]}")

wanted=()
unpack=no
for set in "${@:-build}"; do
    case $set in
        build) wanted+=("${build[@]}") ;;
        test)  wanted+=("${test_[@]}") ;;
        peers) wanted+=("${peers[@]}"); unpack=yes ;;
        bench) wanted+=("${bench[@]}") ;;
        compare) wanted+=("${compare[@]}"); unpack=yes ;;
        *) echo "packages.sh: unknown set '$set'; allowed: build, test, peers, bench, compare" >&2; exit 2 ;;
    esac
done

missing=()
if ((${#wanted[@]})); then
    # dpkg-query fails when a name is unknown to it; what it prints of the others is what we ask for.
    installed=$(dpkg-query -W -f '${Package} ${Status}\n' "${wanted[@]}" 2>/dev/null || true)
    for p in "${wanted[@]}"; do
        [[ $'\n'$installed$'\n' == *$'\n'"$p install ok installed"$'\n'* ]] || missing+=("$p")
    done
fi

updated=no
update_lists() { [[ $updated == yes ]] || { apt-get update -qq; updated=yes; }; }

if ((${#missing[@]})); then
    if ((EUID != 0)); then
        echo "packages.sh: these Debian packages are missing: ${missing[*]}" >&2
        echo "packages.sh: install them with: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    update_lists
    # No package may start its daemon: a policy file says so for the time of the installation, if none is there already.
    policy=/usr/sbin/policy-rc.d
    made_policy=no
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made_policy=yes
    fi
    trap '[[ $made_policy == no ]] || rm -f "$policy"' EXIT
    echo "packages.sh: installing ${missing[*]}"
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
fi

if [[ $unpack == yes ]]; then
    root=$(cd "$(dirname "$0")/.." && pwd)
    into=${POSTERN_PEERS:-$root/.cache/peers}
    if [[ ! -x $into/usr/sbin/exim4 || ! -x $into/usr/sbin/smtpd || ! -x $into/usr/bin/promtool ]]; then
        update_lists
        mkdir -p "$into/debs"
        echo "packages.sh: unpacking ${unpacked[*]} into $into"
        # _apt, which apt-get drops to for a download, may not write here; root may.
        (cd "$into/debs" && apt-get download -qq -o APT::Sandbox::User=root "${unpacked[@]}")
        for deb in "$into"/debs/*.deb; do dpkg -x "$deb" "$into"; done
        rm -r "$into/debs"
    fi
fi
