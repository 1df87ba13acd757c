#!/usr/bin/env bash
# What unit.sh does under the systemd it has booted. Writes /result, a line for each promise; "done" is the
# last. What programs say besides goes to /noise.
set -u
exec >/result 2>/noise

# shellcheck source=tests/functions.sh
. /usr/local/lib/functions.sh

unit=zarrims-mount@lab
mountpoint=/srv/ims/stores

check() { # NAME WHY-IT-FAILED COMMAND...
    local name=$1 why=$2
    shift 2
    if "$@"; then echo "ok unit: $name"; else echo "FAILED unit: $name: ${why//$'\n'/ | }"; fi
}
property() { systemctl show -P "$1" "$unit"; }
is() { [ "$(property "$1")" = "$2" ]; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
sum() { "$@" cat "$mountpoint/plain.ims" 2>/dev/null | sha256sum; }
reads_the_same() { [ -s "$mountpoint/plain.ims" ] && [ "$(sum as_nobody)" = "$first" ]; }
journal() { journalctl -u "$unit" --no-pager -o cat "$@"; }
mounted() { is_mounted "$mountpoint"; }
not() { ! "$@"; }
said() { journal --since "@$since" | grep -qF -- "$1"; }
options() { printf 'SOURCE=/srv/zarr\nMOUNTPOINT=%s\nOPTIONS=%s\n' "$mountpoint" "$1" >/etc/zarrims/lab.env; }
drop_in() {
    mkdir -p "/run/systemd/system/$unit.service.d"
    printf '[Service]\n%s\n' "$1" >"/run/systemd/system/$unit.service.d/test.conf"
    systemctl daemon-reload
}

[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
chmod 666 /dev/fuse
# The container shows it read-only; the unit is for a machine, where it is not.
mount -o remount,rw /sys 2>/dev/null || mount -o remount,bind,rw /sys
options --cache-size=256MiB
since=$(date +%s)

# The pages come with the package.
faults=$(systemd-analyze verify "$unit.service" 2>&1 | grep zarrims | grep -v "Command 'man ")
check "systemd knows all lines of the unit" "$faults" test -z "$faults"
systemctl start "$unit"
check "starts and says that it is ready" "$(journal | tail -n 5)" is SubState running
pid=$(property MainPID)
if [ "$pid" = 0 ]; then
    echo "done"
    exit
fi
first=$(sum)
size=$(stat -c %s "$mountpoint/plain.ims")
check "another user lists" "$(as_nobody ls "$mountpoint" 2>&1)" \
    test "$(as_nobody ls "$mountpoint")" = "plain.ims"
check "another user reads all bytes" "$(journal | tail -n 5)" reads_the_same
check "a file is not empty" "$size bytes" test "$size" -gt 100000
check "it shares the machine's mounts" "a namespace of its own" \
    test "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/1/ns/mnt)"
status() { awk -v "name=$1:" '$1 == name { print $2 }' "/proc/$pid/status"; }
check "it has a filter of system calls" "Seccomp: $(status Seccomp)" test "$(status Seccomp)" = 2
check "it gains no privileges" "NoNewPrivs: $(status NoNewPrivs)" test "$(status NoNewPrivs)" = 1
check "it has one capability" "CapEff: $(status CapEff)" test "$(status CapEff)" = 0000000000200000
check "nor can it have another" "CapBnd: $(status CapBnd)" test "$(status CapBnd)" = 0000000000200000
check "it is not root" "$(status Uid)" test "$(status Uid)" = "$(id -u zarrims)"
check "the cache is its own" "$(stat -c '%U %a' /var/cache/zarrims/lab)" \
    test "$(stat -c '%U %a' /var/cache/zarrims/lab)" = "zarrims 700"
window=/sys/class/bdi/$(mountpoint -d "$mountpoint")/read_ahead_kb
check "the kernel's window is widened" "$(cat "$window")" within 10 test "$(cat "$window")" = 1024
for server in smbd smb nfs-server nfs-ganesha; do
    # One that is another name is told by its own.
    name=$(systemctl show -P Id "$server.service")
    check "it starts before $server" "Before=$(property Before)" \
        grep -qw "$name" <<<"$(property Before)"
done

mount -t tmpfs disk /srv/zarr
cp -r /srv/later/. /srv/zarr/
check "a disk that comes later is served" "$(ls "$mountpoint" 2>&1)" \
    within 10 test -e "$mountpoint/later.ims"
check "and let go" "in use" within 10 umount /srv/zarr
check "what was there before is served again" "$(journal | tail -n 3)" within 10 reads_the_same

# An NFS server that is restarted with it.
nfs_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
nfs_reads() {
    [ "$(nfs-cat "nfs://127.0.0.1/ims/plain.ims?version=4&nfsport=$nfs_port&uid=0&gid=0" | sha256sum)" = "$first" ]
}
nfs_pid() { systemctl show -P MainPID nfs-ganesha; }
is_another_nfs() { [ "$(nfs_pid)" != 0 ] && [ "$(nfs_pid)" != "$nfs_first" ]; }
serve_nfs() {
    cat >/etc/ganesha/ganesha.conf <<CONF
NFS_CORE_PARAM {
    Protocols = 4; NFS_Port = $nfs_port; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
}
NFSV4 { Graceless = true; }
EXPORT {
    Export_Id = 77; Path = "$mountpoint"; Pseudo = "/ims"; Protocols = 4; Transports = TCP; SecType = sys;
    Access_Type = RO; Attr_Expiration_Time = 1; Filesystem_Id = 77.77;
    FSAL { Name = VFS; fsid_type = Major64; }
}
CONF
    mkdir -p /etc/systemd/system/nfs-ganesha.service.d
    printf '[Unit]\nPartOf=%s.service\n' "$unit" >/etc/systemd/system/nfs-ganesha.service.d/zarrims.conf
    # For older versions of NFS, and at ports of the whole machine.
    systemctl mask rpcbind.service rpcbind.socket nfs-ganesha-lock.service
    systemctl daemon-reload
    systemctl start nfs-ganesha
}
if [ -e /lib/systemd/system/nfs-ganesha.service ]; then
    check "NFS-Ganesha starts beside it" "$(journalctl -u nfs-ganesha -o cat | tail -n 3)" serve_nfs
    check "and serves it" "$(tail -n 3 /var/log/ganesha/ganesha.log)" within 30 nfs_reads
    nfs_first=$(nfs_pid)
else
    echo "SKIPPED unit: NFS-Ganesha beside it: not installed"
fi

kill -9 "$pid"
check "it is started again after kill -9" "$(property ActiveState)" \
    within 20 is NRestarts 1
check "and is ready again" "$(journal | tail -n 5)" within 20 is SubState running
check "and reads the same" "$(journal | tail -n 5)" within 20 reads_the_same
if [ -n "${nfs_first:-}" ]; then
    check "NFS-Ganesha is restarted with it" "$(journalctl -u nfs-ganesha -o cat | tail -n 3)" within 30 is_another_nfs
    check "and serves it again" "$(tail -n 3 /var/log/ganesha/ganesha.log)" within 30 nfs_reads
fi

check "it stops" "$(journal | tail -n 5)" systemctl stop "$unit"
check "nothing is left mounted" "$(grep "$mountpoint" /proc/self/mountinfo)" not mounted
check "its end is no failure" "$(property Result)" is Result success

# A mount that a killed program has left behind.
/usr/local/bin/zarrims-mount --cache-dir=/var/tmp/other /srv/zarr "$mountpoint" &
within 20 mounted
kill -9 $!
wait $!
check "a dead mount is there" "none" mounted
check "a dead mount is no hindrance" "$(journal | tail -n 5)" systemctl start "$unit"
check "and is gone" "$(journal | tail -n 5)" reads_the_same
systemctl stop "$unit"

for noise in "not mounted" "read-ahead window" "Read-only file system" "Failed to" "request failed"; do
    check "the journal does not say \"$noise\"" "$(journal | grep -F "$noise" | head -n 1)" \
        not said "$noise"
done

# A source on another machine: here, a web server of this one.
python3 -u -m http.server --bind 127.0.0.1 --directory /srv/zarr 0 >/tmp/web 2>/tmp/web.log &
web=$!
within 20 grep -q port /tmp/web
url=http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\) .*/\1/p' /tmp/web)/plain.zarr
printf 'SOURCE=%s\nMOUNTPOINT=%s\n' "$url" "$mountpoint" >/etc/zarrims/lab.env
check "it serves a web server's store" "$(journal | tail -n 3)" systemctl start "$unit"
check "and all of its bytes" "$(journal | tail -n 3)" reads_the_same
systemctl stop "$unit"
kill "$web"

# A source that is mounted when it is asked for, and unmounted when it is not for two seconds.
automount() {
    mkdir -p /srv/auto /srv/ims/auto
    chown zarrims /srv/ims/auto
    printf '[Mount]\nWhat=/srv/later\nWhere=/srv/auto\nType=none\nOptions=bind\n' \
        >/run/systemd/system/srv-auto.mount
    printf '[Automount]\nWhere=/srv/auto\nTimeoutIdleSec=2\n' >/run/systemd/system/srv-auto.automount
    printf 'SOURCE=/srv/auto\nMOUNTPOINT=/srv/ims/auto\n' >/etc/zarrims/auto.env
    systemctl daemon-reload
    systemctl start srv-auto.automount && systemctl start zarrims-mount@auto
}
if [ -e /dev/autofs ]; then
    is_idle() { [ "$(systemctl is-active srv-auto.mount)" = inactive ]; }
    check "it serves a source that is mounted on demand" "$(journalctl -u zarrims-mount@auto -o cat | tail -n 3)" \
        automount
    for round in first second; do
        check "with its files, the $round time" "$(ls /srv/ims/auto 2>&1)" \
            within 10 test -e /srv/ims/auto/later.ims
        check "and lets it be unmounted when nobody asks, the $round time" "still mounted" within 30 is_idle
    done
    systemctl stop zarrims-mount@auto srv-auto.automount
else
    echo "SKIPPED unit: a source that is mounted on demand: no /dev/autofs"
fi

options "--no-such-option"
systemctl start "$unit"
check "a wrong command line is status 2" "$(property ExecMainStatus)" is ExecMainStatus 2
check "and not tried again" "$(property ActiveState), $(property NRestarts) restarts" \
    test "$(property ActiveState) $(property NRestarts)" = "failed 0"
options --cache-size=256MiB

for filter in RestrictSUIDSGID=yes $'SystemCallFilter=~openat2\nSystemCallErrorNumber=EPERM'; do
    drop_in "$filter"$'\nRestart=no'
    since=$(date +%s)
    systemctl reset-failed "$unit"
    check "is not ready under ${filter%%$'\n'*}" "started" not systemctl start "$unit"
    check "and says why" "$(journal --since "@$since" | tail -n 3)" said "openat2 is refused"
    check "and nothing is mounted" "$(grep "$mountpoint" /proc/self/mountinfo)" not mounted
done
echo "done"
