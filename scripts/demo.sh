#!/usr/bin/env bash
# demo.sh "" ""            writes a sample store, mounts it, reads every level, unmounts
# demo.sh SOURCE MOUNT     mounts a folder in the foreground until Ctrl-C
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${CARGO_TARGET_DIR:-target}/release
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

work=$(mktemp -d "${TMPDIR:-/tmp}/zarrims-demo.XXXXXX")
daemon=
finish() {
    if [ -n "$daemon" ] && kill -TERM "$daemon" 2>/dev/null; then
        wait "$daemon" || true
    fi
    rm -rf "$work"
}
trap finish EXIT
mkdir "$work/zarr" "$work/ims"

step() { printf '\n== %s\n' "$*"; }

step "Writing a sample store of about 200 MB: three channels, 512 x 512 x 128, four levels"
time "$bin/examples/sample_store" "$work/zarr/embryo.ome.zarr"
du -sh "$work/zarr/embryo.ome.zarr"

step "Mounting it"
coproc DAEMON { exec "$bin/zarrims-mount" "$work/zarr" "$work/ims" --cache-dir "$work/cache" 2>&1; }
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
echo "demo: done"
