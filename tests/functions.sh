# shellcheck shell=bash disable=SC2154
# Functions of the test scripts, which source this file. $subject is the name of a script in messages, $bin the program
# that it tests.
#
# Scripts that test one mount call `begin`, `serve` and `in_background`; these use the folder $work, in which everything
# of a run lies. What a run has started is stopped at its end: $servers are processes that the daemons read from.

say() { echo "$subject: $*" >&2; }

# Waits up to SECONDS until a command succeeds.
within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

ended() { ! kill -0 "$1" 2>/dev/null; } # PROCESS

# Stops a process, by force after SECONDS.
stop() { # SECONDS PROCESS
    ended "$2" && return
    kill -TERM "$2" 2>/dev/null || true
    within "$1" ended "$2" || kill -KILL "$2" 2>/dev/null || true
}

# Not by looking at the folder: where the program is dead, that is an error.
is_mounted() { grep -qF " $1 " /proc/self/mountinfo; } # FOLDER

unmount_below() { # FOLDER
    local left
    awk -v below="$1/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r left; do
            umount -l "$left" 2>/dev/null || fusermount3 -u -z "$left" || true
        done
}

need_program() {
    if [ ! -x "$bin" ]; then
        say "no program $bin"
        exit 2
    fi
}

install_packages() { # PACKAGE...
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Begins a run: makes $work. At its end, $summary is the last line that is printed.
begin() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/zarrims-$subject.XXXXXX")
    servers=()
    daemons=()
    part=
    summary=
    trap finish EXIT
    trap 'exit 130' INT TERM
}

finish() {
    local status=$?
    trap '' INT TERM
    local program log
    # Servers after the daemons that read from them.
    for program in $part "${daemons[@]}" "${servers[@]}"; do
        stop 15 "$program"
    done
    unmount_below "$work"
    if [ "$status" -ne 0 ]; then
        for log in "$work"/*.log; do
            [ -s "$log" ] || continue
            say "the end of $(basename "$log"):"
            tail -n 40 "$log" >&2
        done
    fi
    rm -rf --one-file-system "$work" || say "left behind: $work"
    if [ -n "$summary" ]; then
        echo "$summary"
    fi
    exit "$status"
}

# Runs a command. A shell that waits in this way hears signals at once.
in_background() { # COMMAND...
    "$@" &
    part=$!
    local status=0
    wait "$part" || status=$?
    part=
    return "$status"
}

is_timeout() { [ "$1" -eq 124 ] || [ "$1" -eq 137 ]; } # STATUS of timeout(1)

# Shows a source at $work/NAME, and waits for it.
serve() { # NAME SOURCE OPTION...
    local mount=$work/$1
    mkdir "$mount"
    "$bin" "$2" "$mount" "${@:3}" --cache-dir "$mount.cache" --cache-size 1GiB 2>"$mount.log" &
    daemons+=("$!")
    is_served() { is_mounted "$mount" || ended "${daemons[-1]}"; }
    if ! within 30 is_served || ! is_mounted "$mount"; then
        say "no mount of $2"
        exit 1
    fi
}

# Prints $work/results but for its last line, the counts: these come last, after all that stopping may say.
take_results() {
    summary=$(sed -n '$p' "$work/results")
    sed '$d' "$work/results"
}
