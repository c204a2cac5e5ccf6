#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Limits hold: sessions at once (one more is told so), connections that never prove who they are, volumes larger than allowed.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 16M 1
t_random "$T/b.img" 1M 2
s_configure "sessions-max = 1" "handshakes-max = 3" "handshake-timeout = 2s" "volume-max = 20M"
s_start
s_pair alice
s_pair bob
s_as alice t_background sync blkrep sync --bwlimit=4M "$T/a.img" "$S_URL/db"
sync_pid=$T_PID
begun() { [[ -e $T/replicas/db.blkrep/identity ]]; }
t_wait_for 10 begun
s_as bob t_run blkrep sync "$T/b.img" "$S_URL/other"
t_status 7
t_stderr_has "sessions-max"
T_STATUS=0
wait "$sync_pid" || T_STATUS=$?
[[ $T_STATUS -eq 0 ]] || t_fail "the first exited with $T_STATUS: $(cat "$T/sync.err")"
s_as bob t_ok blkrep sync "$T/b.img" "$S_URL/other"

# too large a volume: refused before the first byte, nothing stays behind
t_hole "$T/large.img" 21M
s_as bob t_run blkrep sync "$T/large.img" "$S_URL/large"
t_status 3
[[ ! -e $T/replicas/large ]] || t_fail "a refused volume was left behind"

# ten connections that say nothing: three get a process, the server lives, and after their time is up it serves again
# shellcheck disable=SC2016 # perl's variables
t_background slow perl -MIO::Socket::INET -e '
    my @s = map { IO::Socket::INET->new("127.0.0.1:$ARGV[0]") or die } 1 .. 10; sleep 30' "$S_PORT"
slow_pid=$T_PID
three() { [[ $(s_sessions) -eq 3 ]]; }
t_wait_for 5 three
none() { [[ $(s_sessions) -eq 0 ]]; }
t_wait_for 6 none
t_alive "$slow_pid" || t_fail "the silent peers left by themselves"
t_random_at "$T/b.img" 0 4K 3
s_as bob t_ok blkrep sync "$T/b.img" "$S_URL/other"
t_file_equal "$T/b.img" "$T/replicas/other"
s_stop
