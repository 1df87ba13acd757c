#!/usr/bin/env bash
# Installs what building, mounting and the demo need, if it is missing. Prints the commands if it lacks permission.
set -euo pipefail

# command whose presence shows that a package is installed -> package
declare -A wanted=(
    [cc]=build-essential
    [pkg-config]=pkg-config
    [h5ls]=hdf5-tools
    [fusermount3]=fuse3
    [zstd]=zstd
    [setpriv]=util-linux
)

missing=()
for program in "${!wanted[@]}"; do
    command -v "$program" >/dev/null || missing+=("${wanted[$program]}")
done
if ! command -v pkg-config >/dev/null || ! pkg-config --exists hdf5; then
    missing+=(libhdf5-dev)
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi

if [ "${#missing[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install by hand what Debian calls: ${missing[*]}" >&2
        exit 1
    fi
    if [ "${#as_root[@]}" -gt 0 ] && ! sudo -n true 2>/dev/null && [ ! -t 0 ]; then
        echo "setup: not root; please run: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "${missing[@]}" >/dev/null
fi

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
version=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
if [ -z "$version" ] || [ "$(printf '%s\n%s\n' "$minimum" "$version" | sort -V | head -n1)" != "$minimum" ]; then
    echo "setup: Rust $minimum or newer is needed, found ${version:-none}." >&2
    echo "setup: install rustup (Debian 13, Ubuntu 24.04: apt-get install rustup; else https://rustup.rs)," >&2
    echo "setup: then run: rustup default stable" >&2
    exit 1
fi

if [ ! -e /dev/fuse ]; then
    echo "setup: /dev/fuse is missing: run \"sudo modprobe fuse\", or start the container with" >&2
    echo "setup: --device /dev/fuse --cap-add SYS_ADMIN. Everything else works without it." >&2
fi
