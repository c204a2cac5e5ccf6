#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --bwlimit, --progress, --verify, --recheck, --every, --io and a huge sparse source keep their promises.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 12M 1
t_ok blkrep sync --json --bwlimit=4M "$T/a" "$T/b"
t_tenths=$(t_json seconds_scan | awk '{ print int($1 * 10) }')
t_le 24 "$t_tenths" "tenths of a second that 12 MiB take at least at 4 MiB/s"
t_le "$t_tenths" 60 "tenths of a second that 12 MiB take at most at 4 MiB/s"
# progress goes to its descriptor, durable bytes reach the end
exec 9>"$T/progress"
t_random "$T/a" 3M 2
"$BLKREP" sync --progress=9 "$T/a" "$T/b" >"$T/out" 2>"$T/err" || t_fail "--progress"
exec 9>&-
[[ -s $T/progress ]] || t_fail "no progress"
jq -e '.type == "progress"' "$T/progress" >/dev/null || t_fail "progress is no NDJSON"
t_ok blkrep sync --json --verify "$T/a" "$T/b"
t_json_is verified true
t_ok blkrep sync --json --recheck=1M "$T/a" "$T/b"
t_le "$(t_json bytes_rechecked)" $((1 << 20)) "rechecked"
t_le $((1 << 20)) "$(t_json bytes_rechecked)" "not rechecked"
# both rings give one version
t_random_at "$T/a" 4096 8192 3
t_ok blkrep sync --json --io=aio "$T/a" "$T/aio"
root=$(t_json root)
t_ok blkrep sync --json --io=uring "$T/a" "$T/uring"
t_json_is root "$root"
t_file_equal "$T/aio" "$T/uring"
# every second until SIGTERM: ends clean, says its lag
t_background every blkrep sync --json --every=1s "$T/a" "$T/b"
pid=$T_PID
t_wait_for 10 grep -q '"type":"run"' "$T/every.out"
t_random_at "$T/a" 0 4096 4
t_wait_for 10 cmp -s "$T/a" "$T/b"
sleep 1.2
t_end "$pid"
t_status 0
cp "$T/every.out" "$T/out"
t_le 2 "$(t_json runs)" "runs"
t_json_is runs_failed 0
t_json lag_seconds_max >/dev/null
grep '"type":"run"' "$T/every.out" | jq -e '.lag_seconds | type == "number"' >/dev/null || t_fail "a run without lag"
# 15 TiB with next to nothing in it
if truncate -s 15T "$T/huge" 2>/dev/null; then
    t_random_at "$T/huge" 1T 64K 1
    T_RUN_LIMIT=30
    t_ok blkrep sync --json "$T/huge" "$T/huge.b"
    t_json_is bytes_shipped 65536
    t_ok blkrep sync --json "$T/huge" "$T/huge.b"
    t_json_is bytes_shipped 0
fi
