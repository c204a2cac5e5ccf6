# shellcheck shell=bash disable=SC2034 # t_last is cli.sh's
# SPDX-License-Identifier: Apache-2.0
# kill -9 swept over the system calls of a sync. Source it after cli.sh and ends.sh. What is expected after each kill: status works; the
# replica is exactly the old or the new version, or says that it is in transition and `blkrep finish` makes it the new one without the
# source; the next sync ends equal.

# t_kill_memory: works in memory, where a hundred crashes cost seconds: K is a folder there
t_kill_memory() {
    K=$T
    if [[ -d /dev/shm && -w /dev/shm ]]; then
        K=$(mktemp -d /dev/shm/blkrep-t.XXXXXX)
        t_undo+=("rm -rf $(printf %q "$K")")
        export BLKREP_STATE=$K/state
    fi
}

# t_kill_can: builds the program that kills at a system call, $T/kill_at; fails where processes can't be traced, nor those of sanitizers
t_kill_can() {
    t_need cc
    cc -O1 -o "$T/kill_at" "$T_TOP/tests/cli/kill_at_syscall.c" || t_fail "kill_at_syscall.c does not compile"
    "$T/kill_at" "$T/count" 0 "$BLKREP" --version >/dev/null
}

# t_kill_setup: both, or the test is skipped
t_kill_setup() {
    t_kill_memory
    t_kill_can || t_skip "processes can't be traced here"
    declare -gA t_seen=() # how often each state was found after a kill
}

# t_kill_delta SEED: makes the next version of the source: 16 pages all over it, and some zeros
t_kill_delta() {
    local i
    for ((i = 0; i < 16; i++)); do t_stream 4096 $(($1 * 100 + i)) | dd of="$K/a" bs=4096 seek=$((i * 15)) conv=notrunc status=none; done
    dd if=/dev/zero of="$K/a" bs=4096 seek=$(($1 % 240)) count=1 conv=notrunc status=none
}

# t_kill_check WHERE: the promise, after a kill; $K/old and $K/a are the versions before and after
t_kill_check() {
    local state
    T_STATUS=0
    "$BLKREP" status --json "$K/b" >"$T/out" 2>"$T/err" || T_STATUS=$?
    t_last="status after a kill at $1"
    t_status 0
    state=$(jq -r 'select(.type == "replica" and .replica == $r) | .state' --arg r "$K/b" "$T/out")
    t_seen[$state]=$((${t_seen[$state]:-0} + 1))
    case $state in
    applying | replacing)
        if [[ $state == applying ]]; then
            t_run blkrep verify "$K/b" # nobody takes it for a version
            t_status 3
            t_stderr_has "blkrep finish"
        fi
        mv "$K/a" "$K/a.away"
        t_ok blkrep finish "$K/b"
        mv "$K/a.away" "$K/a"
        t_file_equal "$K/a" "$K/b"
        ;;
    complete)
        cmp -s "$K/old" "$K/b" || cmp -s "$K/a" "$K/b" || t_fail "after a kill at $1 the replica is a mix and says complete"
        ;;
    incomplete | none) ;; # only a first copy; its caller counts them
    *) t_fail "after a kill at $1 the state is $state" ;;
    esac
}

# t_kill_at N OPTIONS...: one sync killed at its N-th changing call; T_STATUS 137 when it was, 0 when it ended before
t_kill_at() {
    local at=$1
    shift
    T_STATUS=0
    timeout -k 5 60 "$T/kill_at" "$T/count" "$at" "$BLKREP" sync "$@" "$K/a" "$K/b" >"$T/out" 2>"$T/err" </dev/null || T_STATUS=$?
    t_last="sync $* killed at $at"
    [[ $T_STATUS -eq 137 || $T_STATUS -eq 0 ]] || t_fail "a sync killed at call $at ended by itself"
}

# t_kill_calls OPTIONS...: T_CALLS is how many changing calls a whole sync makes
t_kill_calls() {
    t_kill_at 0 "$@"
    t_status 0
    T_CALLS=$(cat "$T/count")
}

# t_kill_sweep STEP TAIL_STEP OPTIONS...: deltas killed at every STEP-th call, in the last half at every TAIL_STEP-th
t_kill_sweep() {
    local step=$1 tail_step=$2 at=1 round=1
    shift 2
    t_random "$K/a" 1M 1
    rm -rf "$K/b" "$K/b.blkrep"
    t_ok blkrep sync "$K/a" "$K/b"
    t_kill_delta 1
    t_kill_calls "$@"
    while [[ $at -le $T_CALLS ]]; do
        cp "$K/b" "$K/old"
        round=$((round + 1))
        t_kill_delta "$round"
        t_kill_at "$at" "$@"
        t_kill_check "call $at of $T_CALLS, $*"
        t_ok blkrep sync "$K/a" "$K/b"
        t_file_equal "$K/a" "$K/b"
        at=$((at + (at > T_CALLS / 2 ? tail_step : step)))
    done
    t_ok blkrep verify "$K/b"
    echo "# $*: $T_CALLS calls, $round runs; found complete ${t_seen[complete]:-0}, applying ${t_seen[applying]:-0}"
}
