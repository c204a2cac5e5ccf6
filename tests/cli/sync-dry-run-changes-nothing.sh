#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --dry-run says what would be shipped and changes nothing at all: no file, folder, time or byte, at any state of the replica.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d"
t_random "$T/d/a" 2M 1
dry() { # SHIPPED: a dry run says so and changes nothing
    t_remember "$T/d"
    times=$(stat -c %y "$T/d" "$T"/d/*)
    [[ ! -e $BLKREP_STATE ]] || t_listing "$BLKREP_STATE" >"$T/state.before"
    t_ok blkrep sync --dry-run --json "$T/d/a" "$T/d/b"
    t_json_is dry_run true
    t_json_is new_version false
    t_json_is bytes_shipped "$1"
    t_nothing_changed "$T/d"
    [[ $(stat -c %y "$T/d" "$T"/d/*) == "$times" ]] || t_fail "a folder was written to"
    [[ ! -e $T/state.before ]] || t_listing "$BLKREP_STATE" | cmp - "$T/state.before" || t_fail "the state folder was changed"
}
dry $((2 << 20))
[[ ! -e $BLKREP_STATE ]] || t_fail "a dry run made the state folder"
t_ok blkrep sync "$T/d/a" "$T/d/b"
t_random_at "$T/d/a" 1M 4096 2
dry 4096
t_ok blkrep sync --dry-run "$T/d/a" "$T/d/b"
t_stdout_has "nothing was written"
rm -rf "$T/d/a.blkrep"
t_run blkrep sync --dry-run "$T/d/a" "$T/d/b" # without its own record the source is another volume
t_status 3
