#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# sync --every goes on through a server that is not there yet, a replica that is busy and a disk that is full: said once when it begins and
# once when it is over, tried again less and less often, the lag counted all the while. A refusal ends it.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a" 1M 1
s_start
s_pair web
runs() { grep -c "\"type\":\"run\",\"status\":$1" "$T/every.out" || true; }
more() { [[ $(runs "$1") -gt $2 ]]; }
said() { [[ $(grep -c -e "$1" "$T/every.err") -eq $2 ]]; }
every() { # every EVERY REPLICA [OPTION...]
    s_as web t_background every blkrep sync --every="$1" "${@:3}" "$T/a" "$2"
    pid=$T_PID
}

# a server that is not there yet: tried again within a second although TIME is long, and nothing is said twice
s_stop
every 1h "$S_URL/a"
t_wait_for 5 said "trying again" 1
sleep 2
s_start
t_wait_for 10 said "is current again" 1
said "trying again" 1 || t_fail "said more than once: $(cat "$T/every.err")"
grep -q "is current again, after [0-9]* runs* that failed; it was [0-9.]* s behind" "$T/every.err" || t_fail "not how far behind"
t_file_equal "$T/a" "$T/replicas/a"
t_end "$pid"
t_status 0

# gone for a while: the pauses grow, the lag goes on, and the audit trail has the failure once
every 50ms "$S_URL/a" --json
t_wait_for 10 more 0 1
s_stop
before=$(runs 5)
sleep 4
t_le "$(($(runs 5) - before))" 8 "runs within four seconds against a server that is gone"
t_le 2 "$(runs 5)" "runs that failed"
grep '"status":5' "$T/every.out" | jq -s -e 'map(.lag_seconds) | . == sort and .[-1] - .[0] > 1' >/dev/null ||
    t_fail "the lag did not go on"
# ended while it is gone, and begun again: the lag is not forgotten
t_end "$pid"
t_status 5
s_as web t_run blkrep status --json
sleep 1
every 50ms "$S_URL/a" --json
t_wait_for 10 more 5 0
grep '"type":"run"' "$T/every.out" | head -n 1 | jq -e '.lag_seconds > 3' >/dev/null || t_fail "a restart made the replica younger"
s_start
t_wait_for 10 more 0 0
t_end "$pid"
t_status 0
s_stop

# a signal also ends the wait for a server that takes connections and says nothing
# shellcheck disable=SC2016 # perl's variables
t_background mute perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 8, ReuseAddr => 1) or die; sleep 60' "$S_PORT"
mute=$T_PID
t_wait_for 5 t_listening "$S_PORT"
s_as web t_background once blkrep sync --json "$T/a" "$S_URL/a"
sleep 1
t_end "$T_PID" TERM 3
t_status 1
cp "$T/once.out" "$T/out"
t_json_is error.name CANCELLED
t_end "$mute"

# busy: another run holds the replica; then a refusal, which ends it at once with its status
t_random "$T/other" 4M 2
t_ok blkrep sync "$T/a" "$T/b"
t_random "$T/a" 4M 3
t_background hold blkrep sync --bwlimit=1M "$T/a" "$T/b"
hold=$T_PID
t_wait_for 10 t_has_bytes "$T/b.blkrep/stage" 1
every 100ms "$T/b" --json
t_wait_for 10 more 7 0
t_alive "$pid" || t_fail "busy ended it"
kill -TERM "$hold"
wait "$hold" || true
t_wait_for 10 more 0 0
: >"$T/every.out"
exec 8<>"$T/a"
T_STATUS=0
t_wait_for 10 more 3 0
exec 8>&-
wait "$pid" || T_STATUS=$?
t_status 3

# nothing is ever made: no 0
T_STATUS=0
s_as web t_background every blkrep sync --every=1s --bwlimit=1M "$T/other" "$T/never"
t_wait_for 10 t_has_bytes "$T/never.blkrep/identity" 1
t_end "$T_PID"
t_status 1
cp "$T/every.err" "$T/err"
t_stderr_has "before the first run ended"

# a full disk
t_mount tmpfs "$T/small" size=2M
every 100ms "$T/small/b" --json
t_wait_for 10 more 6 1
t_alive "$pid" || t_fail "a full disk ended it"
mount -o remount,size=20M "$T/small"
t_wait_for 10 more 0 0
t_file_equal "$T/a" "$T/small/b"
t_end "$pid"
t_status 0
