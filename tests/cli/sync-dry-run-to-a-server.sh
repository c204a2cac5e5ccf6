#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --dry-run to a server is for readers too: it tells what would be shipped, is refused where the run itself would be (a target that is too
# small, foreign or in use, a role that may not), and changes nothing on either side.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

mkdir "$T/d"
t_random "$T/d/a" 2M 1
t_random "$T/d/other" 1M 2
s_configure "volume-max = 4M" "[replica own]" "path = $T/replicas/own" "overwrite = no"
t_random "$T/replicas/own" 1M 3
s_start
s_pair writer
s_pair reader --role=reader --volumes=db,new,own
s_pair boss --role=operator
nothing=("$T/d" "$T/replicas" "$T/client-reader" "$T/client-writer" "$T/client-boss" "$S_STATE")
dry() { # dry CLIENT STATUS SOURCE NAME [OPTION...]: so it ends; nothing is changed, but that a refusal is in the server's audit trail
    t_remember "${nothing[@]}"
    s_as "$1" t_run blkrep sync --dry-run --json "${@:5}" "$T/d/$3" "$S_URL/$4"
    t_status "$2"
    sleep 0.2 # for what the server still writes
    t_listing "${nothing[@]}" >"$T/.listing.now"
    diff <(grep -v audit.ndjson "$T/.listing") <(grep -v audit.ndjson "$T/.listing.now") >&2 || t_fail "something was changed"
    [[ $2 -ne 0 ]] || cmp "$T/.listing" "$T/.listing.now" || t_fail "the audit trail was written to"
}
# a first copy, a delta, no change; to a replica by whoever may look
dry reader 0 a new
t_json_is bytes_shipped $((2 << 20))
t_json_is may_write false
t_stderr_has "the run itself would be refused"
dry writer 0 a new
t_json_is may_write true
t_stderr_lacks refused
s_as writer t_ok blkrep sync "$T/d/a" "$S_URL/db"
t_random_at "$T/d/a" 1M 4096 4
dry reader 0 a db
t_json_is bytes_shipped 4096
dry writer 0 a db
t_json_is bytes_shipped 4096
s_as reader t_ok blkrep sync --dry-run "$T/d/a" "$S_URL/db"
t_stdout_has "would ship 4.00 KiB"
t_stdout_has "nothing was written"
s_as writer t_ok blkrep sync "$T/d/a" "$S_URL/db"
dry reader 0 a db
t_json_is bytes_shipped 0
# what the run would be refused for
t_hole "$T/d/large" 5M
dry reader 3 large new
t_json_is error.name TARGET_SMALL
dry writer 3 other db
t_json_is error.name TARGET_FOREIGN
dry writer 5 other db --overwrite
t_json_is error.name AUTH
dry writer 5 other own --overwrite
dry boss 0 other own --overwrite
dry writer 3 other own
dry reader 5 a elsewhere
t_json_is error.name AUTH
s_as writer t_background hold blkrep sync --bwlimit=1M "$T/d/other" "$S_URL/busy"
hold=$T_PID
t_wait_for 10 t_has_bytes "$T/replicas/busy.blkrep/identity" 1
s_as writer t_run blkrep sync --dry-run --json "$T/d/other" "$S_URL/busy"
t_refused 7 BUSY
t_end "$hold"
s_server t_ok blkrep status --audit
s_stop

# a local target in use: refused as the run is
t_hole "$T/disk" 16M
t_loop "$T/disk"
disk=$T_LOOP
mkfs.ext4 -q "$disk"
t_mount "$disk" "$T/mounted"
t_run blkrep sync --dry-run --json --overwrite "$T/d/a" "$disk"
t_refused 3 TARGET_IN_USE
