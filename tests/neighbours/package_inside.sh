#!/usr/bin/env bash
# What package.sh does under the systemd it has booted. Writes /result, a line for each promise; "done" is the
# last. What programs say besides goes to /noise.
set -u
exec >/result 2>/noise

# shellcheck source=tests/functions.sh
. /usr/local/lib/functions.sh

unit=zarrims@config.service
check() { # NAME WHY-IT-FAILED COMMAND...
    local name=$1 why=$2
    shift 2
    if "$@" >&2; then echo "ok package: $name"; else echo "FAILED package: $name: ${why//$'\n'/ | }"; fi
}
not() { ! "$@"; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
sum() { as_nobody cat "$1/plain.ims" 2>/dev/null | sha256sum; }
reads() { [ "$(as_nobody stat -c %s "$1/plain.ims")" -gt 100000 ] && [ "$(sum "$1")" = "$(sum "$1")" ]; }
reads_as() { reads "$1" && [ "$(sum "$1")" = "$(sum "$2")" ]; }
serving() { pgrep -f "zarrims.*$1" >/dev/null; }
is() { [ "$(systemctl show -P "$2" "$1")" = "$3" ]; }
log() { journalctl -u "$1" --no-pager -o cat | tail -n 5; }

[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
chmod 666 /dev/fuse
mount -o remount,rw /sys 2>/dev/null || mount -o remount,bind,rw /sys

check "it is installed" "$(tail -n 5 /noise)" dpkg -i /zarrims.deb
check "the program starts" "no" test "$(zarrims-mount --version | cut -d' ' -f1)" = zarrims-mount
check "there is a user" "none" id zarrims
check "there is a folder for sockets" "none" test "$(stat -c %U /run/zarrims)" = zarrims
if command -v man; then
    pages() { man -w 1 zarrims-mount && man -w 5 zarrims.toml && man -w 8 mount.zarrims; }
else
    # Small images have neither man(1) nor the pages of packages.
    pages() { dpkg -L zarrims | grep -q man1/zarrims-mount.1.gz; }
fi
check "the pages are there" "$(man -w zarrims-mount 2>&1)" pages
faults=$(systemd-analyze verify "$unit" zarrims-mount@lab.service 2>&1 | grep zarrims)
check "systemd knows all lines of the units" "$faults" test -z "$faults"
exposure=$(systemd-analyze security --no-pager "$unit" | sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p')
check "the exposure that systemd-analyze states ($exposure) is at most 3.7" "$exposure" \
    awk -v found="$exposure" 'BEGIN { exit !(found > 0 && found <= 3.7) }'

chown zarrims /srv/ims/config
systemctl start "$unit"
check "without a mount in the file it does not start" "$(log "$unit")" is "$unit" ExecMainStatus 2
systemctl reset-failed "$unit"
printf '\n[[mount]]\nsource = "/srv/zarr"\nmountpoint = "/srv/ims/config"\n' >>/etc/zarrims/config.toml
systemctl start "$unit"
check "the unit of a configuration file starts" "$(log "$unit")" is "$unit" SubState running
check "another user reads" "$(log "$unit")" reads /srv/ims/config
window=/sys/class/bdi/$(mountpoint -d /srv/ims/config)/read_ahead_kb
check "the kernel's window is widened" "$(cat "$window")" within 10 test "$(cat "$window")" = 1024
kill -9 "$(systemctl show -P MainPID "$unit")"
check "it is started again after kill -9" "$(log "$unit")" within 20 is "$unit" NRestarts 1
check "and reads again" "$(log "$unit")" within 20 reads /srv/ims/config

install -d -o zarrims /srv/ims/second
cp /etc/zarrims/config.toml /config.before
printf '\n[[mount]]\nsource = "/srv/zarr"\nmountpoint = "/srv/ims/second"\n' >>/etc/zarrims/config.toml
before="$(systemctl show -P MainPID "$unit") $(mountpoint -d /srv/ims/config)"
check "a reload is taken" "$(log "$unit")" systemctl reload "$unit"
check "a mount comes with it" "$(log "$unit")" within 20 reads_as /srv/ims/second /srv/ims/config
check "root sees by status what it serves" "$(zarrims-mount status 2>&1)" \
    eval 'zarrims-mount status | grep -q /srv/ims/second'
cat /config.before >/etc/zarrims/config.toml
systemctl reload "$unit"
check "and goes with another reload" "$(log "$unit")" within 20 not is_mounted /srv/ims/second
after="$(systemctl show -P MainPID "$unit") $(mountpoint -d /srv/ims/config)"
check "the mount that stays is not touched" "$before, then $after" test "$before" = "$after"
echo 'wrong = 1' >>/etc/zarrims/config.toml
systemctl reload "$unit"
check "a wrong file is named in the journal" "$(log "$unit")" \
    within 20 eval 'journalctl -u "$unit" -o cat | grep -q "configuration not taken"'
check "and changes nothing" "$(log "$unit")" reads /srv/ims/config
cat /config.before >/etc/zarrims/config.toml

options=allow_other,cache_size=256M
check "mount -t zarrims returns when the mount answers" "$(tail -n 3 /noise)" \
    mount -t zarrims /srv/zarr /srv/ims/mount -o "$options"
check "with the same bytes" "others" reads_as /srv/ims/mount /srv/ims/config
check "findmnt knows it" "$(findmnt -no FSTYPE,SOURCE /srv/ims/mount)" \
    test "$(findmnt -no FSTYPE,SOURCE /srv/ims/mount | tr -s ' ')" = "fuse.zarrims /srv/zarr"
check "umount takes it away" "in use" umount /srv/ims/mount
check "and its daemon ends" "it runs" within 20 not serving /srv/ims/mount
check "so does type fuse.zarrims" "$(tail -n 3 /noise)" \
    mount -t fuse.zarrims /srv/zarr /srv/ims/mount -o "$options"
umount /srv/ims/mount
within 20 not serving /srv/ims/mount
mount -t zarrims /srv/zarr /srv/ims/mount -o cache_sise=1G 2>/wrong
status=$?
check "a wrong option is status 1 and a line" "$(cat /wrong)" \
    eval "[ $status = 1 ] && grep -q 'no such option; similar: cache_size' /wrong"
mount -t zarrims /srv/none /srv/ims/mount 2>/wrong
status=$?
check "a source that is not there is status 32 and a line" "$(cat /wrong)" \
    eval "[ $status = 32 ] && grep -q 'SOURCE /srv/none: ' /wrong"

echo "/srv/zarr /srv/ims/fstab zarrims $options,nofail,x-systemd.requires-mounts-for=/srv/zarr 0 0" >>/etc/fstab
systemctl daemon-reload
check "systemd starts a line of fstab" "$(log srv-ims-fstab.mount)" systemctl start srv-ims-fstab.mount
check "with the same bytes" "$(log srv-ims-fstab.mount)" reads_as /srv/ims/fstab /srv/ims/config
check "its log is in the journal" "$(log srv-ims-fstab.mount)" \
    within 10 eval 'journalctl -u srv-ims-fstab.mount -o cat | grep -q " mounted "'
check "and stops it" "$(log srv-ims-fstab.mount)" systemctl stop srv-ims-fstab.mount
check "nothing is left mounted" "mounted" not is_mounted /srv/ims/fstab
check "nor running" "it runs" within 20 not serving /srv/ims/fstab
check "its end is no failure" "$(systemctl show -P Result srv-ims-fstab.mount)" is srv-ims-fstab.mount Result success
check "mount takes the line of fstab as well" "$(tail -n 3 /noise)" mount /srv/ims/fstab
check "with the same bytes" "others" reads_as /srv/ims/fstab /srv/ims/config
umount /srv/ims/fstab

check "it is installed once more, as by an upgrade" "$(tail -n 5 /noise)" dpkg -i --force-confold /zarrims.deb
check "and what ran runs" "$(log "$unit")" within 20 reads /srv/ims/config
check "it is removed" "$(tail -n 5 /noise)" dpkg -r zarrims
check "its daemon ends with it" "mounted" within 20 not is_mounted /srv/ims/config
check "what the admin has written stays" "gone" grep -q /srv/ims/config /etc/zarrims/config.toml
dpkg -P zarrims >&2
left=$(find /etc/zarrims /var/cache/zarrims /usr/lib/zarrims /usr/bin/zarrims-mount /usr/sbin/mount.zarrims 2>/dev/null)
check "it is purged, and leaves nothing" "$left" test -z "$left"
echo done
