#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each field that doctor --json prints is on its manual page, and each on the page is printed.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
t_need jq mandoc

# a mounted device, so that lists of mounts and plans are not empty
t_hole "$T/image" 16M
PATH=$PATH:/usr/sbin:/sbin t_need mkfs.ext4
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F "$T/image" >&2
t_loop "$T/image"
t_mount "$T_LOOP" "$T/mnt"
t_ok blkrep doctor --json
tail -n 1 "$T/out" >"$T/object"
# the keys of machine.facts have a section of their own
jq -r '[paths | map(if type == "number" then "[]" else . end) | join(".") | gsub("\\.\\[\\]"; "[]")] | unique[]' "$T/object" |
    grep -vE '^machine\.facts\.|\[\]$|^(type|schema|verb|status|error|warnings)$' | sort -u >"$T/printed"
t_ok blkrep manual blkrep-doctor.1
mandoc -Tutf8 -O width=200 "$T/out" | sed 's/.\x08//g' | awk '/^[A-Z]/ { on = /^JSON/ } on' >"$T/json"
mandoc -Tutf8 -O width=200 "$T/out" | sed 's/.\x08//g' | awk '/^[A-Z]/ { on = /^FACTS/ } on' >"$T/facts"
grep -oE '^       [a-z_.]+(\[\])?[a-z_.]*(\[\])?[a-z_.]* \(' "$T/json" | tr -d ' (' | sort -u >"$T/documented"
comm -23 "$T/printed" "$T/documented" >"$T/undocumented"
[[ ! -s $T/undocumented ]] || t_fail "not on the page: $(tr '\n' ' ' <"$T/undocumented")"
# what only some devices have, or only some machines
comm -13 "$T/printed" "$T/documented" | grep -vE '^devices\[\]\.places\[\]' >"$T/absent" || true
[[ ! -s $T/absent ]] || t_fail "on the page, but not printed: $(tr '\n' ' ' <"$T/absent")"
for fact in $(jq -r '.machine.facts | keys[]' "$T/object"); do
    grep -q "^       $fact\\b" "$T/facts" || t_fail "the page does not list the fact $fact"
done
