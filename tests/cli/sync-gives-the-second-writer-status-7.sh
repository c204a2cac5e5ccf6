#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Of two runs to one replica the second gets status 7 at once, from the same source or another, and harms neither; verify and receive too.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 6M 1
t_random "$T/c" 1M 2
t_ok blkrep sync "$T/c" "$T/x"
"$BLKREP" send "$T/c" >"$T/stream" 2>/dev/null
t_ok blkrep sync "$T/a" "$T/b"
t_random "$T/a" 6M 3
t_background first blkrep sync --bwlimit=1M "$T/a" "$T/b"
first=$T_PID
t_wait_for 10 t_has_bytes "$T/b.blkrep/stage" 1
for source in a c; do
    t_run blkrep sync --json --overwrite "$T/$source" "$T/b"
    t_status 7
    t_json_is error.name BUSY
    t_stderr_has "$T/b"
done
t_run blkrep verify "$T/b"
t_status 7
t_run blkrep forget --yes "$T/b"
t_status 7
t_run blkrep finish "$T/b"
t_status 7
t_run_in "$T/stream" blkrep receive --overwrite --yes "$T/b"
t_status 7
t_ok blkrep status "$T/b" # a look needs no lock
t_alive "$first" || t_fail "the first run was harmed"
T_STATUS=0
wait "$first" || T_STATUS=$?
t_status 0
t_file_equal "$T/a" "$T/b"
