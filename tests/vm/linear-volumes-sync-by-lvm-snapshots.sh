#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=160M disk=home=32M disk=target=32M disk=other=32M tools=dmsetup,lvm,mke2fs,e2fsck modules=dm-snapshot cpus=1 timeout=240
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A logical volume, mounted and written to, with tracker cow by LVM's own snapshots: it keeps its path and table, each run reads and ships what
# changed and the replica is the view; taking the group down and up is no gap; a snapshot that is not the one that was made is noticed; a store
# grows before it is full, and when it can't the snapshot goes and the volume lives; and after a detach nothing is left.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" || fail "vgcreate"
lvm lvcreate -q -y -n db -L 32M data || fail "lvcreate"
mke2fs -q -t ext4 /dev/data/db && mkdir -p /run/db && mount /dev/data/db /run/db || fail "ext4"

check_replica() { e2fsck -fn "$1" >"$T/fsck" 2>&1 || fail "$1 is no clean file system: $(cat "$T/fsck")"; }
ours() { lvm lvs --noheadings -o lv_name data | grep -o 'blkrep-[^ ]*'; }

run_is 2 blkrep attach db /dev/data/db --tracker thin
says "no thin logical volume"
nothing_left data-db
run blkrep attach db /dev/data/db
is tracker cow
is path /dev/data/db
is online false
vm_pattern $((4 << 20)) first >/run/db/first
run blkrep sync db /dev/vm/target --overwrite --yes
is tracker cow
is fallback_reason first-copy
is consistency clean
check_replica /dev/vm/target
[[ $(ours | wc -l) -eq 1 ]] || fail "not one snapshot is held: $(ours)"

vm_pattern $((1 << 20)) later >/run/db/later
run blkrep sync /dev/data/db /dev/vm/target --recheck 1M
is tracker cow
is fallback_reason null
is tracker_caught false
below bytes_read $((12 << 20))
check_replica /dev/vm/target
[[ $(ours | wc -l) -eq 1 ]] || fail "not one snapshot is held: $(ours)"
echo "it read $(field bytes_read), named $(field bytes_tracked), shipped $(field bytes_shipped)"

# LVM takes its snapshots down and up with the volume: that is no gap.
run blkrep sync db /dev/vm/other --overwrite --yes
echo down >/run/db/later
umount /run/db
run blkrep detach --all --keep
lvm vgchange -q -an data && lvm vgchange -q -ay data || fail "vgchange"
run blkrep attach --all
is tracking_lost null
mount /dev/data/db /run/db || fail "mount"
echo up >/run/db/more && sync
run blkrep snapshot create db --name s1
path=$(field 'snapshots[0].path')
[[ -b $path ]] || fail "no snapshot at '$path'"
for to in target other; do
    run blkrep sync db@s1 "/dev/vm/$to" --recheck 1M
    is fallback_reason null
    same "a replica and the snapshot that it was made of" "$path" "/dev/vm/$to"
done
blkrep snapshot remove db@s1 || fail "snapshot remove"

# One that somebody removed and made anew under the same name holds no history.
held=$(ours)
[[ $(wc -l <<<"$held") -eq 1 ]] || fail "not one snapshot is held: $held"
lvm lvremove -q -y "data/$held" && lvm lvcreate -q -y -s -n "$held" --addtag blkrep -L 8M data/db || fail "another snapshot"
echo after >/run/db/more && sync
run blkrep sync db /dev/vm/target
is fallback_reason snapshot-is-another
check_replica /dev/vm/target

# A store grows before it is full; when it can't any more the snapshot goes, and the volume lives.
run blkrep snapshot create db --name small --store 8M
small=$(field 'snapshots[0].path')
size() { blockdev --getsize64 "$(readlink -f "/dev/mapper/data-blkrep--db--${small##*-}-cow")"; }
before=$(size)
vm_pattern $((5 << 20)) grow >/run/db/grow && sync
run blkrep watch --once
[[ $(size) -gt $before ]] || fail "the store did not grow: $before, $(size)"
lvm lvcreate -q -y -n hog -l 100%FREE data || fail "hog"
for i in 1 2 3; do
    vm_pattern $((12 << 20)) "full$i" >/run/db/full && sync || fail "the source takes no writes"
done
[[ $(dmsetup status "data-blkrep--db--${small##*-}") == *Invalid* ]] || fail "it did not overflow: $(dmsetup status)"
blkrep watch --once || fail "watch"
[[ -z $(ours | grep -x "blkrep-db-${small##*-}") ]] || fail "the lost snapshot is there: $(lvm lvs data)"
echo lives >/run/db/more && sync || fail "the source takes no writes"
lvm lvcreate -q -y -n more -l 100%FREE data || fail "hog"
run_is 6 blkrep snapshot create db --name none
lvm lvremove -q -y data/hog data/more || fail "lvremove"
run blkrep sync db /dev/vm/target
check_replica /dev/vm/target

umount /run/db
run blkrep detach db
[[ -z $(ours) ]] || fail "left behind: $(lvm lvs data)"
nothing_left data-db
run blkrep sync /dev/data/db /dev/vm/target
is tracker scan
