#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep client: the registry as people see it; a word that means no client, or two, changes nothing.
. "$(dirname "$0")/../lib/cli.sh"

t_ok blkrep client list
t_stdout_empty
t_stderr_has "token create"
t_ok blkrep client list --json
[[ $(tail -n 1 "$T/out" | jq '.clients | length') == 0 ]] || t_fail "clients out of nowhere"

fp() { printf "%s%051d" "$1" 0; } # the last character's spare bits must be zero
{
    echo "blkrep-clients 1"
    echo "client $(fp a) role=writer created=1790000000 volumes= name=web%0Ahost%1B"
    echo "client $(fp b) role=reader created=1790000001 volumes=db,www name=twin"
    echo "client $(fp c) role=admin created=1790000002 volumes= name=twin"
} >"$BLKREP_STATE/clients"
chmod 600 "$BLKREP_STATE/clients"

t_ok blkrep client list
[[ $(wc -l <"$T/out") -eq 3 ]] || t_fail "a name broke the list's lines"
t_stdout_has "$(fp b)  reader    2026-09-21T"
t_stdout_has "db,www"
t_ok blkrep client list --json
[[ $(tail -n 1 "$T/out" | jq -r '.clients[1].volumes') == db,www ]] || t_fail "JSON lacks the volumes"

before=$(cat "$BLKREP_STATE/clients")
t_run blkrep client revoke twin
t_status 2
t_stderr_has "2 clients"
t_run blkrep client revoke nobody
t_status 1
t_run blkrep client revoke "$(fp b | head -c 3)" # too short to stand for a fingerprint
t_status 1
t_run blkrep client revoke
t_status 2
[[ $(cat "$BLKREP_STATE/clients") == "$before" ]] || t_fail "a refused revocation changed the registry"

t_ok blkrep client revoke "$(fp b | head -c 8)"
t_ok blkrep client revoke twin
t_ok blkrep client list
[[ $(wc -l <"$T/out") -eq 1 ]] || t_fail "not one client left"
t_stdout_has "$(fp a)"
[[ $(grep -c '"act":"client-revoke"' "$BLKREP_STATE/audit.ndjson") -eq 2 ]] || t_fail "revocations are not in the audit log"
