#!/usr/bin/env bash
# run.sh [BINARY]    lets third-party libraries, in their newest releases, write stores, shows these through a mount
#                    of BINARY, and compares the files with what the libraries read
#
# Sets up what it needs: each `by_NAME.py` names its packages, and gets them in an environment of its own, so that no
# library holds another one back. A library that cannot be installed or imported, and a store that it no longer writes
# in the way the script asks for, is SKIPPED with the reason; check.py says how many must be left.
# The last line is "N passed, N failed, N skipped"; the status is 0 if nothing failed.
#
# WRITERS="zarr iohub"      only these
# WRITERS_DIR=DIR           where packages are kept; default target/writers
# WRITERS_KEEP=DIR          stores and truth are written there, and stay
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
target=${CARGO_TARGET_DIR:-$root/target}
bin=$(realpath -m "${1:-$target/release/zarrims-mount}")
kept=$(realpath -m "${WRITERS_DIR:-$target/writers}")
uv_version=0.13.9 # pinned: it is a tool, not what is tested
limit=300         # seconds for one library, its installation included

subject=writers
# shellcheck source=tests/functions.sh
. "$root/tests/functions.sh"
need_program

# Set-up -----------------------------------------------------------------------------------------------

# Prints the newest Python of this machine: releases for older ones are not the newest. pyenv puts programs into the
# path of which not all run, hence its folder, and the trial.
newest_python() {
    local minor each
    for minor in 14 13 12 11; do
        for each in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python3; do
            # Debian has the module venv without ensurepip, which it needs.
            "$each" -c 'import ensurepip, lzma, ssl, sys, venv; print(sys.executable)' 2>/dev/null && return
        done
    done
    return 1
}
if ! python=$(newest_python) && command -v apt-get >/dev/null; then
    install_packages python3-venv
    python=$(newest_python) || true
fi
if [ -z "$python" ]; then
    say "Python 3.11 or newer is needed, with its module venv"
    exit 2
fi

# pip takes ten minutes to find versions that fit each other, uv some seconds.
mkdir -p "$kept"
uv=$kept/uv-$uv_version/bin/uv
if [ ! -x "$uv" ]; then
    say "installing uv"
    "$python" -m venv --clear "$kept/uv-$uv_version"
    "$kept/uv-$uv_version/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"
fi
export UV_CACHE_DIR=$kept/cache UV_PYTHON_DOWNLOADS=never PYTHONPYCACHEPREFIX=$kept/bytecode
# uv takes what is installed, if that fits, unless it is to upgrade.
releases=--upgrade
if ! timeout 60 "$uv" pip compile --quiet --refresh --no-deps --python "$python" - <<<zarr >/dev/null 2>&1; then
    say "no registry of packages answers: the releases that are installed are used"
    releases=--offline
fi
script() {
    timeout --kill-after=10 "$limit" "$uv" run --quiet "$releases" --no-project --python "$python" --script "$@"
}

# Run --------------------------------------------------------------------------------------------------

begin
out=${WRITERS_KEEP:-$work/out}
rm -rf "$out/stores" "$out/truth"
mkdir -p "$out/stores" "$out/truth"
for file in "$here"/by_*.py; do
    name=$(basename "$file" .py)
    name=${name#by_}
    if [ -n "${WRITERS:-}" ] && [[ " $WRITERS " != *" $name "* ]]; then
        continue
    fi
    say "$name"
    mkdir "$out/stores/$name" "$out/truth/$name"
    status=0
    in_background script "$file" "$out/stores/$name" "$out/truth/$name" \
        >"$out/truth/$name/output" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        rm -f "$out/truth/$name/truth.json"
        if is_timeout "$status"; then
            echo "not done within $limit seconds" >"$out/truth/$name/reason"
        else
            # The last line of a traceback, or of what uv says.
            awk 'NF { last = $0 } END { print last }' "$out/truth/$name/output" >"$out/truth/$name/reason"
        fi
    fi
done

"$bin" --list --json --labels files "$out/stores" >"$work/list.json"
serve mount "$out/stores" --labels files

status=0
in_background script "$here/check.py" --truth "$out/truth" --mount "$work/mount" --list "$work/list.json" \
    ${WRITERS:+--some} >"$work/results" || status=$?
if is_timeout "$status"; then
    say "not done within $limit seconds"
fi
take_results
exit "$status"
