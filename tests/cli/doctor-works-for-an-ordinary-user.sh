#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An ordinary user gets the same devices with what may be seen of them, and is told what only root can see.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
t_root
t_need setpriv jq

place=$(mktemp -d -p /var/tmp blkrep-t.XXXXXX)
t_undo+=("rm -rf $(printf %q "$place")")
chmod 755 "$place"
cp "$BLKREP" "$place/blkrep" && chmod 755 "$place/blkrep"
: >"$place/blkrep.conf"
export BLKREP_CONFIG=$place/blkrep.conf BLKREP_STATE=$place/state HOME=$place
as() { t_run setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$place/blkrep" "$@"; }
as --version
[[ $T_STATUS -eq 0 ]] || t_skip "the program can't be run as another user here"

t_hole "$T/image" 8M
t_loop "$T/image"
as doctor --json
t_status 0
jq -e '.machine.facts.admin == false' "$T/out" >/dev/null || t_fail "an ordinary user is taken for root"
jq -e '.features[] | select(.name == "sync") | .ok' "$T/out" >/dev/null || t_fail "sync does not work"
jq -e --arg name "${T_LOOP##*/}" '.devices[] | select(.name == $name) | .seen == "denied" and .size_bytes == 8388608' "$T/out" >/dev/null ||
    t_fail "the loop device is not there as one that may not be read"
as doctor
t_status 0
t_stdout_has "ordinary user"
t_stdout_has "only root can see"
