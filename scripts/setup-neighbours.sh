#!/usr/bin/env bash
# Installs the servers and clients of `make neighbours`, if they are missing. Runs as root. Debian packages are
# installed without starting or enabling their services; Python packages go to target/neighbours/venv, those of Node.js,
# where there is npm, to target/neighbours/azurite.
set -euo pipefail

root=$(realpath "$(dirname "$0")/..")
target=${CARGO_TARGET_DIR:-$root/target}
requirements=$root/tests/neighbours/requirements.txt
venv=$target/neighbours/venv
export PATH=$PATH:/usr/sbin:/sbin

# command whose presence shows that a package is installed -> package
declare -A wanted=(
    [smbd]=samba
    [smbclient]=smbclient
    [ganesha.nfsd]=nfs-ganesha
    [nfs-cat]=libnfs-utils
    [nginx]=nginx-light
    [systemd-nspawn]=systemd-container
)

missing=()
for shown_by in "${!wanted[@]}"; do
    command -v "$shown_by" >/dev/null || missing+=("${wanted[$shown_by]}")
done
compgen -G '/usr/lib/*/ganesha/libfsalvfs.so' >/dev/null || missing+=(nfs-ganesha-vfs)
compgen -G '/usr/lib/*/samba/vfs/offline.so' >/dev/null || missing+=(samba-vfs-modules)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup-neighbours: please install, as root, what Debian calls: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup-neighbours: installing ${missing[*]}"
    policy=/usr/sbin/policy-rc.d
    units() { find /lib/systemd/system /usr/lib/systemd/system -maxdepth 1 -name '*.service' -printf '%f\n' | sort -u; }
    before=$(units)
    if [ ! -e "$policy" ]; then
        # Package scripts ask this program before they start a service (invoke-rc.d(8)).
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    comm -13 <(echo "$before") <(units) | grep -v @ | xargs -r systemctl --quiet disable 2>/dev/null || true
fi

if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    echo "setup-neighbours: installing a client in Python"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi

# The emulator of Azure's makers. Nothing else needs Node.js, so it is not installed for this alone.
azurite=$target/neighbours/azurite
version=3.35.0
if command -v npm >/dev/null && [ "$(cat "$azurite/version" 2>/dev/null)" != "$version" ]; then
    echo "setup-neighbours: installing Azurite"
    mkdir -p "$azurite"
    if npm install --silent --no-fund --no-audit --cache "$azurite/cache" --prefix "$azurite" "azurite@$version" >&2; then
        echo "$version" >"$azurite/version"
    fi
    rm -rf "$azurite/cache"
fi
