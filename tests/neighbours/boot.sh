# shellcheck shell=bash disable=SC2154
# Functions of checks that need a systemd that is PID 1: it boots in a container on an overlay of this machine's root.

# overlay NAME FOLDER    mounts the overlay at FOLDER/root, until the shell ends; says SKIPPED and fails if it cannot
overlay() {
    root=$2/root
    mkdir -p "$2/upper" "$2/inner" "$root"
    if ! mount -t overlay overlay -o "lowerdir=/,upperdir=$2/upper,workdir=$2/inner" "$root" 2>"$2/why"; then
        echo "SKIPPED $1: no overlay of this machine's root: $(head -n 1 "$2/why")"
        return 1
    fi
    trap 'umount -l "$root"' EXIT
    # The overlay shows what an installation on this machine may have left.
    rm -rf "$root/var/cache/zarrims" "$root/etc/zarrims" "$root"/etc/systemd/system/zarrims*
}

# boot NAME FOLDER SCRIPT    boots it, runs SCRIPT there, and prints the lines it has written to /result
boot() {
    install "$3" "$root/usr/local/bin/inside"
    install -D -m 644 "$here/../functions.sh" "$root/usr/local/lib/functions.sh"
    cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=150
ExecStart=/usr/local/bin/inside
ExecStopPost=/usr/bin/systemctl poweroff --force
UNIT
    cat >"$root/etc/systemd/system/inside.target" <<'UNIT'
[Unit]
Requires=inside.service basic.target
After=basic.target
AllowIsolate=yes
UNIT
    local bind=()
    [ ! -e /dev/autofs ] || bind=(--bind=/dev/autofs)
    timeout --kill-after=10 180 systemd-nspawn --quiet --boot --directory "$root" --capability=all "${bind[@]}" \
        --system-call-filter='open_by_handle_at name_to_handle_at' --property=DeviceAllow='/dev/fuse rw' \
        --register=no --keep-unit --console=pipe \
        -- systemd.unit=inside.target >"$2/boot.log" 2>&1 </dev/null || true
    if [ -s "$root/result" ]; then
        cat "$root/result"
        grep -q '^done$' "$root/result" || echo "FAILED $1: it did not come to the end"
        ! grep -q '^FAILED' "$root/result" || tail -n 20 "$root/noise" >&2
    else
        echo "FAILED $1: systemd did not boot: $(tail -n 1 "$2/boot.log")"
    fi | grep -v '^done$'
}
