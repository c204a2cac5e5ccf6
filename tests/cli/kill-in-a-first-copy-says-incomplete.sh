#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A first copy killed with -9 is incomplete, says so, is refused as a source, and the same command completes it with what is there.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_setup
incomplete=0
t_random "$K/a" 3M 1
t_kill_calls --io=aio
for io in aio uring; do
    for ((at = 5; at < T_CALLS; at += 17)); do
        rm -rf "$K/b" "$K/b.blkrep" "$K/a.blkrep"
        t_kill_at "$at" --io=$io
        [[ $T_STATUS -eq 137 ]] || continue
        [[ -e $K/b ]] || continue
        t_run blkrep status --json "$K/b"
        state=$(jq -r 'select(.type == "replica" and .replica == $r) | .state' --arg r "$K/b" "$T/out")
        case $state in
        incomplete)
            incomplete=$((incomplete + 1))
            t_run blkrep verify "$K/b"
            t_status 3
            t_run blkrep finish "$K/b"
            t_status 3
            t_stderr_has "blkrep sync"
            t_run blkrep sync "$K/b" "$K/c"
            t_status 3
            [[ ! -s $K/c ]] || t_fail "an incomplete replica was taken for a source"
            ;;
        complete) t_file_equal "$K/a" "$K/b" ;;
        none | '') [[ ! -s $K/b ]] || t_fail "killed at $at: bytes without a record of what they are" ;;
        *) t_fail "killed at $at: state $state" ;;
        esac
        t_ok blkrep sync "$K/a" "$K/b"
        t_file_equal "$K/a" "$K/b"
    done
done
[[ $incomplete -ge 2 ]] || t_fail "a first copy was hit midway $incomplete times only"
t_ok blkrep verify "$K/b"
