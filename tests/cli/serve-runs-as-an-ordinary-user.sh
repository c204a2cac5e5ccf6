#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A server needs no root: as a user that owns its state and its replicas and nothing else it pairs, is synced to, verified, and ends well;
# what that user may not write is refused in words.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_root
t_need setpriv
place=$(mktemp -d -p /var/tmp blkrep-t.XXXXXX) # where another user can reach it
t_undo+=("rm -rf $(printf %q "$place")")
mkdir "$place/state" "$place/replicas"
cp "$BLKREP" "$place/blkrep"
t_random "$place/roots.img" 1M 1
printf '[serve]\nlisten = %s\ndirectory = %s\n[replica roots]\npath = %s\n' "$S_ADDR" "$place/replicas" "$place/roots.img" >"$place/conf"
chmod 755 "$place" "$place/blkrep"
chmod 644 "$place/conf"
chmod 600 "$place/roots.img"
chmod 700 "$place/state" "$place/replicas"
chown 65534:65534 "$place/state" "$place/replicas"
as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs env "BLKREP_STATE=$place/state" "BLKREP_CONFIG=$place/conf" "HOME=$place" "$place/blkrep")
t_run "${as[@]}" --version
[[ $T_STATUS -eq 0 ]] || t_skip "the program can't be run as another user here"
t_background server "${as[@]}" serve
S_PID=$T_PID
t_wait_for 10 t_listening "$S_PORT"
"${as[@]}" token create >"$T/token" 2>"$T/err" || t_fail "no token"
s_as web t_run_in "$T/token" blkrep pair "$S_ADDR"
t_status 0
t_random "$T/a" 2M 2
s_as web t_ok blkrep sync --verify "$T/a" "$S_URL/db"
t_random_at "$T/a" 1M 4K 3
s_as web t_ok blkrep sync --json "$T/a" "$S_URL/db"
t_json_is generation 2
t_file_equal "$T/a" "$place/replicas/db"
[[ $(stat -c %u "$place/replicas/db") == 65534 ]] || t_fail "not that user's file"
s_as web t_run blkrep sync --json --overwrite "$T/a" "$S_URL/roots"
t_refused 1 PERMISSION
t_stderr_has "$place/roots.img"
cmp -s "$place/roots.img" <(t_stream $((1 << 20)) 1) || t_fail "root's file was written"
t_end "$S_PID" TERM 15
t_status 0
