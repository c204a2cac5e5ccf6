#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# A client or a server that is killed in a backup, at any moment, leaves the repository good: the points that were there read back, no half point is
# there, and the next run goes on. A connection that is lost ends the client with status 5, promptly.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

export BLKREP_PASSPHRASE=kept
s_start_repository
t_random "$T/a.img" 40M 1
cp "$T/a.img" "$T/first"
s_as boss t_ok blkrep backup "$T/a.img" "$R"
points=1

over() { ! t_alive "$client"; }

good() { # the points that are there are whole, the first one is what it was
    s_as boss t_ok blkrep points --json "$R"
    local now
    now=$(t_json points)
    [[ $now -ge $points ]] || t_fail "there are $now points instead of $points"
    points=$now
    s_as boss t_ok blkrep verify "$R"
    s_as boss t_ok blkrep restore --overwrite "$R@latest~$((points - 1))" "$T/back"
    t_file_equal "$T/first" "$T/back"
}

for round in 1 2 3 4 5 6; do
    t_random "$T/a.img" 40M $((10 + round))
    BLKREP_STATE=$T/client-boss t_background backup blkrep backup "$T/a.img" "$R"
    client=$T_PID
    sleep "0.$((round * 2))"
    if [[ $((round % 2)) -eq 0 ]]; then
        kill -9 "$client" 2>/dev/null || true
        wait "$client" 2>/dev/null || true
    else
        # the server and its session, as a machine that goes down
        sessions=$(pgrep -P "$S_PID" || true)
        # shellcheck disable=SC2086 # a list
        kill -9 "$S_PID" $sessions 2>/dev/null || true
        wait "$S_PID" 2>/dev/null || true
        t_wait_for 30 over
        status=0
        wait "$client" || status=$?
        [[ $status -eq 5 || $status -eq 0 ]] || t_fail "the client exited with $status: $(cat "$T/backup.err")"
        s_start
    fi
    good
done
s_as boss t_ok blkrep backup "$T/a.img" "$R"
s_as boss t_ok blkrep restore --overwrite "$R@latest" "$T/back"
t_file_equal "$T/a.img" "$T/back"
s_as boss t_ok blkrep verify --data "$R"

# a server that is stopped in the midst of a backup: the client is told
t_random "$T/a.img" 40M 30
BLKREP_STATE=$T/client-boss t_background backup blkrep backup --bwlimit=8M "$T/a.img" "$R"
client=$T_PID
sleep 1
t_alive "$client" || t_fail "the backup was over before the server was stopped: $(cat "$T/backup.err")"
s_stop
t_wait_for 30 over
status=0
wait "$client" || status=$?
[[ $status -eq 5 ]] || t_fail "the client exited with $status: $(cat "$T/backup.err")"
s_start
good
s_as boss t_ok blkrep backup "$T/a.img" "$R"
s_stop
