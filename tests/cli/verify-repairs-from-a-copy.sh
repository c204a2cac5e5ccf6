#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep verify --repair: what is missing or damaged is stored anew from another repository's copies of the points, whatever the damage is, and no
# more than that; what the copy lacks, or has damaged too, stays named. --share reads all in some runs; --data proves packs of others.
# timeout: 120
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo second=$T/second
t_ok blkrep init "$repo" --encryption none
t_ok blkrep init "$second" --key-file "$T/key"
t_random "$T/disk.img" 6M 1
for n in {0..3}; do
    t_ok blkrep backup "$T/disk.img" "$repo" --json
    id[n]=$(jq -r 'select(.type == "exit") | .point' "$T/out")
    cp "$T/disk.img" "$T/image.$n"
    t_random_at "$T/disk.img" $((n * 900000)) 500000 $((n + 5))
done
t_ok blkrep copy "$repo" "$second" --to-key-file "$T/key"
cp -r "$repo" "$T/good"
mapfile -t packs < <(cd "$repo" && find packs -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2)
[[ ${#packs[@]} -ge 4 ]] || t_fail "only ${#packs[@]} packs"

flip() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); at = int(sys.argv[2]); f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 8]))' "$1" "$2"; }
field() { jq -r "select(.type == \"exit\") | .$1" "$T/out"; }
all_read() {
    local n
    for n in {0..3}; do
        t_ok blkrep restore "$repo@${id[n]}" "$T/back" --overwrite
        t_file_equal "$T/image.$n" "$T/back"
    done
}
repair() { t_run blkrep verify "$repo" --repair "$second" --to-key-file "$T/key" --json; }
again() { # the repository as it was, and its state
    rm -rf "$repo" "$BLKREP_STATE"
    cp -r "$T/good" "$repo"
}

# nothing is wrong: nothing is stored
repair
t_status 0
[[ $(field bytes_repaired) -eq 0 ]] || t_fail "a whole repository was repaired"

# a flipped bit; a pack that is gone; one that is cut; the biggest damaged in its directory
for harm in flip gone cut directory; do
    again
    case $harm in
    flip) flip "$repo/${packs[0]}" 3000 ;;
    gone) rm "$repo/${packs[1]}" ;;
    cut) truncate -s -100 "$repo/${packs[2]}" ;;
    directory) flip "$repo/${packs[0]}" $(($(stat -c %s "$repo/${packs[0]}") - 60)) ;;
    esac
    t_run blkrep verify "$repo" --data
    t_status 4
    before=$(du -sb "$repo/packs" | cut -f1)
    repair
    t_status 0
    [[ $(field bytes_repaired) -gt 0 && $(field complete) == true ]] || t_fail "$harm: nothing was repaired"
    t_le "$(field bytes_repaired)" $(($(stat -c %s "$T/good/${packs[0]}") + 100000)) "$harm: what was stored anew"
    t_le "$before" "$(du -sb "$repo/packs" | cut -f1)" "$harm: packs"
    all_read
    BLKREP_STATE=$T/elsewhere-$harm all_read # with an index made from nothing
    t_ok blkrep prune "$repo"
    t_ok blkrep verify "$repo" --data
done
grep -q '"act":"repair"' "$BLKREP_STATE/audit.ndjson" || t_fail "no audit line"

# what the copy has damaged too stays named, and nothing false is stored
again
cp -r "$second" "$T/kept"
flip "$repo/${packs[0]}" 3000
for pack in "$second"/packs/*/*; do flip "$pack" 3000; done
repair
t_status 4
[[ $(field complete) == false ]] || t_fail "what can't be repaired counts as repaired"
rm -rf "$second" && mv "$T/kept" "$second"
# a copy that lacks a point
again
rm "$repo/${packs[1]}"
t_ok blkrep prune "$second@${id[3]}" --yes --key-file "$T/key"
repair
t_run blkrep verify "$repo" --repair "$second" --to-key-file "$T/key"
[[ $T_STATUS -eq 0 || $T_STATUS -eq 4 ]] || t_fail "status $T_STATUS"
t_stderr_has "has no copy of point ${id[3]:0:8}"

# a share: some runs read all of it, and find what is wrong
again
t_ok blkrep verify "$repo" --share 1K --json
[[ $(field bytes_read) -gt 0 && $(field bytes_read) -lt $(du -sb "$repo/packs" | cut -f1) ]] || t_fail "a share is all, or nothing"
flip "$repo/${packs[3]}" 3000
found=0
for n in {1..12}; do
    t_run blkrep verify "$repo" --share 1K
    found=$((found + (T_STATUS == 4)))
done
[[ $found -ge 1 ]] || t_fail "no share found the damage"
t_run blkrep verify "$repo" --share 1M --repair "$second"
t_status 2

# an index that was lost knows no pack as its own; reading all of them proves them, and the next backup stores nothing again
again
t_ok blkrep verify "$repo" --data --json
[[ $(field packs_proven) -eq ${#packs[@]} ]] || t_fail "$(field packs_proven) of ${#packs[@]} packs are proven"
t_ok blkrep verify "$repo" --data --json
[[ $(field packs_proven) -eq 0 ]] || t_fail "packs are proven twice"
cp "$T/image.3" "$T/other.img"
t_ok blkrep backup "$T/other.img" "$repo" --domain "$T/disk.img" --json
t_le "$(field bytes_stored)" 200000 "what was stored again"
echo 'verify repairs, shares and proves'
