#!/usr/bin/env bash
# Prints what `make test` will cost and install.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}

# The setup scripts list what they look for in tables: [program]=package.
missing=()
while IFS='=' read -r program package; do
    command -v "$program" >/dev/null || missing+=("$package")
done < <(sed -n 's/^    \[\(.*\)\]=\([a-z0-9.+-]*\)$/\1=\2/p' scripts/setup.sh \
    scripts/setup-neighbours.sh tests/conformance/run.sh)
pkg-config --exists hdf5 2>/dev/null || missing+=(libhdf5-dev)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
mapfile -t missing < <(printf '%s\n' ${missing[@]+"${missing[@]}"} | sort -u)

cat <<END
test: takes about 45 minutes on two cores, and 16 GB below $target and fuzz/target.
test: needs the network for what is not there yet:
test:   below $target: cargo-fuzz, cargo-deb (tools), Python packages, Bio-Formats, Azurite (for the other tests);
test:   in Cargo's own folder, as always: the sources of Rust packages;
test:   by apt-get, for the whole machine: ${missing[*]:-nothing}.
test: mounts and temporary files are below ${TMPDIR:-/tmp} and go away. Ctrl-C stops it.
END
