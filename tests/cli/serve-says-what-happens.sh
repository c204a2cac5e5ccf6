#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The server's log tells its administrator who brought which replica to which version and who was refused and why; its audit log has the
# acts that changed something, and no line for a look. A server that has nothing to offer says so when it starts.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

logged() { grep -qF -e "$1" "$T/server.err"; }
printf '[serve]\nlisten = %s\n' "$S_ADDR" >"$S_CONF"
s_start
t_wait_for 5 logged "nothing is offered"
t_wait_for 5 logged "$S_CONF"
s_stop
printf '[serve]\nlisten = %s\ndirectory = %s\n' "$S_ADDR" "$T/replicas" >"$S_CONF"
s_start
t_wait_for 5 logged "$T/replicas: No such file or directory"
s_pair web
t_random "$T/a" 1M 1
s_as web t_run blkrep sync "$T/a" "$S_URL/db"
t_status 1
t_stderr_has "directory $T/replicas is not there"
t_wait_for 5 logged "web (127.0.0.1:"
t_wait_for 5 logged "db was refused: not found: the server's directory"
mkdir "$T/replicas"

s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
t_wait_for 5 logged "db is at generation 1, 1.00 MiB written"
t_random_at "$T/a" 0 4K 2
before=$(s_audit server | wc -l)
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
t_wait_for 5 logged "db is at generation 2, 4.00 KiB written"
[[ $(s_audit server | jq -r .act | tail -n +$((before + 1))) == $'begin\ncommit' ]] || t_fail "other than begin and commit"
[[ $(s_audit server | tail -n 2 | jq -r '"\(.object) \(.name) \(.generation)"' | uniq) == "db web 2" ]] || t_fail "not of what"

before=$(s_audit server | wc -l)
s_as web t_ok blkrep sync "$T/a" "$S_URL/db"
s_as web t_ok blkrep sync --verify "$T/a" "$S_URL/db"
t_random_at "$T/a" 0 4K 3
s_as web t_ok blkrep sync --dry-run "$T/a" "$S_URL/db"
[[ $(s_audit server | wc -l) -eq $before ]] || t_fail "a look is in the audit log: $(s_audit server | tail -n 1)"
s_server t_ok blkrep status --audit
s_stop
! logged "a session from" || t_fail "a session that ended well was warned of: $(cat "$T/server.err")"
