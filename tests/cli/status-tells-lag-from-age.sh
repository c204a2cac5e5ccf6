#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# status tells how old a version is from how far behind its replica may be: what did not change for long is old and not behind. It lists
# what this host keeps for others too, by configuration and in the server's directory, and all of it is in --json.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a" 1M 1
t_random "$T/c" 1M 2
t_random "$T/other" 1M 3
s_configure "[replica own]" "path = $T/own.img" "[replica later]" "path = $T/later.img"
s_start
s_pair web
row() { jq -c "select(.type == \"replica\" and .replica == \"$1\")" "$T/out"; }
is() { row "$1" | jq -e "$2" >/dev/null || t_fail "not so: $2: $(row "$1")"; }
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
s_as web t_ok blkrep sync "$T/c" "$S_URL/own"
s_as web t_ok blkrep sync "$T/other" "$T/here"
sleep 3
s_as web t_ok blkrep sync "$T/a" "$S_URL/db" # nothing changed: no new version, but current
s_as web t_ok blkrep sync "$T/other" "$T/here"
s_as web t_ok blkrep status --json
is "$S_URL/db" '.age_seconds >= 3 and .lag_seconds < .age_seconds - 1 and .generation == 1 and .served == false'
is "$T/here" '.age_seconds >= 3 and .lag_seconds < .age_seconds - 1 and .unreadable_blocks == 0 and .gaps == null'
is "$S_URL/own" '.age_seconds >= 3 and .lag_seconds >= 3'
s_as web t_ok blkrep status "$T/here"
grep -q '^age  *[3-9]' "$T/out" || t_fail "no age"
grep -q '^lag .* since it was current$' "$T/out" || t_fail "no lag"
t_stdout_has "gaps               none"
[[ $(wc -l <"$T/out") -le 24 ]] || t_fail "more than a screen"

# at the server: all that clients brought, by its configuration and in its directory
s_server t_ok blkrep status
for word in "$T/replicas/db" "$T/own.img" "$T/later.img" AGE LAG "FULL PROOF" served "from $T/a"; do t_stdout_has "$word"; done
s_server t_ok blkrep status --json
[[ $(jq -s '[.[] | select(.type == "replica")] | length' "$T/out") == 3 ]] || t_fail "not three: $(cat "$T/out")"
is "$T/replicas/db" ".served and .source == null and .label == \"$T/a\" and .state == \"complete\" and .lag_seconds == null
    and .age_seconds >= 3 and .full_proof_unix > 0 and .state_bytes > 0 and .free_bytes > 0"
is "$T/own.img" '.served and .state == "complete" and .generation == 1'
is "$T/later.img" '.served and .trouble != null and .generation == 0'
s_server t_ok blkrep status own # by its configured name
t_stdout_has "(as its host named it)"
t_stdout_has "known only to the host that syncs it"
s_stop
