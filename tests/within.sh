# shellcheck shell=bash
# Waits up to SECONDS until a command succeeds. Sourced by the scripts of the tests.
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
