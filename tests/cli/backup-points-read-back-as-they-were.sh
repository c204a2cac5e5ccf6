#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every point of a repository reads back as the source was then: sizes that end within a page, holes, pages changed again and again, blocks made
# zero, growth and shrink; by index, by time, by its digits; also with the index and the source's state lost. A run after the first stores
# what changed. A point's root is that of a replica of the same source.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/points.sh"

v=$T/volume repo=$T/repo
t_ok blkrep init "$repo" --encryption none # scrypt takes its time, and is tested elsewhere
t_json_of() { "$BLKREP" points "$repo" --json | jq -r "select(.type == \"point\") | $1"; }
restored() { # N WORD [OPTIONS]: the point that WORD names is that one
    t_ok blkrep restore "$repo@$2" "$T/back" --overwrite "${@:3}"
    t_file_equal "$T/is.$1" "$T/back"
}

t_random "$v" 3M 1
truncate -s 9M "$v"
t_random_at "$v" 7000000 12345 2
backup --tag first
t_le "$stored" $(((3 << 20) + 300000)) "the first point's size"
for i in 1 2 3; do # the same block again and again: overlays, in the end a block of its own
    t_random_at "$v" $((65536 * 3 + 4096 * 2 * i)) 8192 $((10 + i))
    t_random_at "$v" $((65536 * 9 + 100)) 10 $((20 + i))
    backup
    t_le "$stored" 40000 "point $i after 16 KiB of changes"
done
head -c 200000 /dev/zero | dd of="$v" bs=1 seek=1000000 conv=notrunc status=none
backup --tag zeroed,second
t_random_at "$v" $((65536 * 3)) 40000 30
backup
truncate -s 9437999 "$v" # grown by less than a page
t_random_at "$v" 9437990 9 31
backup
truncate -s 1234567 "$v"
backup
backup # nothing changed
[[ $stored -eq 0 ]] || t_fail "a point of an unchanged source stored $stored bytes"
# changed ranges from elsewhere: only they are read, and a share of the rest; of another point, everything; what they leave out is found
t_random_at "$v" 300000 5000 50
echo '0000300000 0x1388   # and a word' >"$T/extents"
backup --extents "$T/extents" --since "${point[n - 1]:0:8}" --recheck 0
[[ $(t_json tracker) == extents ]] || t_fail "the extents were not used"
t_le "$(t_json bytes_read)" 131072 "bytes read of a source with one changed range"
t_random_at "$v" 700000 5000 51
printf '\n# nothing\n' >"$T/extents"
backup --extents "$T/extents" --since "${point[0]}" --recheck 0
[[ $(t_json fallback_reason) == extents-of-another-point ]] || t_fail "extents of another point were taken"
t_stderr_has "the ranges were left aside"
t_random_at "$v" 900000 5000 52
backup --extents "$T/extents" --since "${point[n - 1]}"
[[ $(t_json tracker_caught) == true ]] || t_fail "a range that was left out was not found"
for line in 'x 5' '5' '-1 5' '5 5 5' '99999999999999999999 1'; do
    echo "$line" >"$T/extents"
    t_run blkrep backup "$v" "$repo" --extents "$T/extents" --since "${point[n - 1]}"
    t_status 2
    t_stderr_has "line 1 is not OFFSET LENGTH"
done
printf '0 5\n1300000 5\n' >"$T/extents"
t_run blkrep backup "$v" "$repo" --extents "$T/extents" --since "${point[n - 1]}"
t_status 2
t_stderr_has "line 2 begins behind the source's end"
t_run blkrep backup "$v" "$repo" --extents "$T/extents"
t_status 2
backup --type full
t_le 1000000 "$stored" "what a full point stores at least"
t_ok blkrep sync --json "$v" "$T/replica"
[[ $(t_json root) == "$(t_json_of .root | tail -n 1)" ]] || t_fail "the replica has another root than the point"

for ((i = 0; i < n; i++)); do restored "$i" "${point[i]}"; done
restored $((n - 1)) latest
restored 0 "latest~$((n - 1))"
restored 2 "${point[2]:0:8}"
restored $((n - 1)) "$(date -u -d tomorrow +%FT%TZ)"
[[ $("$BLKREP" points "$repo" | wc -l) -eq $((n + 1)) ]] || t_fail "points does not list all"
[[ $("$BLKREP" points "$repo" --tag second | tail -n +2 | wc -l) -eq 1 ]] || t_fail "a tag does not find its point"
[[ $("$BLKREP" points "$repo" --volume volume --since "$(date -u +%F)" | tail -n +2 | wc -l) -eq $n ]] || t_fail "today's points are not found"
[[ $("$BLKREP" points "$repo" --since "$(jq -rs 'map(select(.type == "point"))[-1].taken' <("$BLKREP" points "$repo" --json))" | tail -n +2 | wc -l) -ge 1 ]] || t_fail "since the second of the newest point it is not there"
[[ $("$BLKREP" points "$repo" --since "$(date -u +%F)Z" | tail -n +2 | wc -l) -eq $n ]] || t_fail "since a day, in UTC"
[[ $("$BLKREP" points "$repo" --until 2001-01-01 | wc -l) -eq 0 ]] || t_fail "points of another century"

[[ $(t_json_of '[.host, .source, .tracker] | join(" ")' | head -n 1) == "$(uname -n) $v scan" ]] || t_fail "a point does not say where it comes from"

# to a pipe, a range, and only what differs
"$BLKREP" restore "$repo@${point[0]}" - 2>/dev/null | cmp - "$T/is.0" || t_fail "the pipe got something else"
cp "$T/is.5" "$T/range"
t_ok blkrep restore "$repo@${point[0]}" "$T/range" --overwrite --offset 64K --length 128K --dry-run
t_stdout_has "would get 128 KiB at 64.0 KiB of point"
t_ok blkrep restore "$repo@${point[0]}" - --dry-run
t_stdout_has "standard output: would get point"
t_ok blkrep restore "$repo@${point[0]}" "$T/range" --overwrite --offset 64K --length 128K
t_stdout_has "holds 128 KiB at 64.0 KiB of point"
cp "$T/is.5" "$T/wanted"
dd if="$T/is.0" of="$T/wanted" bs=64K skip=1 seek=1 count=2 conv=notrunc status=none
t_file_equal "$T/wanted" "$T/range"
cp "$T/is.0" "$T/delta"
t_ok blkrep restore "$repo@${point[6]}" "$T/delta" --overwrite --delta --json
t_file_equal "$T/is.6" "$T/delta"
t_le "$(t_json bytes_written)" 200000 "bytes written to a target that had most"
t_ok blkrep restore "$repo@${point[0]}" "$T/sparse"
t_le "$(($(stat -c %b "$T/sparse") * 512))" $((4 << 20)) "space that a restored file of 3 MiB takes"

# all that is beside the repository is lost
rm -rf "$BLKREP_STATE" "$v.blkrep"
for ((i = 0; i < n; i++)); do restored "$i" "${point[i]}"; done
t_random_at "$v" 5000 3 40
backup
restored $((n - 1)) latest --volume "$(t_json volume)"
rm -rf "$BLKREP_STATE"
for ((i = 0; i < n; i++)); do restored "$i" "${point[i]}"; done
