#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
# A delta over a session goes on after kill -9 of the client, of the server, and after SIGTERM; also when another client takes it up.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

a=$T/a.img r=$T/replicas/db side=$T/replicas/db.blkrep
seed=100

# begin: changes 28 MiB of the source, and a run of the delta of which 5 MiB have come; its pid in client. The server's credit and the
# client's queue take 12 MiB: the client is not yet in its commit, which no signal ends.
begin() {
    seed=$((seed + 1))
    t_random_at "$a" 2M 28M "$seed"
    s_as alice t_background sync blkrep sync --json --bwlimit=2M "$a" "$S_URL/db"
    client=$T_PID
    t_wait_for 20 t_has_bytes "$side/stage" $((5 << 20))
}
# goes_on CLIENT: the next run, of that client, ends equal and ships only the rest
goes_on() {
    local client=$1 i
    for ((i = 0; i < 100; i++)); do # the session of a killed client ends in a moment
        s_as "$client" t_run blkrep sync --json "$a" "$S_URL/db"
        [[ $T_STATUS -eq 7 ]] || break
        sleep 0.1
    done
    t_status 0
    t_file_equal "$a" "$r"
    t_json_is resumed true
    t_le $((4 << 20)) "$(t_json bytes_resumed)" "to be kept"
    t_le "$(t_json bytes_shipped)" $((24 << 20 | 1 << 18)) "shipped by the run that goes on"
    [[ ! -e $side/stage && ! -e $side/stage.cut && ! -e $side/cut.1 ]] || t_fail "something is left: $(ls "$side")"
}

t_random "$a" 32M 1
s_start
s_pair alice --role=writer
s_pair bob --role=writer
s_as alice t_ok blkrep sync "$a" "$S_URL/db"

begin
t_end "$client" KILL
goes_on alice

begin
t_end "$client" KILL
goes_on bob # whoever may write may go on with it

begin
kill -KILL "$S_PID"
pkill -KILL -P "$S_PID" || true # its children are the sessions
wait "$S_PID" 2>/dev/null || true
t_end "$client" TERM 20
s_gone() { ! t_listening "$S_PORT"; }
t_wait_for 10 s_gone
s_start
goes_on alice

begin
s_stop
T_STATUS=0
wait "$client" || T_STATUS=$?
[[ $T_STATUS -eq 5 || $T_STATUS -eq 1 ]] || t_fail "the client exited with $T_STATUS: $(cat "$T/sync.err")"
s_start
goes_on alice

# cut by the client's own end, and the source is another one by the next run
begin
t_end "$client" INT
t_status 1
t_random_at "$a" 3M 64K 7
t_random_at "$a" 32M 100000 8
s_as alice t_ok blkrep sync --json "$a" "$S_URL/db"
t_file_equal "$a" "$r"
t_le $((3 << 20)) "$(t_json bytes_resumed)" "to be kept"
s_as alice t_ok blkrep sync --json "$a" "$S_URL/db"
t_json_is new_version false
s_stop
