#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# sync --every goes on through a server that is gone and comes back; ended by SIGTERM it exits with what the last run came to, so 0 means
# that the replica was current; what does not pass by itself ends it at once.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a" 1M 1
s_start
s_pair web
runs() { grep -c "\"type\":\"run\",\"status\":$1" "$T/every.out" || true; }
more() { [[ $(runs "$1") -gt $2 ]]; }
every() {
    s_as web t_background every blkrep sync --json --every=200ms "$T/a" "$S_URL/a"
    pid=$T_PID
}
every
t_wait_for 10 more 0 1
s_stop
t_wait_for 10 more 5 1
s_start
before=$(runs 0)
t_wait_for 10 more 0 "$before"
t_end "$pid"
t_status 0
s_stop
every
t_wait_for 10 more 5 1
t_end "$pid"
t_status 5
cp "$T/every.out" "$T/out"
t_json_is error.name PEER
t_json error.text | grep -F "$S_ADDR" >/dev/null || t_fail "the error lost its words"
[[ $(t_json runs_failed) == "$(t_json runs)" ]] || t_fail "a run that went well"
s_start
every
t_wait_for 10 more 0 0
s_server t_ok blkrep client revoke web
T_STATUS=0
wait "$pid" || T_STATUS=$?
t_status 5
s_stop
