#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whoever can reach the port, a scanner or a host that is not paired, fills neither the server's log nor its audit trail: some lines are
# written, the rest is counted into one. Who is paired is served and logged all the while.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a" 1M 1
s_start
s_pair web
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
lines=$(wc -l <"$T/server.err")
audit=$(s_audit server | wc -l)
for ((i = 0; i < 40; i++)); do
    exec 7<>"/dev/tcp/127.0.0.1/$S_PORT"
    printf 'GET / HTTP/1.0\r\n\r\n' >&7
    timeout 5 cat <&7 >/dev/null || true
    exec 7>&- 7<&-
done
for ((i = 0; i < 20; i++)); do # a token that was used
    s_as stranger t_run_in "$T/token-web" blkrep pair "$S_ADDR"
    [[ $T_STATUS -ne 0 ]] || t_fail "a used token was taken"
done
t_le 2 $(($(wc -l <"$T/server.err") - lines)) "lines about the first strangers"
t_le $(($(wc -l <"$T/server.err") - lines)) 24 "lines about strangers"
t_le $(($(s_audit server | wc -l) - audit)) 20 "audit lines of strangers"
t_random_at "$T/a" 0 4K 2
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
grep -q "db is at generation 2" "$T/server.err" || t_fail "who is paired is not logged any more"
s_stop
grep -q "[0-9]* more connections of strangers were refused, 20 of them could not pair" "$T/server.err" || t_fail "the rest was not counted: $(cat "$T/server.err")"
s_audit server | tail -n 1 | jq -e '.object == "pairings of strangers" and .count == 20' >/dev/null || t_fail "not counted in the audit trail"
s_server t_ok blkrep status --audit
