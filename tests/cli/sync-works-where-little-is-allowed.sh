#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# As an ordinary user: a source in a folder that can't be written keeps its state in the state folder; what is not permitted is named.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_need setpriv
# a place that another user can reach: the test's own folder may lie under a closed one
place=$(mktemp -d -p /var/tmp blkrep-t.XXXXXX)
t_undo+=("rm -rf $(printf %q "$place")")
chmod 755 "$place"
mkdir "$place/ro" "$place/user"
t_random "$place/ro/a" 1M 1
t_random "$place/ro/secret" 1M 2
chmod 755 "$place/ro" && chmod 644 "$place/ro/a" && chmod 600 "$place/ro/secret"
chown 65534:65534 "$place/user"
export BLKREP_STATE=$place/user/state HOME=$place/user
cp "$BLKREP" "$place/user/blkrep" && chmod 755 "$place/user/blkrep"
as() { t_run setpriv --reuid=65534 --regid=65534 --clear-groups "$place/user/blkrep" "$@"; }
: >"$place/blkrep.conf"
export BLKREP_CONFIG=$place/blkrep.conf
as --version
[[ $T_STATUS -eq 0 ]] || t_skip "the program can't be run as another user here"
as sync --json "$place/ro/a" "$place/user/b"
t_status 0
t_file_equal "$place/ro/a" "$place/user/b"
[[ ! -e $place/ro/a.blkrep ]] || t_fail "state in a folder that can't be written"
t_random_at "$place/ro/a" 0 4096 3
as sync --json "$place/ro/a" "$place/user/b"
t_status 0
t_json_is bytes_shipped 4096
t_json_is generation 2
as sync --json "$place/ro/secret" "$place/user/c"
t_refused 1 PERMISSION
t_stderr_has "$place/ro/secret"
[[ ! -e $place/user/c ]] || t_fail "a target for a source that can't be read"
as sync --json "$place/user/b" "$place/ro/new"
t_refused 1 PERMISSION
t_stderr_has "$place/ro"
as sync --json --state="$place/ro/state" "$place/ro/a" "$place/user/b"
t_refused 1 PERMISSION
t_stderr_has "$place/ro/state"
