#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A revoked client's open session ends within two seconds; what it had not committed is dropped, and it does not come back unpaired.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 32M 1
s_start
s_pair alice
s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
cp "$T/replicas/db" "$T/version1"
t_random_at "$T/a.img" 8M 16M 2

s_as alice t_background sync blkrep sync --bwlimit=2M "$T/a.img" "$S_URL/db"
sync_pid=$T_PID
in_session() { [[ $(s_sessions) -ge 1 ]]; }
t_wait_for 10 in_session
sleep 1
t_alive "$sync_pid" || t_fail "the sync ended too early: $(cat "$T/sync.err")"
s_server t_ok blkrep client revoke alice
for ((i = 0; i < 40; i++)); do
    t_alive "$sync_pid" || break
    sleep 0.1
done
t_alive "$sync_pid" && t_fail "the session went on for 4 s after the revocation"
T_STATUS=0
wait "$sync_pid" || T_STATUS=$?
[[ $T_STATUS -eq 5 ]] || t_fail "the client exited with $T_STATUS: $(cat "$T/sync.err")"
grep -q "revoked" "$T/sync.err" || t_fail "the client was not told: $(cat "$T/sync.err")"
[[ $i -le 20 ]] || t_fail "the session went on for $i tenths of a second"

s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 5
t_stderr_has "does not let the key"
t_file_equal "$T/version1" "$T/replicas/db"

s_pair alice
s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
t_file_equal "$T/a.img" "$T/replicas/db"
s_stop
