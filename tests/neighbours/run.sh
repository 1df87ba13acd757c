#!/usr/bin/env bash
# run.sh [BINARY [CHECK...]]    puts BINARY beside what it meets on a server: systemd, smbd, NFS-Ganesha, nginx, servers
#                               of objects
#
# Sets up what it needs (scripts/setup-neighbours.sh). Everything runs on loopback, on free ports, with configurations
# of its own in a temporary folder, and as root, without which all is skipped. Checks are: unit, package, opens, handles, samba, ganesha,
# remote; default all. `speed` measures the throughput of shares, and is not one of them.
# The last line is "N passed, N failed, N skipped"; the status is 0 if nothing failed.
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
target=${CARGO_TARGET_DIR:-$root/target}
bin=$(realpath -m "${1:-$target/release/zarrims-mount}")
shift || true
checks=("$@")
[ "${#checks[@]}" -gt 0 ] || checks=(unit package opens handles samba ganesha remote)
limit=600 # seconds for all programs in Python together

subject=neighbours
# shellcheck source=tests/functions.sh
. "$root/tests/functions.sh"

skip_all() {
    echo "SKIPPED neighbours: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit
}
need_program
[ "$(id -u)" -eq 0 ] || skip_all "they need root: sudo make neighbours"
[ -e /dev/fuse ] || skip_all "there is no /dev/fuse"
"$root/scripts/setup-neighbours.sh" >&2

work=$(mktemp -d "${TMPDIR:-/tmp}/zarrims-neighbours.XXXXXX")
finish() {
    unmount_below "$work"
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
# Other users read what is below.
chmod 755 "$work"

export PYTHONPATH=$root/tests PYTHONDONTWRITEBYTECODE=1
export PATH=$PATH:$target/neighbours/azurite/node_modules/.bin
python=$target/neighbours/venv/bin/python
others=()
for check in "${checks[@]}"; do
    [[ $check == unit || $check == package ]] || others+=("$check")
done
{
    if [ "${#others[@]}" -lt "${#checks[@]}" ]; then
        "$python" -c 'if True:
            import sys
            from pathlib import Path
            from neighbours.store import Store
            Store(Path(sys.argv[1], "stores", "plain.zarr"))
            Store(Path(sys.argv[1], "later", "later.zarr"))' "$work"
    fi
    for check in unit package; do
        [[ " ${checks[*]} " != *" $check "* ]] || "$here/$check.sh" "$bin" "$work" || echo "FAILED $check: status $?"
    done
    if [ "${#others[@]}" -gt 0 ]; then
        timeout --kill-after=30 "$limit" "$python" -m neighbours "$bin" "$work" "${others[@]}" ||
            [ "$?" -eq 1 ] || echo "FAILED neighbours: not done within $limit seconds, or stopped"
    fi
} | tee "$work/results"
count() { grep -c "^$1 " "$work/results" || true; }
echo "$(count ok) passed, $(count FAILED) failed, $(count SKIPPED) skipped"
[ "$(count FAILED)" -eq 0 ]
