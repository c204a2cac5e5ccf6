# shellcheck shell=bash disable=SC2034,SC2153,SC2317 # names of cli.sh, serve.sh and kill.sh
# SPDX-License-Identifier: Apache-2.0
# kill -9 swept over the system calls of either end of a remote sync. Source it after cli.sh, ends.sh, serve.sh and kill.sh.

R=$T/replicas/db

# t_remote_setup: a server, a paired client, version 1 on both sides
t_remote_setup() {
    t_kill_setup
    K=$T
    t_random "$K/a" 1M 1
    s_start
    s_pair alice --role=operator
    s_as alice t_ok blkrep sync "$K/a" "$S_URL/db"
    cp "$R" "$K/old"
    t_seen=()
}

# t_remote_check WHERE: the replica is old, new, or finish makes it new; then the next sync ends equal
t_remote_check() {
    local state i
    for ((i = 0; i < 100; i++)); do # the session of a killed client ends in a moment
        s_server t_run blkrep finish "$R"
        [[ $T_STATUS -eq 7 ]] || break
        sleep 0.1
    done
    [[ $T_STATUS -eq 0 ]] || t_fail "finish after a kill at $1"
    state=complete
    ! grep -q 'finished, now' "$T/out" || state=applying
    t_seen["$state"]=$((${t_seen[$state]:-0} + 1))
    if [[ $state == applying ]]; then
        t_file_equal "$K/a" "$R"
    else
        cmp -s "$K/old" "$R" || cmp -s "$K/a" "$R" || t_fail "after a kill at $1 the replica is a mix and says complete"
    fi
}

t_remote_next() {
    s_as alice t_ok blkrep sync "$K/a" "$S_URL/db"
    t_file_equal "$K/a" "$R"
    cp "$R" "$K/old"
}

# t_remote_sweep_client STEP / t_remote_sweep_server STEP: until a run is too short to be killed
t_remote_sweep_client() {
    local at=2 round=1
    while :; do
        round=$((round + 1))
        t_kill_delta "$round"
        T_STATUS=0
        s_as alice timeout -k 5 60 "$T/kill_at" "$T/count" "$at" "$BLKREP" sync "$K/a" "$S_URL/db" >"$T/out" 2>"$T/err" </dev/null || T_STATUS=$?
        [[ $T_STATUS -eq 137 ]] || break
        t_remote_check "call $at of the client"
        t_remote_next
        at=$((at + $1))
    done
    t_status 0
    t_remote_next
    echo "# client: $round runs up to call $at"
    [[ $round -gt 3 ]] || t_fail "the client was not swept"
}

t_remote_sweep_server() {
    local at=4 round=1000 rc
    s_stop
    while :; do
        round=$((round + 1))
        t_kill_delta "$round"
        BLKREP_STATE=$S_STATE BLKREP_CONFIG=$S_CONF t_background server "$T/kill_at" "$T/count" "$at" "$BLKREP" serve
        S_PID=$T_PID
        t_wait_for 10 s_up
        s_as alice t_run blkrep sync "$K/a" "$S_URL/db"
        rc=$T_STATUS
        ! t_own_child "$S_PID" || kill -KILL "$S_PID" 2>/dev/null || true
        wait "$S_PID" 2>/dev/null || true
        [[ $rc -ne 0 ]] || break
        t_status 5
        s_gone() { ! t_listening "$S_PORT"; }
        t_wait_for 10 s_gone
        t_remote_check "call $at of the server"
        s_start
        t_remote_next
        s_stop
        at=$((at + $1))
    done
    s_start
    t_remote_next
    echo "# server: $((round - 1000)) runs up to call $at; found complete ${t_seen[complete]:-0}, applying ${t_seen[applying]:-0}"
    [[ $round -gt 1003 ]] || t_fail "the server was not swept"
    s_stop
}
