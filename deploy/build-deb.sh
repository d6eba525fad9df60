#!/usr/bin/env bash
# Builds the release profile and makes a Debian package of it. Nothing is installed on this machine.
#
# usage: deploy/build-deb.sh [FOLDER [VERSION]]
#   FOLDER   where postern_VERSION_ARCHITECTURE.deb goes (default: build-deb/); its path is the last line printed
#   VERSION  default: that of meson.build
# $POSTERN_BUILD names a release build to take instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."

into=${1:-build-deb}
version=${2:-$(sed -n "s/^ *version: '\(.*\)',$/\1/p" meson.build)}
architecture=$(dpkg --print-architecture)
build=${POSTERN_BUILD:-}
if [[ -z $build ]]; then
    build=build
    deploy/build.sh release "$build" src/app/postern bench/load/postern-bench >&2
fi

mkdir -p "$into"
into=$(cd "$into" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
umask 022

install -D -s "$build/src/app/postern" "$root/usr/bin/postern"
install -D -s "$build/bench/load/postern-bench" "$root/usr/bin/postern-bench"
install -D -m 644 deploy/postern.service "$root/lib/systemd/system/postern.service"
install -D -m 644 deploy/postern.toml "$root/etc/postern/postern.toml"
install -D -m 644 deploy/main.rules "$root/etc/postern/rules.d/main.rules"
doc=$root/usr/share/doc/postern
install -D -m 644 -t "$doc" README.md SECURITY.md deploy/operating.md deploy/reference.md deploy/seccomp.json
for page in postern.1 postern-bench.1; do
    install -D -m 644 "deploy/$page" "$root/usr/share/man/man1/$page"
    gzip -9n "$root/usr/share/man/man1/$page"
done
cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Postern

Files: *
Copyright: The Postern developers
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
END

# What the programs are linked with, as packages of this distribution with the versions they need.
mkdir "$work/debian"
printf 'Source: postern\n\nPackage: postern\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/postern root/usr/bin/postern-bench 2>/dev/null |
          sed -n 's/^shlibs:Depends=//p')
[[ -n $depends ]] || { echo "build-deb.sh: dpkg-shlibdeps names no library" >&2; exit 1; }

mkdir "$root/DEBIAN"
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@DEPENDS@|$depends|" \
    -e "s|@SIZE@|$(du -sk --exclude=DEBIAN "$root" | cut -f 1)|" deploy/debian/control.in >"$root/DEBIAN/control"
(cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
install -m 755 -t "$root/DEBIAN" deploy/debian/{postinst,prerm,postrm}
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

# The same sources make the same package: the time is the last commit's.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
deb=$into/postern_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$deb" >&2
echo "$deb"
