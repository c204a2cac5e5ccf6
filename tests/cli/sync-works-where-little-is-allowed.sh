#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# As an ordinary user: a source in a folder that can't be written keeps its state in the state folder; what is not permitted is named.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_need setpriv
chmod 711 "$T"
mkdir "$T/ro" "$T/user"
t_random "$T/ro/a" 1M 1
t_random "$T/ro/secret" 1M 2
chmod 755 "$T/ro" && chmod 644 "$T/ro/a" && chmod 600 "$T/ro/secret"
chown 65534:65534 "$T/user"
export BLKREP_STATE=$T/user/state HOME=$T/user
cp "$BLKREP" "$T/user/blkrep" && chmod 755 "$T/user/blkrep"
as() { t_run setpriv --reuid=65534 --regid=65534 --clear-groups "$T/user/blkrep" "$@"; }
chmod 644 "$T/blkrep.conf"
as --version
[[ $T_STATUS -eq 0 ]] || t_skip "the program can't be run as another user here"
as sync --json "$T/ro/a" "$T/user/b"
t_status 0
t_file_equal "$T/ro/a" "$T/user/b"
[[ ! -e $T/ro/a.blkrep ]] || t_fail "state in a folder that can't be written"
t_random_at "$T/ro/a" 0 4096 3
as sync --json "$T/ro/a" "$T/user/b"
t_status 0
t_json_is bytes_shipped 4096
t_json_is generation 2
as sync --json "$T/ro/secret" "$T/user/c"
t_refused 1 PERMISSION
t_stderr_has "$T/ro/secret"
[[ ! -e $T/user/c ]] || t_fail "a target for a source that can't be read"
as sync --json "$T/user/b" "$T/ro/new"
t_refused 1 PERMISSION
t_stderr_has "$T/ro"
as sync --json --state="$T/ro/state" "$T/ro/a" "$T/user/b"
t_refused 1 PERMISSION
t_stderr_has "$T/ro/state"
