#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A run that fails before it begins (server gone, source gone or in use, target not to be opened) is the last run that status shows, of a
# pair that is known; the last good version stays what it is, and a mistyped name makes no pair.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

last() { # REPLICA ERROR: status says that of its last run, and still generation 1
    s_as web t_ok blkrep status --json "$1"
    local said
    said=$(jq -r 'select(.type == "replica") | "\(.last_error) \(.generation)"' "$T/out")
    [[ $said == "$2 1" ]] || t_fail "status of $1 says $said instead of $2 1"
}
t_random "$T/a" 1M 1
s_start
s_pair web
s_as web t_ok blkrep sync "$T/a" "$S_URL/a"
last "$S_URL/a" null
s_stop
s_as web t_run blkrep sync "$T/a" "$S_URL/a"
t_status 5
last "$S_URL/a" PEER
s_as web t_ok blkrep status "$S_URL/a"
t_stdout_has "PEER: connecting to $S_ADDR"

s_as web t_ok blkrep sync "$T/a" "$T/b"
last "$T/b" null
exec 9>>"$T/a" # a writer
s_as web t_run blkrep sync "$T/a" "$T/b"
t_status 3
last "$T/b" SOURCE_IN_USE
exec 9>&-
s_as web t_ok blkrep sync "$T/a" "$T/b"
last "$T/b" null
mv "$T/b.blkrep" "$T/b.away" # its record is gone: it is a foreign file
s_as web t_run blkrep sync "$T/a" "$T/b"
t_status 3
mv "$T/b.away" "$T/b.blkrep"
last "$T/b" TARGET_FOREIGN
mv "$T/a" "$T/away"
cd "$T"
s_as web t_run blkrep sync a ./b # by other names
t_status 1
last "$T/b" NOT_FOUND
s_as web t_run blkrep sync --dry-run "$T/away" "$T/b"
s_as web t_run blkrep sync --buffers=0 "$T/away" "$T/b"
last "$T/b" NOT_FOUND # neither was a run

s_as web t_run blkrep sync "$T/away" "$S_URL/mistyped"
t_status 5
s_start
s_as web t_run blkrep sync --overwrite "$T/b" "$S_URL/a" # a writer may not replace
t_status 5
s_as web t_ok blkrep status
[[ $(wc -l <"$T/out") -eq 3 ]] || t_fail "other than two pairs"
s_as web t_run blkrep sync "$T/mistyped" "$T/b"
t_status 1
s_as web t_ok blkrep status
t_stdout_lacks mistyped
