#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# diff names the blocks that differ between two points of a volume, whichever domain they are in, and between a point and a replica; --extents
# prints what backup --extents takes. Nothing of the repository's data is read.
. "$(dirname "$0")/../lib/cli.sh"

v=$T/volume repo=$T/repo
t_ok blkrep init "$repo" --encryption none
t_random "$v" 10M 1
backup() {
    t_ok blkrep backup "$v" "$repo" --json "$@"
    id=$(t_json point)
}
backup
first=$id
t_ok blkrep sync "$v" "$T/replica"
t_random_at "$v" $((65536 * 3 + 5)) 10 2
t_random_at "$v" $((65536 * 7)) 131072 3
head -c 65536 /dev/zero | dd of="$v" bs=64K seek=20 conv=notrunc status=none
backup --type full
second=$id

t_ok blkrep diff "$repo@$first" "$repo@$second"
grep -v OFFSET "$T/out" | awk '{ print $1 / 65536, $2 / 65536, $3 }' >"$T/table"
diff "$T/table" - <<<$'3 1 data\n7 2 data\n20 1 zero' || t_fail "other ranges"
t_ok blkrep diff "$repo@$first" "$repo@$second" --json
t_json_is ranges 3
t_json_is bytes_data $((3 * 65536))
t_json_is bytes_zero 65536
t_json_is bytes_differ $((4 * 65536))
t_json_is same false
[[ $(grep -c '"type":"range"' "$T/out") -eq 3 ]] || t_fail "not a line for each range"
t_ok blkrep diff "$repo@$second" "$repo@$second" --json
t_json_is same true
t_json_is ranges 0

# a replica: at the first point, then at the second one
t_ok blkrep diff "$repo@$first" "$T/replica" --json
t_json_is same true
t_ok blkrep diff "$repo@$second" "$T/replica" --json
t_json_is same false
t_json_is ranges 3
t_ok blkrep sync "$v" "$T/replica"
t_ok blkrep diff "$repo@$second" "$T/replica" --json
t_json_is same true
t_run blkrep diff "$repo@$second" "$v"
t_status 1

# what it prints is what a backup takes: of a copy of the volume with the same changes, only these ranges are read
cp --sparse=always "$v" "$T/is"
t_ok blkrep restore "$repo@$first" "$v" --overwrite --yes
backup
third=$id
cp "$T/is" "$v"
t_ok blkrep diff "$repo@$first" "$repo@$second" --extents
cp "$T/out" "$T/extents"
t_ok blkrep backup "$v" "$repo" --extents "$T/extents" --since "$third" --recheck 0 --json
t_json_is bytes_tracked $((4 * 65536))
t_le "$(t_json bytes_read)" $((4 * 65536)) "bytes read of a source with four changed blocks"
t_ok blkrep diff "$repo@$second" "$repo@$(t_json point)" --json
t_json_is same true

# without the data: a diff needs the trees alone
t_random "$T/other" 3M 9
t_ok blkrep backup "$T/other" "$repo"
t_run blkrep diff "$repo@$first" "$repo@latest" --volume other
t_status 1 # the first id is none of that volume
t_run blkrep diff "$repo@$first" "$repo@$("$BLKREP" points "$repo" --volume other --json | jq -r 'select(.type == "point") | .id')"
t_status 2
t_stderr_has "not of one size"
t_run blkrep diff "$repo" "$repo@$first"
t_status 2
t_ok blkrep init "$T/second" --encryption none
t_run blkrep diff "$repo@$first" "$T/second@latest"
t_status 2
t_stderr_has "another repository"
