#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stats counts what points need by chunks: a volume alone, what two share, what no point needs after one was removed; data of all points; epochs.
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo v=$T/volume w=$T/other
t_ok blkrep init "$repo" --encryption none
t_ok blkrep stats "$repo" --json
t_json_is points 0
t_json_is bytes_needed 0
t_random "$v" 4M 1
t_ok blkrep backup "$v" "$repo"
t_ok blkrep stats "$repo" --json
near() { # FIELD LEAST: up to 1 % more
    t_le "$2" "$(t_json "$1")" "$1"
    t_le "$(t_json "$1")" $(($2 + $2 / 100 + 20000)) "$1"
}
near bytes_data $((4 << 20))
near bytes_needed $((4 << 20))
near bytes_needed_stored $((4 << 20))
t_le "$(t_json bytes_unneeded_stored)" 100 "unneeded"

# another volume with half of it: that half is shared, and nothing is stored twice
cp "$v" "$w"
t_random_at "$w" $((2 << 20)) $((2 << 20)) 2
t_ok blkrep backup "$w" "$repo"
t_ok blkrep stats "$repo" --json
near bytes_needed $((6 << 20))
near bytes_data $((8 << 20))
t_json_is volumes 2
for field in bytes_alone bytes_shared; do
    for n in $(jq -r "select(.type == \"volume\") | .$field" "$T/out"); do
        t_le $((2 << 20)) "$n" "$field"
        t_le "$n" $(((2 << 20) + 60000)) "$field"
    done
done

# the same data at twice as many points; what compresses; a page in a block
t_ok blkrep backup "$v" "$repo"
t_random_at "$v" 4096 4096 3
t_ok blkrep backup "$v" "$repo"
{ yes 'the same line again' || true; } | head -c 4194304 >"$T/text"
t_ok blkrep backup "$T/text" "$repo"
t_ok blkrep stats "$repo" --json
near bytes_data $((20 << 20))
t_le "$(t_json bytes_needed)" $(((10 << 20) + 100000)) "needed"
near bytes_needed_stored $((6 << 20))
[[ $(t_json '.dedup_ratio > 1.9 and .compression_ratio > 1.05') == true ]] || t_fail "other ratios"
t_json_is chunks_missing 0
[[ $(jq -r 'select(.type == "epoch") | .packs' "$T/out") == "$(t_json packs)" ]] || t_fail "packs of no epoch"
[[ $(t_json bytes_packs) -eq $(find "$repo/packs" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }') ]] || t_fail "other sizes than the files"

# the points of one volume are removed: what it had alone is needed by none
volume=$("$BLKREP" points "$repo" --volume other --json | jq -r 'select(.type == "point") | .volume' | tr -d -)
chmod -R u+w "$repo/points" && rm -r "$repo/points/$volume"
t_ok blkrep stats "$repo" --json
t_json_is volumes 2
near bytes_unneeded_stored $((2 << 20))
[[ $(jq -r 'select(.type == "volume") | .bytes_shared' "$T/out" | sort -u) == 0 ]] || t_fail "still shared"
t_ok blkrep stats "$repo"
t_stdout_has "dedup"

# a pack that is gone is missed
find "$repo/packs" -type f -size +1M -delete
t_ok blkrep stats "$repo" --json
t_le 1 "$(t_json chunks_missing)" "chunks missing"
