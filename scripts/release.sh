#!/usr/bin/env bash
# Builds the program with libhdf5 inside: target/dist/zarrims-mount, stripped, and its symbols in zarrims-mount.debug.
set -euo pipefail
cd "$(dirname "$0")/.."

# The bundled libhdf5 needs this one (feature static-hdf5).
wanted=3.26
found=$(cmake --version 2>/dev/null | sed -n 's/^cmake version //p' || true)
if [ "$(printf '%s\n%s\n' "$wanted" "${found:-0}" | sort -V | head -n 1)" != "$wanted" ]; then
    tools=target/tools/cmake
    if [ ! -x "$tools/bin/cmake" ]; then
        echo "release: setting up CMake in $tools, as ${found:-none} is here and $wanted is needed"
        python3 -m venv --clear "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check 'cmake==3.31.*'
    fi
    PATH=$PWD/$tools/bin:$PATH
fi
# Its own folder: other features would build all other programs again.
"${CARGO:-cargo}" build --release --locked --features static-hdf5 --target-dir target/static \
    --bin zarrims-mount --example pages
built=target/static/release
if ldd "$built/zarrims-mount" | grep -q hdf5; then
    echo "release: the program needs a libhdf5 of the machine" >&2
    exit 1
fi
rm -rf target/pages
"$built/examples/pages" target/pages
mkdir -p target/dist
objcopy --only-keep-debug "$built/zarrims-mount" target/dist/zarrims-mount.debug
strip --strip-unneeded -o target/dist/zarrims-mount "$built/zarrims-mount"
(cd target/dist && objcopy --add-gnu-debuglink=zarrims-mount.debug zarrims-mount)
ls -l target/dist
