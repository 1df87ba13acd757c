#!/usr/bin/env bash
# Makes a package for Debian and Ubuntu in OUT, which is target/dist. BIN and PAGES are
# those of `make release` unless they are given.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
if ! command -v cargo-deb >/dev/null; then
    echo "deb: installing cargo-deb in $tools"
    cargo install --locked --quiet cargo-deb --root "$tools"
fi
# What is packed is what `make install` installs, but symbols, which are beside the package.
stage=target/stage
rm -rf "$stage"
BIN=${BIN:-target/static/release/zarrims-mount} PAGES=${PAGES:-target/pages} PREFIX=/usr DESTDIR=$PWD/$stage \
    scripts/install.sh install
gzip -9n "$stage"/usr/share/man/man*/*
# The package has it as its copyright.
rm "$stage/usr/share/doc/zarrims/LICENSE"
out=${OUT:-target/dist}
mkdir -p "$out"
cp "$stage/usr/lib/debug/usr/bin/zarrims-mount.debug" "$out/"
rm -rf "$stage/usr/lib/debug"
cargo deb --no-build --no-strip --output "$out/"
