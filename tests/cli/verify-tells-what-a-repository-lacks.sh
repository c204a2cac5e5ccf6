#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `blkrep verify` of a repository: whether everything is there, and, apart from it, whether it is what was written; which points suffer, named; of
# one point every block. What is damaged or gone is never restored, and what needs it not is.
. "$(dirname "$0")/../lib/cli.sh"

v=$T/volume repo=$T/repo
t_ok blkrep init "$repo" --encryption none
t_random "$v" 8M 1
t_ok blkrep backup "$v" "$repo" --json
first=$(t_json point)
cp "$v" "$T/is.first"
first_packs=$(find "$repo/packs" -type f)
t_random_at "$v" 4500000 20000 2
t_ok blkrep backup "$v" "$repo" --json
second=$(t_json point)
second_pack=$(find "$repo/packs" -type f | grep -vxF "$first_packs")
t_ok blkrep backup "$v" "$repo" --json
third=$(t_json point)
t_ok blkrep backup "$v" "$repo" --type full --json
full=$(t_json point)
cp "$v" "$T/is.full"
t_ok blkrep verify "$repo" --json
t_json_is complete true
t_stdout_has '"intact":null'
t_json_is points 4
t_ok blkrep verify "$repo" --data --json
t_json_is intact true
t_le "$(du -sb "$repo/packs" | cut -f1)" $(($(t_json bytes_read) + 2000000)) "bytes of packs that were not read"
t_ok blkrep verify "$repo@$first"
t_run blkrep verify "$T/volume" --data
t_status 2
# a share says how much of all it was
t_run blkrep verify "$repo" --data --share 1M
t_status 2
t_ok blkrep verify "$repo" --share 1M
t_stdout_has "of packs read, intact; the next share goes on from there"
t_ok blkrep verify "$repo" --share 1M --json
t_json_is share true
t_le "$(t_json bytes_read)" "$(($(t_json bytes_stored) - 1))" "bytes of a share"
t_ok blkrep verify "$repo" --share 100M
t_stdout_has "all that is stored"

# a byte of data: only reading finds it
first_pack=$(head -n 1 <<<"$first_packs")
cp "$first_pack" "$T/good"
printf 'damaged' | dd of="$first_pack" bs=1 seek=4000000 conv=notrunc status=none
t_ok blkrep verify "$repo"
t_run blkrep verify "$repo" --data --json
t_status 4
t_json_is intact false
t_json_is packs_damaged 1
t_stderr_has "${first_pack#"$repo/"}"
# complete is another question; the points that need anything of that pack are named, and the cure too
t_json_is complete true
t_json_is points_incomplete 0
t_json_is points_damaged 3
t_stderr_has "0 of 4 points incomplete, 3 need what is damaged"
for point in "$first" "$second" "$third"; do t_stderr_has "point ${point:0:8} of"; done
t_stderr_lacks "${full:0:8}"
t_stderr_has "blkrep verify --repair REPO2, which has copies, or --repair SOURCE mends it"
t_ok cp -r "$repo" "$T/unneeded"
for point in "$first" "$second" "$third"; do rm "$T/unneeded/points/"*"/${point//-/}"; done
t_run blkrep verify "$T/unneeded" --data --accept-rollback
t_status 4
t_stderr_has "0 of 1 point incomplete, 1 pack and 0 other objects damaged"
t_stderr_has "blkrep prune removes it"
rm -rf "$T/unneeded"
# one that is too short is found without reading, and told of once
truncate -s -100 "$first_pack"
t_run blkrep verify "$repo" --json
t_status 4
t_json_is points_damaged 3
[[ $(grep -c "is not as long as it was" "$T/err") -eq 1 ]] || t_fail "told of more than once, or not at all"
for point in "$first" "$third"; do
    t_run blkrep verify "$repo@$point"
    t_status 4
    t_stderr_has "the block at"
    t_run blkrep restore "$repo@$point" "$T/none"
    t_status 4
    [[ ! -e $T/none ]] || t_fail "a part of a damaged point was left"
done
t_ok blkrep verify "$repo@$full"
cp "$T/good" "$first_pack"

# a pack is gone: the first point is whole, those that need it are not, also the one that shares all with the one before
mv "$second_pack" "$T/away"
t_run blkrep verify "$repo" --json
t_status 4
t_json_is complete false
t_json_is points_incomplete 2
t_ok blkrep restore "$repo@$first" "$T/back"
t_file_equal "$T/is.first" "$T/back"
t_ok blkrep restore "$repo@$full" "$T/back" --overwrite
t_file_equal "$T/is.full" "$T/back"
t_run blkrep restore "$repo@$second" "$T/back2"
t_status 1
# the next backup is told, and a full one is whole
t_random_at "$v" 4500000 100 3
t_ok blkrep backup "$v" "$repo" --type full
t_ok blkrep verify "$repo@latest"
mv "$T/away" "$second_pack"
t_ok blkrep verify "$repo" --data

# a point object, a directory, a key
point_file=$(find "$repo/points" -name "${second//-/}")
cp "$point_file" "$T/good"
printf 'x' | dd of="$point_file" bs=1 seek=120 conv=notrunc status=none
t_run blkrep verify "$repo" --json
t_status 4
t_json_is points_incomplete 1
t_run blkrep points "$repo"
t_status 4
t_stdout_has "${third:0:8}"
cp "$T/good" "$point_file"
rm -rf "$BLKREP_STATE" # the index has to be made anew, and can't be of this pack
size=$(stat -c %s "$second_pack")
cp "$second_pack" "$T/good"
printf 'x' | dd of="$second_pack" bs=1 seek=$((size - 50)) conv=notrunc status=none
t_run blkrep verify "$repo" --json
t_status 4
t_json_is packs_damaged 1
t_json_is points_incomplete 2
cp "$T/good" "$second_pack"
t_ok blkrep verify "$repo" --data
