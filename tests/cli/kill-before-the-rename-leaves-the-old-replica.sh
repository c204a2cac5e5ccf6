#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --force-full onto a file writes beside it: killed at any call the replica is whole, the old version or the new; and it can be read meanwhile.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_setup
old=0
new=0
t_random "$K/a" 1M 1
t_ok blkrep sync "$K/a" "$K/b"
t_kill_delta 1
t_kill_calls --force-full --io=aio
for ((at = 2; at <= T_CALLS; at += 7)); do
    cp "$K/b" "$K/old"
    t_kill_delta $((at + 1))
    t_kill_at "$at" --force-full --io=aio
    if cmp -s "$K/old" "$K/b"; then
        old=$((old + 1))
    else
        cmp -s "$K/a" "$K/b" || t_fail "killed at $at of $T_CALLS: neither old nor new"
        new=$((new + 1))
    fi
    t_kill_check "call $at of $T_CALLS, --force-full"
    t_ok blkrep sync "$K/a" "$K/b"
    t_file_equal "$K/a" "$K/b"
    [[ ! -e $K/b.blkrep-new ]] || t_fail "what was written beside is still there"
done
[[ $old -ge 2 && $new -ge 1 ]] || t_fail "found old $old, new $new times: the rename was not swept over"
# read meanwhile
t_random "$T/big" 24M 1
t_ok blkrep sync "$T/big" "$T/r"
cp "$T/r" "$T/r.old"
t_random_at "$T/big" 0 4096 9
t_background full blkrep sync --force-full --bwlimit=8M "$T/big" "$T/r"
t_wait_for 10 t_has_bytes "$T/r.blkrep-new" 1
cmp "$T/r" "$T/r.old" || t_fail "the old replica can't be read while the new one is written"
t_end "$T_PID" KILL
t_file_equal "$T/r" "$T/r.old"
t_ok blkrep sync "$T/big" "$T/r"
t_file_equal "$T/big" "$T/r"
[[ ! -e $T/r.blkrep-new ]] || t_fail "a killed replacement was left behind"
