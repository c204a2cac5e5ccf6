# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What a command line test needs. A test starts with
#
#   . "$(dirname "$0")/../lib/cli.sh"
#
# and then says what it does in t_ words. It stops at the first thing that is not as said, with the last command's
# output. Facts:
#   - $T is a fresh folder, the test's own; scripts/test makes and removes it. Run by hand, a test makes one itself.
#   - BLKREP is the program; BLKREP_STATE, BLKREP_CONFIG and HOME lie in $T. `blkrep` as first word means $BLKREP.
#   - Nothing waits without a bound, and what t_background started is killed when the test ends.
#   - Sizes are IEC: 4096, 64K, 3M, 1G.
set -euo pipefail

T_TOP=${T_TOP:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
T_RUN_LIMIT=${T_RUN_LIMIT:-60} # seconds for one t_run
T_STATUS=                      # exit status of the last t_run
T_PID=                         # process of the last t_background
t_pids=()
t_last='(nothing was run)'
t_own=

if [[ -z ${T:-} ]]; then
    t_own=1
    T=$(mktemp -d "${TMPDIR:-/tmp}/blkrep-t.XXXXXX")
    mkdir -p "$T/home" "$T/tmp" "$T/run"
    chmod 700 "$T/run"
    : >"$T/blkrep.conf"
    export T HOME=$T/home TMPDIR=$T/tmp XDG_RUNTIME_DIR=$T/run BLKREP_STATE=$T/state BLKREP_CONFIG=$T/blkrep.conf
    export LC_ALL=C.UTF-8 BLKREP=${BLKREP:-$T_TOP/build/blkrep}
    unset BLKREP_PASSPHRASE XDG_STATE_HOME XDG_CONFIG_HOME
fi
: >"$T/out" && : >"$T/err"

# t_own_child PID: runs, and is a child of this test; the number of one that ended may be another test's by now
t_own_child() { grep -q "^[0-9]* (.*) [^Z] $$ " "/proc/$1/stat" 2>/dev/null; }

# shellcheck disable=SC2317 # called by the trap
t_at_exit() {
    local rc=$? pid i
    trap - EXIT
    for pid in "${t_pids[@]}"; do ! t_own_child "$pid" || kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${t_pids[@]}"; do
        for ((i = 0; i < 40; i++)); do
            t_own_child "$pid" || break
            sleep 0.05
        done
        ! t_own_child "$pid" || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [[ -n $t_own ]]; then
        [[ $rc -ne 0 ]] || echo "ok"
        rm -rf "$T"
    fi
    exit "$rc"
}
trap t_at_exit EXIT
trap 'exit 143' TERM INT
trap 't_where $LINENO' ERR

# shellcheck disable=SC2317 # called by the trap
t_where() { echo "FAIL: ${BASH_SOURCE[1]}:$1: a command failed: ${BASH_COMMAND}" >&2; }

# t_fail MESSAGE: ends the test as failed, showing the last command and what it said
t_fail() {
    trap - ERR
    local depth=1
    while [[ ${BASH_SOURCE[$depth]:-} == "${BASH_SOURCE[0]}" ]]; do depth=$((depth + 1)); done
    {
        echo "FAIL: ${BASH_SOURCE[$depth]:-}:${BASH_LINENO[$((depth - 1))]}: $1"
        echo "  command: $t_last"
        echo "  status:  ${T_STATUS:-none}"
        echo "  stdout:" && tail -n 20 "$T/out" | sed 's/^/    /'
        echo "  stderr:" && tail -n 20 "$T/err" | sed 's/^/    /'
    } >&2
    exit 1
}

# t_skip REASON: ends the test as skipped
t_skip() {
    echo "$1"
    exit 77
}

# t_need PROGRAM...: skips the test where a program is missing
t_need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || t_skip "$program is not installed"
    done
}

# t_run COMMAND ARGS...: runs it with a time limit; its output goes to $T/out and $T/err, its status to T_STATUS
t_run() {
    [[ $1 != blkrep ]] || set -- "$BLKREP" "${@:2}"
    t_last=$(printf '%q ' "$@")
    T_STATUS=0
    timeout --foreground -k 5 "$T_RUN_LIMIT" "$@" >"$T/out" 2>"$T/err" </dev/null || T_STATUS=$?
    [[ $T_STATUS -ne 124 ]] || t_fail "took longer than $T_RUN_LIMIT s"
}

# t_run_in FILE COMMAND ARGS...: t_run with standard input from FILE
t_run_in() {
    local input=$1
    shift
    [[ $1 != blkrep ]] || set -- "$BLKREP" "${@:2}"
    t_last="$(printf '%q ' "$@") < $input"
    T_STATUS=0
    timeout --foreground -k 5 "$T_RUN_LIMIT" "$@" >"$T/out" 2>"$T/err" <"$input" || T_STATUS=$?
    [[ $T_STATUS -ne 124 ]] || t_fail "took longer than $T_RUN_LIMIT s"
}

# t_ok COMMAND ARGS...: t_run, and it must exit 0
t_ok() { t_run "$@" && t_status 0; }

# t_status N: the last t_run ended with exit status N
t_status() { [[ $T_STATUS == "$1" ]] || t_fail "exit status $T_STATUS instead of $1"; }

# what the last t_run said: a fixed string that is there, or not, or all of it
t_stdout_has() { grep -qF -e "$1" "$T/out" || t_fail "stdout lacks: $1"; }
t_stderr_has() { grep -qF -e "$1" "$T/err" || t_fail "stderr lacks: $1"; }
t_stdout_lacks() { ! grep -qF -e "$1" "$T/out" || t_fail "stdout has: $1"; }
t_stderr_lacks() { ! grep -qF -e "$1" "$T/err" || t_fail "stderr has: $1"; }
t_stdout_is() { [[ $(cat "$T/out") == "$1" ]] || t_fail "stdout is not: $1"; }
t_stdout_empty() { [[ ! -s $T/out ]] || t_fail "stdout is not empty"; }

# t_json KEY: prints a value of the exit object, the last line of the last t_run's standard output.
# KEY is a jq path with or without its dot: bytes_shipped, .error.code
t_json() {
    tail -n 1 "$T/out" | jq -er ".${1#.} | if . == null then error(\"no such key\") else . end | tostring" 2>/dev/null ||
        t_fail "the exit object has no $1"
}

# t_json_is KEY VALUE: the exit object's KEY is VALUE
t_json_is() {
    local value
    value=$(t_json "$1") || exit 1
    [[ $value == "$2" ]] || t_fail "$1 is $value instead of $2"
}

# t_le LEFT RIGHT WHAT: LEFT is at most RIGHT
t_le() { [[ $1 -le $2 ]] || t_fail "$3: $1 is more than $2"; }

t_bytes() { numfmt --from=iec "$1"; }

# t_file_equal A B: same bytes, same size
t_file_equal() { cmp -- "$1" "$2" >&2 || t_fail "$1 and $2 differ"; }

# t_file_differs A B
t_file_differs() { ! cmp -s -- "$1" "$2" || t_fail "$1 and $2 are the same"; }

t_stream() { # t_stream BYTES SEED: the same bytes for the same seed, incompressible
    { head -c "$1" /dev/zero || true; } | openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' "$2")" -iv "$(printf '%032x' 0)"
}

# t_random FILE SIZE SEED: makes FILE of SIZE deterministic, incompressible bytes
t_random() { t_stream "$(t_bytes "$2")" "$3" >"$1"; }

# t_random_at FILE OFFSET SIZE SEED: overwrites a range of FILE with them
t_random_at() {
    t_stream "$(t_bytes "$3")" "$4" |
        dd of="$1" bs=1M seek="$(t_bytes "$2")" oflag=seek_bytes iflag=fullblock conv=notrunc status=none
}

# t_hole FILE SIZE: makes FILE of SIZE zeros that take no space
t_hole() { rm -f -- "$1" && truncate -s "$(t_bytes "$2")" -- "$1"; }

# t_mkfs_image FILE SIZE [FOLDER]: an ext4 image, the same bytes each time, holding FOLDER's files; needs no root
t_mkfs_image() {
    PATH=$PATH:/usr/sbin:/sbin t_need mkfs.ext4
    t_hole "$1" "$2"
    SOURCE_DATE_EPOCH=1 PATH=$PATH:/usr/sbin:/sbin E2FSPROGS_FAKE_TIME=1 mkfs.ext4 -q -F \
        -U 00000000-0000-4000-8000-000000000001 -E hash_seed=00000000-0000-4000-8000-000000000002,lazy_itable_init=0 \
        ${3:+-d "$3"} "$1" >&2
}

# t_wait_for SECONDS COMMAND ARGS...: until COMMAND succeeds, or the test fails after SECONDS
t_wait_for() {
    local limit=$1 end=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || t_fail "waited $limit s in vain for: $*"
        sleep 0.05
    done
}

# t_background NAME COMMAND ARGS...: starts it; output to $T/NAME.out and .err, process to T_PID; killed at the test's end
t_background() {
    local name=$1
    shift
    [[ $1 != blkrep ]] || set -- "$BLKREP" "${@:2}"
    "$@" >"$T/$name.out" 2>"$T/$name.err" </dev/null &
    T_PID=$!
    t_pids+=("$T_PID")
}

# t_alive PID: still runs (a zombie does not)
t_alive() { grep -qs '^[0-9]* (.*) [^ZX]' "/proc/$1/stat"; }

# t_end PID [SIGNAL [SECONDS]]: sends SIGNAL (TERM), waits at most SECONDS (10) for the end, leaves the status in T_STATUS
t_end() {
    local i
    ! t_own_child "$1" || kill "-${2:-TERM}" "$1" 2>/dev/null || true
    for ((i = 0; i < ${3:-10} * 20; i++)); do
        t_alive "$1" || break
        sleep 0.05
    done
    ! t_alive "$1" || t_fail "process $1 did not end within ${3:-10} s of signal ${2:-TERM}"
    T_STATUS=0
    wait "$1" 2>/dev/null || T_STATUS=$?
}

# t_listening PORT: somebody listens there (read from the kernel's table: no connection is made)
t_listening() {
    local port
    port=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$port" \
        'BEGIN { rc = 1 } $4 == "0A" { n = split($2, a, ":"); if (a[n] == port) rc = 0 } END { exit rc }'
}

# t_free_port: prints a loopback port that nobody has; below the range from which the kernel takes ports of its own
t_free_port() {
    local try port
    for ((try = 0; try < 100; try++)); do
        port=$((20000 + (BASHPID * 31 + RANDOM) % 12000))
        if ! grep -qi ":$(printf '%04X' "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    t_fail "no free port found"
}
