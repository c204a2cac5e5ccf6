#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What was staged by deltas that are cut again and again, shipped by who does not ask what is held, does not pile up beside the replica:
# at most one delta of it is there.
. "$(dirname "$0")/../lib/cli.sh"

staged() { cat "$T"/r.blkrep/stage* 2>/dev/null | wc -c; }
t_random "$T/a" 16M 1
"$BLKREP" send "$T/a" 2>/dev/null >"$T/full"
t_run_in "$T/full" blkrep receive "$T/r"
t_status 0
t_random_at "$T/a" 1M 8M 2
"$BLKREP" send "$T/a" --since=last 2>/dev/null >"$T/delta"
cp "$T/r" "$T/old"
for ((i = 0; i < 5; i++)); do
    head -c 5M "$T/delta" >"$T/cut"
    t_run_in "$T/cut" blkrep receive "$T/r"
    t_status 4
    t_le $((1 << 20)) "$(staged)" "staged by a delta that was cut"
    t_le "$(staged)" $((6 << 20)) "bytes staged after $((i + 1)) deltas of 5 MiB that were cut"
done
t_file_equal "$T/old" "$T/r"
t_run_in "$T/delta" blkrep receive "$T/r"
t_status 0
t_file_equal "$T/a" "$T/r"
t_le "$(staged)" 0 "staged after all"
