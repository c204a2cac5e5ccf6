#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two clients, one replica: the second gets status 7 at once, the first is not disturbed; other replicas are open to it.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 16M 1
t_random "$T/b.img" 1M 2
s_start
s_pair alice
s_pair bob --role=operator
s_as alice t_background sync blkrep sync --bwlimit=4M "$T/a.img" "$S_URL/db"
sync_pid=$T_PID
begun() { [[ -e $T/replicas/db.blkrep/identity ]]; }
t_wait_for 10 begun

s_as bob t_run blkrep sync "$T/b.img" "$S_URL/db"
t_status 7
s_as bob t_run blkrep sync --overwrite "$T/b.img" "$S_URL/db"
t_status 7
s_as bob t_ok blkrep sync "$T/b.img" "$S_URL/other"
t_alive "$sync_pid" || t_fail "the first ended early: $(cat "$T/sync.err")"
T_STATUS=0
wait "$sync_pid" || T_STATUS=$?
[[ $T_STATUS -eq 0 ]] || t_fail "the first exited with $T_STATUS: $(cat "$T/sync.err")"
t_file_equal "$T/a.img" "$T/replicas/db"
t_file_equal "$T/b.img" "$T/replicas/other"
s_stop
