#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]    runs each fuzz target for SECONDS (default 60, all targets)
#
# Installs what it needs. The last lines give the number of executions of each target. The exit status is 0 if
# no target failed. Failing inputs are kept in fuzz/artifacts/TARGET.
#
# FUZZ_SEED=N    make the same random choices as an earlier run, as far as time allows
set -euo pipefail
export LC_ALL=C.UTF-8

cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
    targets=(ome zarr zip journal extents by_hand shared_object)
fi

say() { echo "fuzz: $*" >&2; }

tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
export PATH=$tools/bin:$PATH
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz in $tools"
    cargo install --quiet --locked --root "$tools" cargo-fuzz
fi

# Sanitizers need the nightly compiler. They would help in the C libraries below only: the rest is safe Rust,
# except for the calls of HDF5.
build=(--sanitizer none --release --debug-assertions --codegen-units 16)
cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml
cargo fuzz build "${build[@]}"

# Each input becomes a few small files. Keep them in memory if possible.
work=
for place in /dev/shm "${TMPDIR:-/tmp}"; do
    work=$(mktemp -d "$place/zarrims-fuzz.XXXXXX" 2>/dev/null) && break
done
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/tmp"

status=0
summary=()
for target in "${targets[@]}"; do
    # Never 0: libFuzzer would then choose a seed that the summary does not know.
    seed=${FUZZ_SEED:-$((1 + RANDOM * 32768 + RANDOM))}
    echo "fuzz: $target for $seconds s with -seed=$seed"
    mkdir "$work/corpus"
    cp "fuzz/corpus/$target"/* "$work/corpus/"
    options=(-seed="$seed" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024
        -print_final_stats=1)
    if [ -e "fuzz/$target.dict" ]; then
        options+=(-dict="fuzz/$target.dict")
    fi
    verdict=ok
    if ! TMPDIR=$work/tmp cargo fuzz run "${build[@]}" "$target" "$work/corpus" -- "${options[@]}" \
        >"$work/log" 2>&1; then
        status=1
        tail -n 60 "$work/log"
        found=$(sed -n 's/.*Test unit written to //p' "$work/log" | tail -n 1)
        verdict="FAILED: ${found:-no input was kept}"
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
    summary+=("fuzz: $target: ${executions:-?} executions, seed $seed: $verdict")
    rm -rf "$work/corpus" "$work/tmp"/*
done
printf '%s\n' "${summary[@]}"
exit "$status"
