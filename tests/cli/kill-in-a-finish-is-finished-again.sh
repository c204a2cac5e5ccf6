#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A finish that is itself killed with -9 at any system call can be run again and completes the same version, without the source.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_setup
t_random "$K/a" 1M 1
t_ok blkrep sync "$K/a" "$K/b"
t_kill_delta 1
t_kill_calls --io=aio
round=2
hit=0
at=1
back=8
while :; do
    # a replica that is between two versions
    for ((; back < T_CALLS; back++)); do
        cp "$K/b" "$K/old"
        round=$((round + 1))
        t_kill_delta "$round"
        t_kill_at $((T_CALLS - back)) --io=aio
        [[ $(t_state "$K/b") != applying ]] || break
        t_ok blkrep sync "$K/a" "$K/b"
    done
    [[ $back -lt $T_CALLS ]] || t_fail "no kill hit an apply"
    mv "$K/a" "$K/a.away"
    T_STATUS=0
    "$T/kill_at" "$T/count" "$at" "$BLKREP" finish --io=aio "$K/b" >"$T/out" 2>"$T/err" || T_STATUS=$?
    done=$T_STATUS
    state=$(t_state "$K/b")
    [[ $state == applying || $state == complete ]] || t_fail "finish killed at call $at left state $state"
    [[ $state != applying ]] || hit=$((hit + 1))
    t_ok blkrep finish "$K/b"
    mv "$K/a.away" "$K/a"
    t_file_equal "$K/a" "$K/b"
    [[ $done -eq 137 ]] || break
    at=$((at + 5))
done
[[ $hit -ge 2 ]] || t_fail "finish was hit midway $hit times only"
