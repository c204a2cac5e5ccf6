#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=240M disk=own=16M disk=area=96M disk=home=32M disk=to_alpha=16M disk=to_beta=16M disk=to_gamma=16M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs,jq modules=dm-snapshot,dm-era,dm-thin-pool timeout=400
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# A snapshot of three volumes at once, a thin and a linear logical volume whose snapshots are LVM's own and one with a stack of blkrep's, while one
# writer goes from one to the other: one cut point explains every sector of all, and the marks that such snapshots become are worth as much as
# any. LVM takes what was made down and up again. A group that can't be had whole leaves nothing, and moves no mark.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

names="alpha beta gamma"
declare -A device=([alpha]=/dev/data/thin [beta]=/dev/mapper/beta [gamma]=/dev/data/linear)

ours() { lvm lvs --noheadings -o lv_name data | grep -o 'blkrep-[^ ]*' | sort; }

# sync_group SNAPSHOT - each volume's, to its target; each replica is the image that was kept of it
sync_group() {
    local name
    for name in $names; do
        run blkrep sync "$name@$1" "/dev/vm/to_$name" --recheck 1M --overwrite --yes
        is tracker_caught false
        same "$1 of $name" "$T/image.$name" "/dev/vm/to_$name"
        [[ $2 == first ]] || is fallback_reason null
    done
}

# take SNAPSHOT - of all, with images of what it shows; the writer goes on
take() {
    local name path
    run blkrep snapshot create gamma alpha beta --name "$1" --store 20M
    jq -r '.snapshots[]? | .volume + " " + .path' "$T/out" >"$T/paths"
    [[ $(wc -l <"$T/paths") -eq 3 ]] || fail "not three snapshots: $(cat "$T/out")"
    while read -r name path; do keep_image "$path" "$T/image.$name"; done <"$T/paths"
}

home_mount
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n linear -L 16M data || fail "linear volume"
lvm lvcreate -q -y -n pool --type thin-pool -L 64M -c 64k data && lvm lvcreate -q -y -n thin -V 16M --thinpool data/pool || fail "thin volume"
run blkrep attach alpha /dev/data/thin
is tracker thin
run blkrep attach beta /dev/vm/own --tracker era --cow /dev/vm/area
run blkrep attach gamma /dev/data/linear
is tracker cow

for name in $names; do keep_image "${device[$name]}" "$T/base.$name"; done
ordered write 1 131072 5 /dev/data/thin /dev/mapper/beta /dev/data/linear >"$T/count" &
writer=$!
for ((i = 1; i <= 3; i++)); do
    take "g$i"
    echo "round $i: the window was $(field window_seconds) s"
    ordered check 1 131072 "$T/base.alpha" "$T/base.beta" "$T/base.gamma" -- "$T/image.alpha" "$T/image.beta" "$T/image.gamma" ||
        fail "round $i"
    sync_group "g$i" "$([[ $i -gt 1 ]] || echo first)"
    for name in $names; do [[ $i -eq 3 ]] || run blkrep snapshot remove "$name@g$i"; done
done

# The second lvcreate has no room: what the first one made goes, and no mark moves.
before=$(ours)
lvm lvcreate -q -y -n hog -l 100%FREE data || fail "hog"
run_is 6 blkrep snapshot create alpha beta gamma --name full --store 8M
for name in $names; do blkrep snapshot list "$name" | grep -q ' full ' && fail "$name has a part of a group that failed"; done
[[ $(ours) == "$before" ]] || fail "left behind: $(lvm lvs data), before: $before"
nothing_suspended
lvm lvremove -q -y data/hog || fail "lvremove"
for name in $names; do
    run blkrep sync "$name" "/dev/vm/to_$name" --recheck 1M
    is fallback_reason null
    is tracker_caught false
done

# LVM's commands find what they made, whatever happened to it meanwhile.
kill -TERM "$writer"
wait "$writer" || fail "the writer saw an error"
echo "$(cat "$T/count") writes"
lvm lvchange --refresh data/thin data/linear || fail "lvchange"
run blkrep detach --all --keep
lvm vgchange -q -an data && lvm vgchange -q -ay data || fail "vgchange"
run blkrep attach --all
is tracking_lost null
while read -r name path; do same "g3 of $name after LVM took it down and up" "$T/image.$name" "$path"; done <"$T/paths"
for name in $names; do run blkrep snapshot remove "$name@g3"; done

for name in $names; do synced_then_detached "$name" "${device[$name]}" "/dev/vm/to_$name"; done
[[ -z $(ours) ]] || fail "left behind: $(lvm lvs data)"
! dmsetup ls | grep -q beta || fail "left behind: $(dmsetup ls)"
