#!/usr/bin/env bash
# package.sh BINARY WORK    the package for Debian, mount(8) and fstab(5), under a systemd that is PID 1
#
# Packs BINARY (scripts/deb.sh), and installs the package into an overlay of this machine; package_inside.sh does the
# rest there. Prints "ok NAME" or "FAILED NAME: WHY" a line, or "SKIPPED NAME: WHY".
set -euo pipefail

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/neighbours/boot.sh
. "$here/boot.sh"
bin=$1
work=$2/package
if ! command -v dpkg-deb >/dev/null; then
    echo "SKIPPED package: this is no Debian"
    exit
fi
overlay package "$work" || exit 0
"$(dirname "$bin")/examples/pages" "$work/pages"
BIN=$bin PAGES=$work/pages OUT=$work/dist "$here/../../scripts/deb.sh" >&2
cp "$work"/dist/*.deb "$root/zarrims.deb"
rm -f "$root/usr/local/bin/zarrims-mount"
mkdir -p "$root/srv/zarr" "$root/srv/ims/config" "$root/srv/ims/mount" "$root/srv/ims/fstab"
cp -r "$2/stores/." "$root/srv/zarr/"
boot package "$work" "$here/package_inside.sh"
