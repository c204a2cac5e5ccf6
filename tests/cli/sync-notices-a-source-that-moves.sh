#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A source that is written to, grown or cut while it is read is refused with status 3; the replica keeps the old version whole.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 4M 1
t_ok blkrep sync "$T/a" "$T/b"
cp "$T/b" "$T/old"
write_page() { t_random_at "$T/a" 0 4096 99; }
grow() { printf x >>"$T/a"; }
shrink() { truncate -s 3000000 "$T/a"; }
for act in write_page grow shrink; do
    t_random "$T/a" 4M "$RANDOM"
    t_background run blkrep sync --json --bwlimit=2M "$T/a" "$T/b"
    pid=$T_PID
    t_wait_for 10 t_has_bytes "$T/b.blkrep/stage" 1
    sleep 0.3
    $act
    T_STATUS=0
    wait "$pid" || T_STATUS=$?
    cp "$T/run.out" "$T/out" && cp "$T/run.err" "$T/err"
    t_last="sync while: $act"
    t_status 3
    t_json_is error.name SOURCE_MOVED
    t_stderr_has "$T/a"
    t_stderr_has --live-source
    t_file_equal "$T/b" "$T/old"
    t_ok blkrep verify "$T/b"
done
t_ok blkrep sync "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
