#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The exit object has its required fields with their types, after success and after failures of every kind.
. "$(dirname "$0")/../lib/cli.sh"

fields() {
    tail -n 1 "$T/out" | jq -e '
        .type == "exit" and .schema == "blkrep.sync/1" and .verb == "sync" and (.status | type) == "number"
        and has("error") and has("fallback_reason") and has("root")
        and .tracker == "scan" and (.consistency | type) == "string"
        and ([.bytes_read, .bytes_changed, .bytes_shipped, .bytes_durable, .bytes_rechecked, .seconds, .generation]
             | all(type == "number"))' >/dev/null || t_fail "a field is missing or of another type"
}
t_random "$T/a" 1M 1
t_ok blkrep sync --json "$T/a" "$T/b"
fields
t_json_is root "$("$BLKREP" verify --json "$T/b" | tail -n 1 | jq -r .root)"
t_ok blkrep sync --json --dry-run "$T/a" "$T/b"
fields
t_run blkrep sync --json "$T/none" "$T/c"
t_status 1
fields
t_json_is error.name NOT_FOUND
t_random "$T/f" 5000 1
t_run blkrep sync --json "$T/a" "$T/f"
t_status 3
fields
t_json_is error.name TARGET_FOREIGN
t_run blkrep sync --json "$T/a" "$T/a"
t_status 3
fields
t_run blkrep sync --json "$T/a" "$T/no/folder"
t_status 1
fields
t_run blkrep sync --json --live-source "$T/a" "$T/b"
t_status 0
fields
