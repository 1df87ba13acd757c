#!/usr/bin/env bash
# demo.sh "" ""            writes a sample store, mounts it, reads every level, unmounts
# demo.sh SOURCE MOUNT     mounts a folder in the foreground until Ctrl-C
#
# Leaves nothing behind, however it ends.
#
# DEMO_BIN=DIR             folder of the programs; default target/release
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${DEMO_BIN:-${CARGO_TARGET_DIR:-target}/release}
source=$1
mount=$2

if [ -n "$source" ] || [ -n "$mount" ]; then
    if [ -z "$source" ] || [ -z "$mount" ]; then
        echo "demo: give both: make demo SOURCE=/data/zarr MOUNT=/mnt/ims" >&2
        exit 2
    fi
    echo "demo: mounting $source at $mount; Ctrl-C unmounts"
    exec "$bin/zarrims-mount" "$source" "$mount"
fi

work=
daemon=
finish() {
    trap '' INT TERM HUP
    # Send one signal only: a second one makes the daemon end at once.
    local pid=${daemon:-${DAEMON_PID:-}}
    if [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null; then
        wait "$pid" || true
    fi
    if [ -z "$work" ]; then
        return
    fi
    if grep -qF " $work/ims " /proc/self/mountinfo; then
        fusermount3 -u -z "$work/ims" || umount -l "$work/ims" || true
    fi
    rm -rf --one-file-system "$work" || echo "demo: left behind: $work" >&2
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/zarrims-demo.XXXXXX")
mkdir "$work/zarr" "$work/ims"

step() { printf '\n== %s\n' "$*"; }

step "Writing a sample store of about 200 MB: three channels, 512 x 512 x 128, four levels"
time "$bin/examples/sample_store" "$work/zarr/embryo.ome.zarr"
du -sh "$work/zarr/embryo.ome.zarr"

step "Mounting it"
# In a session of its own, so that Ctrl-C reaches this script only, which then ends the daemon.
coproc DAEMON { exec setsid "$bin/zarrims-mount" "$work/zarr" "$work/ims" --cache-dir "$work/cache" 2>&1; }
daemon=$DAEMON_PID
exec 3<&"${DAEMON[0]}"
mounted=
while [ -z "$mounted" ] && read -r line <&3; do
    echo "$line"
    case $line in *mounted*) mounted=yes ;; esac
done
if [ -z "$mounted" ]; then
    echo "demo: the mount failed; see above" >&2
    exit 1
fi

ims=$work/ims/embryo.ims
step "One .ims file, at its final size, with nothing converted"
ls -l "$work/ims"

step "The tree, as the HDF5 tools see it (first lines)"
h5ls -r "$ims" >"$work/tree"
head -n 24 "$work/tree"

step "A slice of every level, first from the store, then from the cache"
"$bin/examples/read_levels" "$ims"
"$bin/examples/read_levels" "$ims"

step "The daemon and its cache now"
grep -E 'VmHWM|VmRSS' "/proc/$daemon/status"
du -sh "$work/cache"

step "Unmounting"
kill -TERM "$daemon"
while read -r line <&3; do echo "$line"; done
wait "$daemon"
daemon=

step "Next, with your own stores"
cat <<END
$bin/zarrims-mount --list /data/zarr     what would be shown, what not, and why
make demo SOURCE=/data/zarr MOUNT=/mnt/ims         mount them until Ctrl-C
README.md has the options, and says how to run it as a service and share it with Windows.
END
