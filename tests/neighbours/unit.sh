#!/usr/bin/env bash
# unit.sh BINARY WORK    the systemd unit, verbatim, under a systemd that is PID 1
#
# Boots an overlay of this machine's own root in a container, with the store of WORK/stores below /srv/zarr and that
# of WORK/later for a disk that comes later; unit_inside.sh does the rest there. Each line that it prints is "ok NAME",
# "FAILED NAME: WHY" or "SKIPPED NAME: WHY".
set -euo pipefail

here=$(dirname "$(realpath "$0")")
bin=$1
work=$2/unit
unit=$here/../../systemd/zarrims-mount@.service
mkdir -p "$work/upper" "$work/inner" "$work/root"
if ! mount -t overlay overlay \
    -o "lowerdir=/,upperdir=$work/upper,workdir=$work/inner" "$work/root" 2>"$work/why"; then
    echo "SKIPPED unit: no overlay of this machine's root: $(head -n 1 "$work/why")"
    exit
fi
trap 'umount -l "$work/root"' EXIT
root=$work/root
# The overlay shows what an installation on this machine may have left.
rm -rf "$root/var/cache/zarrims" "$root/etc/zarrims" "$root"/etc/systemd/system/zarrims-mount@*
install -D "$bin" "$root/usr/local/bin/zarrims-mount"
install -D -m 644 "$unit" "$root/etc/systemd/system/zarrims-mount@.service"
install "$here/unit_inside.sh" "$root/usr/local/bin/unit-inside"
install -D -m 644 "$here/../functions.sh" "$root/usr/local/lib/functions.sh"
mkdir -p "$root/etc/zarrims" "$root/srv/zarr" "$root/srv/ims/stores"
cp -r "$2/stores/." "$root/srv/zarr/"
cp -r "$2/later" "$root/srv/later"
chroot "$root" id zarrims >/dev/null 2>&1 || chroot "$root" useradd --system zarrims
chroot "$root" chown zarrims /srv/ims/stores
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=150
ExecStart=/usr/local/bin/unit-inside
ExecStopPost=/usr/bin/systemctl poweroff --force
UNIT
cat >"$root/etc/systemd/system/inside.target" <<'UNIT'
[Unit]
Requires=inside.service basic.target
After=basic.target
AllowIsolate=yes
UNIT
bind=()
[ ! -e /dev/autofs ] || bind=(--bind=/dev/autofs)
timeout --kill-after=10 180 systemd-nspawn --quiet --boot --directory "$root" --capability=all "${bind[@]}" \
    --property=DeviceAllow='/dev/fuse rw' --register=no --keep-unit --console=pipe \
    -- systemd.unit=inside.target >"$work/boot.log" 2>&1 </dev/null || true
if [ -s "$root/result" ]; then
    cat "$root/result"
    grep -q '^done$' "$root/result" || echo "FAILED unit: it did not come to the end"
    ! grep -q '^FAILED' "$root/result" || tail -n 20 "$root/noise" >&2
else
    echo "FAILED unit: systemd did not boot: $(tail -n 1 "$work/boot.log")"
fi | grep -v '^done$'
