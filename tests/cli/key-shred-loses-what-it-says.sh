#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# key shred: what it names is lost, and nothing else; the current epoch is refused; afterwards the next backup stores anew what is gone, from its
# state or without, with every object of the epoch still in its place too; cut in the middle it is finished by the same command. An epoch that
# is missing without the note, or with a forged one, still stops all writing.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo v=$T/volume w=$T/other
t_random "$v" 2M 1
t_ok blkrep init "$repo" --key-file "$T/key"
b() { t_ok blkrep "$1" "${@:2}" --key-file "$T/key" --json; }
b backup "$v" "$repo"
first=$(t_json point)
b key rotate "$repo"
t_random_at "$v" 100000 5000 2
b backup "$v" "$repo" # shares with the first
second=$(t_json point)
t_random "$w" 1M 3
b backup "$w" "$repo" # shares nothing
third=$(t_json point)
cp "$v" "$T/is"
b backup "$v" "$repo" --type full
full=$(t_json point)

t_run blkrep key shred "$repo" 2 --key-file "$T/key" --yes
t_status 3
t_stderr_has "begin another one"
for bad in 0 x 1x 7; do
    t_run blkrep key shred "$repo" "$bad" --key-file "$T/key" --yes
    [[ $T_STATUS -eq 2 || $T_STATUS -eq 1 ]] || t_fail "epoch $bad was taken"
done
t_run blkrep key shred "$repo" 1 --key-file "$T/key"
t_status 3 # nobody to ask
b key shred "$repo" 1 --dry-run
[[ $(jq -r 'select(.type == "exit") | .points_lost | sort | join(" ")' "$T/out") == "$(printf '%s\n' "$first" "$second" | sort | paste -sd ' ')" ]] || t_fail "other points"
t_json_is shredded false
b points "$repo"
t_json_is points 4
b hold "$repo@$second"
t_run blkrep key shred "$repo" 1 --key-file "$T/key" --yes
t_status 3
t_stderr_has "is held"
b unhold "$repo@$second"
cp -a "$repo" "$T/before"

b key shred "$repo" 1 --yes
t_json_is shredded true
t_le 1000000 "$(t_json bytes_removed)" "what was removed"
[[ ! -e $repo/epochs/00000001 && -s $repo/epochs/00000001-shredded ]] || t_fail "the key is still there"
b points "$repo"
[[ $(jq -r 'select(.type == "point") | .id' "$T/out" | sort) == "$(printf '%s\n' "$third" "$full" | sort)" ]] || t_fail "other points were left"
b verify "$repo" --data
b key list "$repo"
[[ $(jq -r 'select(.type == "exit") | .epochs[0].shredded' "$T/out") == 20* ]] || t_fail "the list does not say it"
t_run blkrep dump "$repo" epochs/00000001-shredded --key-file "$T/key"
[[ $T_STATUS -eq 2 ]] || t_stdout_has shredded
b restore "$repo@$full" "$T/back"
t_file_equal "$T/is" "$T/back"
b backup "$v" "$repo"
b backup "$w" "$repo"
b key rotate "$repo"
b backup "$v" "$repo"
b verify "$repo" --data
b key shred "$repo" 1 --yes # again: nothing is left to do
b points "$repo"

# as a copy that still has every object of the epoch but its key: nothing of it counts, and all the same holds
again=$T/before
b points "$again"
cp "$repo/epochs/00000001-shredded" "$again/epochs/"
b points "$again"
t_json_is points 3 # the second one opens, and lacks what is gone
b key shred "$again" 1 --yes
b points "$again"
t_json_is points 2
[[ ! -e $again/epochs/00000001 ]] || t_fail "the key was left"

# the newest point lacks what is gone: the next backup says so by storing it
third=$T/third
t_ok blkrep init "$third" --key-file "$T/key3"
c() { t_ok blkrep "$1" "${@:2}" --key-file "$T/key3" --json; }
c backup "$v" "$third"
c key rotate "$third"
t_random_at "$v" 300000 5000 4
c backup "$v" "$third"
c key shred "$third" 1 --yes
c points "$third"
t_json_is points 0
c backup "$v" "$third"
t_le 2000000 "$(t_json bytes_stored)" "what was stored anew"
c restore "$third@latest" "$T/back" --overwrite
t_file_equal "$v" "$T/back"
c verify "$third" --data
rm -rf "$BLKREP_STATE"
c verify "$third" --data

# no note, or somebody else's: nothing new is written
rm -f "$third/epochs/00000001-shredded"
t_run blkrep backup "$v" "$third" --key-file "$T/key3"
t_status 4
cp "$repo/epochs/00000001-shredded" "$third/epochs/"
t_run blkrep backup "$v" "$third" --key-file "$T/key3"
t_status 4
t_stderr_has "nothing new is written"
t_ok blkrep init "$T/open" --encryption none
t_run blkrep key shred "$T/open" 1 --yes
t_status 1
