#!/usr/bin/env bash
# install.sh install|uninstall    puts an installation below DESTDIR, or takes it away (make install, make uninstall)
#
# From the environment: BIN (the program), PAGES (what `pages` has written), PREFIX, DESTDIR, SYSCONFDIR, HELPERDIR
# (where mount(8) looks for helpers). A configuration file that is there is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
config=$dest${SYSCONFDIR:-/etc}/zarrims/config.toml
helpers=$dest${HELPERDIR:-/usr/sbin}
share=$dest$prefix/share
# Where debuggers look for symbols apart.
symbols=$dest/usr/lib/debug$prefix/bin/zarrims-mount.debug

# Lines of "MODE FROM TO".
files() {
    echo "755 $work/zarrims-mount $dest$prefix/bin/zarrims-mount"
    echo "644 $work/zarrims-mount.debug $symbols"
    echo "755 systemd/zarrims-mounts $dest$prefix/lib/zarrims/zarrims-mounts"
    echo "644 packaging/zarrims.sysusers $dest$prefix/lib/sysusers.d/zarrims.conf"
    echo "644 packaging/zarrims.tmpfiles $dest$prefix/lib/tmpfiles.d/zarrims.conf"
    local unit page document
    for unit in systemd/*.service; do
        echo "644 $work/$(basename "$unit") $dest$prefix/lib/systemd/system/$(basename "$unit")"
    done
    for page in "$PAGES"/man/*; do
        echo "644 $page $share/man/man${page##*.}/$(basename "$page")"
    done
    echo "644 $PAGES/completions/bash/zarrims-mount $share/bash-completion/completions/zarrims-mount"
    echo "644 $PAGES/completions/zsh/_zarrims-mount $share/zsh/site-functions/_zarrims-mount"
    echo "644 $PAGES/completions/fish/zarrims-mount.fish $share/fish/vendor_completions.d/zarrims-mount.fish"
    for document in README.md CHANGELOG.md LICENSE doc/*.md; do
        echo "644 $document $share/doc/zarrims/$(basename "$document")"
    done
    echo "644 $PAGES/config.toml $share/doc/zarrims/config.toml"
}

if [[ $prefix != /* ]]; then
    echo "install: PREFIX=$prefix: does not begin with /" >&2
    exit 2
fi

case ${1:-} in
install)
    if [ ! -x "$BIN" ]; then
        echo "install: BIN=$BIN: there is no such program; run \"make build\" or \"make release\" first" >&2
        exit 1
    fi
    if [ ! -d "$PAGES" ]; then
        echo "install: PAGES=$PAGES: there is no such folder; run \"make pages\" or \"make release\" first" >&2
        exit 1
    fi
    objcopy --only-keep-debug "$BIN" "$work/zarrims-mount.debug"
    strip --strip-unneeded -o "$work/zarrims-mount" "$BIN"
    (cd "$work" && objcopy --add-gnu-debuglink=zarrims-mount.debug zarrims-mount)
    for unit in systemd/*.service; do
        sed "s|/usr/local/|$prefix/|g" "$unit" >"$work/$(basename "$unit")"
    done
    files | while read -r mode from to; do
        install -D -m "$mode" "$from" "$to"
    done
    install -d "$helpers"
    ln -sf "$prefix/bin/zarrims-mount" "$helpers/mount.zarrims"
    ln -sf "$prefix/bin/zarrims-mount" "$helpers/mount.fuse.zarrims"
    [ -e "$config" ] || install -D -m 644 "$PAGES/config.toml" "$config"
    if [ -z "$dest" ]; then
        # The user of the units.
        ! command -v systemd-sysusers >/dev/null || systemd-sysusers zarrims.conf
        ! [ -d /run/systemd/system ] || systemctl daemon-reload
    fi
    ;;
uninstall)
    ! cmp -s "$config" "$share/doc/zarrims/config.toml" || rm -f "$config"
    files | while read -r _ _ to; do
        rm -f "$to"
    done
    # Where the pages that were installed are not at hand any more.
    rm -f "$share"/man/man1/zarrims-mount*.1 "$share/man/man5/zarrims.toml.5" "$share"/man/man8/mount.*zarrims.8
    rm -f "$helpers/mount.zarrims" "$helpers/mount.fuse.zarrims"
    rmdir --ignore-fail-on-non-empty "$dest$prefix/lib/zarrims" "$share/doc/zarrims" "$(dirname "$config")" 2>/dev/null || true
    [ ! -e "$config" ] || echo "uninstall: left as it is: $config"
    ;;
*)
    echo "usage: install.sh install|uninstall" >&2
    exit 2
    ;;
esac
