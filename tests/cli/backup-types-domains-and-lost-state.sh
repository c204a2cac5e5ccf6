#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A differential point's parent is the newest full one, however many came between, and the next incremental one goes on from it; the first of a
# volume is full. --volume goes on with a volume whose state was lost, storing nothing twice; --domain says whose data are shared. Every
# point reads back as the source was.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/points.sh"

v=$T/volume repo=$T/repo
t_ok blkrep init "$repo" --encryption none
t_random "$v" 4M 1
parent_is() { [[ $(jq -r 'select(.type == "exit") | .parent' "$T/out") == "$1" ]] || t_fail "another parent than $1"; }

backup --type differential
t_stderr_has "this one is full"
t_json_is pointtype full
parent_is null
t_random_at "$v" 100000 5000 2
backup
parent_is "${point[0]}"
t_random_at "$v" 1000000 5000 3
backup --type differential
parent_is "${point[0]}"
t_json_is pointtype differential
t_json_is fallback_reason differential
t_le "$stored" 40000 "what a differential after 10 KiB of changes stores"
t_le 16384 "$(t_json bytes_changed)" "what changed since the full point"
t_random_at "$v" 2000000 5000 4
backup
parent_is "${point[2]}"
t_json_is pointtype incremental
t_le "$(t_json bytes_changed)" 8192 "what changed since the differential point"
t_random_at "$v" 3000000 5000 5
backup --type differential
parent_is "${point[0]}"
backup --type full
t_random_at "$v" 3100000 5000 6
backup --type differential
parent_is "${point[5]}"
t_ok blkrep points "$repo" --json
[[ $(jq -r 'select(.type == "point") | "\(.number) \(.pointtype)"' "$T/out" | tr '\n' ,) == "1 full,2 incremental,3 differential,4 incremental,5 differential,6 full,7 differential," ]] || t_fail "other types"

# a first incremental one counts as full, and says so
cp "$v" "$T/other"
t_ok blkrep backup "$T/other" "$repo"
t_stdout_has "which has no parent and counts as a full one"
t_ok blkrep backup "$T/other" "$repo" --type differential --json
[[ $(t_json parent) == $("$BLKREP" points "$repo" --volume other --json | jq -r 'select(.type == "point" and .pointtype == "incremental") | .id') ]] || t_fail "a differential one below another"

# the state is lost: a new volume, and a word of warning; or the old one, of which nothing is stored twice
volume=$(t_ok blkrep backup "$v" "$repo" --json && t_json volume)
n=$((n + 1)) && cp "$v" "$T/is.7" && point[7]=$("$BLKREP" points "$repo" --json | jq -r 'select(.type == "point" and .number == 8) | .id')
rm -rf "$v.blkrep"
t_run blkrep backup "$v" "$repo" --volume nobody
t_status 1
t_run blkrep backup "$v" "$repo" --volume volume --dry-run
t_status 2
t_random_at "$v" 50000 5000 7
backup --volume volume
t_json_is volume "$volume"
parent_is "${point[7]}"
t_json_is fallback_reason state-lost
t_le "$stored" 60000 "what a volume that was adopted stores"
t_le "$(t_json bytes_read)" $((4 << 20)) "bytes read"
backup --volume "${volume:0:8}"
[[ $(jq -r 'select(.type == "exit") | .fallback_reason' "$T/out") == null ]] || t_fail "a known volume was compared as a whole"
rm -rf "$v.blkrep"
backup
t_stderr_has "would have continued that"
[[ $(t_json volume) != "$volume" ]] || t_fail "a volume was guessed"
t_run blkrep backup "$v" "$repo" --volume "$volume"
t_status 3
t_stderr_has "is known to be another volume"
t_run blkrep backup "$v" "$repo" --volume volume
t_status 2
t_stderr_has "several volumes"

# domains: shared with this host's by default, with nobody's, with another volume's
w=$T/other
cp "$v" "$w"
t_ok blkrep backup "$w" "$repo" --json
t_le "$(t_json bytes_stored)" 20000 "a copy of what this host's domain has"
rm -rf "$w.blkrep"
t_ok blkrep backup "$w" "$repo" --domain new --json
t_le 4000000 "$(t_json bytes_stored)" "a domain of its own"
t_random_at "$w" 60000 5000 8
t_ok blkrep backup "$w" "$repo" --json
t_le "$(t_json bytes_stored)" 40000 "the next point of a domain of its own"
x=$T/third
cp "$w" "$x"
t_ok blkrep backup "$x" "$repo" --domain other --json
t_le "$(t_json bytes_stored)" 20000 "a copy, in the domain of the volume that has it"
t_ok blkrep backup "$x" "$repo" --domain new --json
t_le 4000000 "$(t_json bytes_stored)" "moved to a domain of its own"
[[ $(jq -r 'select(.type == "exit") | .parent' "$T/out") == null ]] || t_fail "a parent in another domain"
t_ok blkrep backup "$x" "$repo" --domain "host:$(uname -n)" --json
t_ok blkrep restore "$repo@$(t_json point)" "$T/back"
t_file_equal "$x" "$T/back"
t_run blkrep backup "$x" "$repo" --domain host:nobody
t_status 1
t_run blkrep backup "$x" "$repo" --type full --domain other
t_status 2

t_ok blkrep verify "$repo" --data
for ((i = 0; i < n; i++)); do
    t_ok blkrep restore "$repo@${point[i]}" "$T/back" --overwrite
    t_file_equal "$T/is.$i" "$T/back"
done
rm -rf "$BLKREP_STATE"
t_ok blkrep restore "$repo@${point[6]}" "$T/back" --overwrite
t_file_equal "$T/is.6" "$T/back"
