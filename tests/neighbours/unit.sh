#!/usr/bin/env bash
# unit.sh BINARY WORK    the systemd unit, verbatim, under a systemd that is PID 1
#
# Boots an overlay of this machine's own root in a container, with the store of WORK/stores below /srv/zarr and that
# of WORK/later for a disk that comes later; unit_inside.sh does the rest there. Each line that it prints is "ok NAME",
# "FAILED NAME: WHY" or "SKIPPED NAME: WHY".
set -euo pipefail

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/neighbours/boot.sh
. "$here/boot.sh"
bin=$1
overlay unit "$2/unit" || exit 0
install -D "$bin" "$root/usr/local/bin/zarrims-mount"
install -D -m 644 "$here/../../systemd/zarrims-mount@.service" "$root/etc/systemd/system/zarrims-mount@.service"
mkdir -p "$root/etc/zarrims" "$root/srv/zarr" "$root/srv/ims/stores"
cp -r "$2/stores/." "$root/srv/zarr/"
cp -r "$2/later" "$root/srv/later"
chroot "$root" id zarrims >/dev/null 2>&1 || chroot "$root" useradd --system zarrims
chroot "$root" chown zarrims /srv/ims/stores
boot unit "$2/unit" "$here/unit_inside.sh"
