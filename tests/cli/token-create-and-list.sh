#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep token: one line on stdout, kept as a verifier only; wrong roles, volumes and lifetimes are refused before anything is made.
. "$(dirname "$0")/../lib/cli.sh"

t_ok blkrep token create
[[ $(wc -l <"$T/out") -eq 1 ]] || t_fail "not one line"
token=$(cat "$T/out")
[[ $token =~ ^blkrep1-[0-9a-z]{84}$ ]] || t_fail "no token: $token"
[[ $(stat -c %a "$BLKREP_STATE/identity.key") == 600 ]] || t_fail "the identity can be read by others"
[[ $(stat -c %a "$BLKREP_STATE/clients") == 600 ]] || t_fail "the registry can be read by others"
! grep -rqF "$token" "$BLKREP_STATE" || t_fail "the token is kept"

t_ok blkrep token create --json --role=reader --volumes=db,www --expires=90s
t_json_is role reader
t_json_is volumes db,www
t_json_is lifetime_seconds 90
id=$(t_json id)
t_ok blkrep token list
t_stdout_has "$id  open     reader"
t_ok blkrep token list --json
[[ $(tail -n 1 "$T/out" | jq '.tokens | length') == 2 ]] || t_fail "not two tokens"
grep -q "\"act\":\"token-create\",\"object\":\"$id\"" "$BLKREP_STATE/audit.ndjson" || t_fail "no audit line"

# a token that expired is told as such
t_ok blkrep token create --json --expires=1s
id=$(t_json id)
expired() { "$BLKREP" token list | grep "^$id  expired" >/dev/null; }
t_wait_for 5 expired

before=$(cat "$BLKREP_STATE/clients")
for wrong in --role=king --role= --volumes=a/b --volumes=../a '--volumes=a,' --volumes=a.b --expires=0 --expires=soon --token=x; do
    t_run blkrep token create "$wrong"
    t_status 2
    t_stdout_empty
done
t_run blkrep token create argument
t_status 2
t_run blkrep token
t_status 2
[[ $(cat "$BLKREP_STATE/clients") == "$before" ]] || t_fail "a refused call changed the registry"

# a damaged registry is an error that names file and line, never an empty registry
echo 'client nonsense' >>"$BLKREP_STATE/clients"
t_run blkrep token create
t_status 4
t_stderr_has "line 5 of clients"
t_run blkrep client list
t_status 4

# an identity that others can read is not used
echo "$before" >"$BLKREP_STATE/clients"
chmod 644 "$BLKREP_STATE/identity.key"
t_run blkrep token create
t_status 1
t_stderr_has "identity.key"
