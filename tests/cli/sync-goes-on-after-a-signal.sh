#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM and SIGINT end a run cleanly: status 1 and words, the old version whole; a first copy goes on from what is durable.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 8M 1
for signal in TERM INT; do
    rm -rf "$T/b" "$T/b.blkrep"
    t_background run env --default-signal=INT "$BLKREP" sync --json --bwlimit=4M "$T/a" "$T/b"
    t_wait_for 10 t_has_bytes "$T/b.blkrep/identity" 1
    sleep 0.8 # the limit lets a MiB go after a quarter of a second
    t_end "$T_PID" $signal
    cp "$T/run.out" "$T/out" && cp "$T/run.err" "$T/err"
    t_status 1
    t_json_is error.name CANCELLED
    t_stderr_has "again"
    [[ $(t_state "$T/b") == incomplete ]] || t_fail "a cut first copy does not say so"
    t_ok blkrep sync --json "$T/a" "$T/b"
    t_json_is resumed true
    t_le "$(t_json bytes_shipped)" $((7 << 20)) "shipped again by the run that goes on"
    t_file_equal "$T/a" "$T/b"
done
# a signal that comes twice at once is one: timeout(1) and process managers send it to a process and to its group
for signal in TERM INT; do
    rm -rf "$T/c" "$T/c.blkrep"
    t_background run env --default-signal=INT "$BLKREP" sync --json --bwlimit=4M "$T/a" "$T/c"
    t_wait_for 10 t_has_bytes "$T/c.blkrep/identity" 1
    kill -$signal "$T_PID"
    sleep 0.02
    t_end "$T_PID" $signal
    t_status 1
done
cp "$T/b" "$T/old"
t_random "$T/a" 8M 2
t_background run blkrep sync --bwlimit=4M "$T/a" "$T/b"
t_wait_for 10 t_has_bytes "$T/b.blkrep/stage" 1
t_end "$T_PID" TERM
t_status 1
t_file_equal "$T/b" "$T/old"
t_ok blkrep verify "$T/b"
t_ok blkrep sync "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
