#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whoever reads progress, messages or news of a run may stall or go away: the run goes on, and ends as it would have. bytes_shipped is what
# went over the wire, of a run that failed too, and the bandwidth limit holds for the first batch.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

# 9 is a pipe that nobody reads, and it is full
mkfifo "$T/fifo"
exec 9<>"$T/fifo"
timeout 2 dd if=/dev/zero of="$T/fifo" bs=4096 status=none || true
T_RUN_LIMIT=15
unread() { # unread COMMAND ARGS...: t_run with its stderr into that pipe
    T_STATUS=0
    timeout --foreground -k 5 "$T_RUN_LIMIT" "$@" >"$T/out" 2>&9 </dev/null || T_STATUS=$?
    t_last="$*"
}

t_random "$T/a" 3M 1
t_ok blkrep sync --json --progress=9 "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
unread "$BLKREP" sync --json "$T/a" "$T/a"
t_status 3
t_json_is error.name SAME_OBJECT
unread "$BLKREP" nonsense
t_status 2
# one that went away
t_random_at "$T/a" 0 8K 2
T_STATUS=0
timeout 15 "$BLKREP" sync --progress=8 "$T/a" "$T/b" 8> >(exit) 2> >(exit) >"$T/out" || T_STATUS=$?
t_status 0
t_file_equal "$T/a" "$T/b"

another() { # the source becomes another file at once: one that is open for writing when a run begins would end it
    cp "$T/a" "$T/a.new"
    t_random_at "$T/a.new" 1M 8K "$1"
    mv "$T/a.new" "$T/a"
}
# a server whose log nobody reads, and a run for ever whose news and messages nobody reads
s_configure
BLKREP_STATE=$S_STATE BLKREP_CONFIG=$S_CONF "$BLKREP" serve 2>&9 >"$T/server.out" </dev/null &
S_PID=$!
t_pids+=("$S_PID")
t_wait_for 10 t_listening "$S_PORT"
s_pair web
s_as web t_run blkrep sync "$T/a" "$S_URL/../x" # something to say for the server
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
t_file_equal "$T/a" "$T/replicas/db"
BLKREP_STATE=$T/client-web "$BLKREP" sync --every=100ms --json "$T/a" "$S_URL/db" >&9 2>&9 </dev/null &
pid=$!
t_pids+=("$pid")
sleep 1
another 3
t_wait_for 10 cmp -s "$T/a" "$T/replicas/db"
t_end "$pid" TERM 5
t_status 0
BLKREP_STATE=$T/client-web "$BLKREP" sync --every=100ms "$T/a" "$S_URL/db" >&9 2>&9 </dev/null &
pid=$!
t_pids+=("$pid")
sleep 1
another 4
t_wait_for 10 cmp -s "$T/a" "$T/replicas/db"
t_end "$pid" TERM 5
t_status 0
t_end "$S_PID" TERM 10
t_status 0

# the limit, of one batch, here and over the network
s_start
t_random "$T/one" 1M 5
t_ok blkrep sync --json --bwlimit=1M "$T/one" "$T/one.b"
t_le 9 "$(t_json seconds_scan | awk '{ print int($1 * 10) }')" "tenths of a second that 1 MiB takes at 1 MiB/s"
s_as web t_ok blkrep sync --json --bwlimit=1M "$T/one" "$S_URL/one"
t_le 9 "$(t_json seconds | awk '{ print int($1 * 10) }')" "tenths of a second that 1 MiB takes at 1 MiB/s over the network"
# what came over the wire: no more than was sent, no less than the data, and nothing for nothing
t_le $((1 << 20)) "$(t_json bytes_shipped)" "data"
t_le "$(t_json bytes_shipped)" $((1 << 20 | 1 << 12)) "shipped for 1 MiB that can't be compressed"
s_as web t_ok blkrep sync --json "$T/one" "$S_URL/one"
t_json_is bytes_shipped 0
head -c 1M /dev/zero | tr '\0' x >"$T/one"
s_as web t_ok blkrep sync --json --compress=on "$T/one" "$S_URL/one"
t_le "$(t_json bytes_shipped)" $((1 << 16)) "shipped for what can be compressed"
t_json_is bytes_changed $((1 << 20))
# cut in the middle: what the wire took, not what was read; then the rest, once
t_random "$T/one" 8M 6
s_as web t_background cut blkrep sync --json --bwlimit=2M "$T/one" "$S_URL/one"
sleep 2
t_end "$S_PID" KILL
T_STATUS=0
wait "$T_PID" || T_STATUS=$?
t_status 5
cp "$T/cut.out" "$T/out"
cut=$(t_json bytes_shipped)
t_le $((1 << 20)) "$cut" "shipped before the cut"
t_le "$cut" $((6 << 20)) "shipped before the cut, of 8 MiB"
s_start
s_as web t_ok blkrep sync --json "$T/one" "$S_URL/one"
t_file_equal "$T/one" "$T/replicas/one"
t_le $((8 << 20)) $(($(t_json bytes_shipped) + cut)) "shipped by both"
t_le $(($(t_json bytes_shipped) + $(t_json bytes_resumed))) $((8 << 20 | 1 << 16)) "shipped and kept by the second"
s_stop
