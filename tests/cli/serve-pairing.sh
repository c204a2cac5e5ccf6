#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A token pairs one client, once, in time; a man in the middle, a used, expired or revoked trust gets nothing, and is told why.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 1M 1
s_start

# before pairing: the client knows no server, and says how to get to know it
s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 5
t_stderr_has "blkrep pair $S_ADDR"

s_pair alice
s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
t_file_equal "$T/a.img" "$T/replicas/db"
grep -q '"act":"pair"' "$S_STATE/audit.ndjson" || t_fail "the server did not record the pairing"
grep -q '"act":"pair"' "$T/client-alice/audit.ndjson" || t_fail "the client did not record the pairing"

# the token again, by another client
s_as mallory t_run_in "$T/token-alice" blkrep pair "$S_ADDR"
t_status 5
t_stderr_has "used already"
s_server t_ok blkrep client list
t_stdout_lacks mallory
[[ $(wc -l <"$T/out") -eq 1 ]] || t_fail "more than one client"

# an expired one
s_token "$T/short" --expires=1s
sleep 1.2
s_as late t_run_in "$T/short" blkrep pair "$S_ADDR"
t_status 5
t_stderr_has "expired"

# a man in the middle: the token is the real server's, what answers is another
real=$("$BLKREP" token create --state="$T/real" 2>/dev/null | tee "$T/real-token")
[[ -n $real ]]
s_as victim t_run_in "$T/real-token" blkrep pair "$S_ADDR"
t_status 5
t_stderr_has "is expected"
[[ ! -e $T/client-victim/servers ]] || t_fail "the man in the middle is trusted"
s_server t_ok blkrep client list
[[ $(wc -l <"$T/out") -eq 1 ]] || t_fail "the victim was registered by the man in the middle"

# a client whose key the server does not know: it has the server's address, not its trust
mkdir -p "$T/client-stranger"
cp "$T/client-alice/servers" "$T/client-stranger/servers"
s_as stranger "$BLKREP" token create >/dev/null 2>&1 # makes an identity
s_as stranger t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 5
t_stderr_has "does not let the key"

# the server got a new key: both are named, and nothing is sent to it
old=$(sed -n 's/^server \([^ ]*\).*/\1/p' "$T/client-alice/servers")
s_stop
mv "$S_STATE/identity.key" "$T/kept.key"
s_start
s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 5
t_stderr_has "$old is expected"
s_stop
mv "$T/kept.key" "$S_STATE/identity.key"
s_start
s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
s_stop
