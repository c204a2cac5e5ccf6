#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# status lists every pair with its state, on one screen a replica in full; what is gone or damaged is said, and it changes nothing.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_ok blkrep status
t_stdout_has "nothing has been synced"
t_run blkrep status "$T/none"
t_status 1
t_random "$T/a" 1M 1
t_ok blkrep sync "$T/a" "$T/b"
t_ok blkrep sync "$T/a" "$T/c"
t_remember "$T/a" "$T/b" "$T/c" "$T/b.blkrep" "$T/c.blkrep" "$T/a.blkrep"
t_ok blkrep status "$T/b"
for word in replica source state "last good version" lag "last full proof" size "state on disk" "space left" root; do t_stdout_has "$word"; done
[[ $(wc -l <"$T/out") -le 24 ]] || t_fail "more than a screen"
t_ok blkrep status --json
[[ $(jq -s '[.[] | select(.type == "replica")] | length' "$T/out") == 2 ]] || t_fail "not both pairs"
t_ok blkrep status "$T/a" # by its source: both
t_nothing_changed "$T/a" "$T/b" "$T/c" "$T/b.blkrep" "$T/c.blkrep" "$T/a.blkrep"
rm "$T/b"
t_ok blkrep status
t_stdout_has gone
# a target that was mistyped and refused is not kept as a pair
t_random "$T/plain" 5000 2
t_run blkrep sync "$T/a" "$T/plain"
t_status 3
t_ok blkrep status
t_stdout_lacks plain
# the audit trail: whole, then with a line changed
t_ok blkrep status --audit
sed -i '1s/sync/snyc/' "$BLKREP_STATE/audit.ndjson"
t_run blkrep status --audit
t_status 4
t_stderr_has audit
