#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=128M disk=home=32M disk=target=32M disk=other=32M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs,e2fsck modules=dm-thin-pool,dm-snapshot cpus=1 timeout=300
#
# A thin volume of LVM's, mounted and written to, with tracker thin: it keeps its path, each run reads and ships what changed (writes and
# discards) and the replica is the view; two consumers have marks of their own; a metadata snapshot that somebody else holds, one that a
# crash left and a pool that is nearly full are coped with; and after a detach nothing is left.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" || fail "vgcreate"
lvm lvcreate -q -y -n pool --type thin-pool -L 72M -c 64k data || fail "thin pool"
lvm lvcreate -q -y -n db -V 32M --thinpool data/pool || fail "thin volume"
mke2fs -q -t ext4 /dev/data/db && mkdir -p /run/db && mount -o discard /dev/data/db /run/db || fail "ext4"

check_replica() { e2fsck -fn "$1" >"$T/fsck" 2>&1 || fail "$1 is no clean file system: $(cat "$T/fsck")"; }
slot() { [[ $(dmsetup status data-pool-tpool) == *" - rw "* ]] || fail "the pool has a metadata snapshot: $(dmsetup status data-pool-tpool)"; }

run blkrep attach db /dev/data/db
is tracker thin
is path /dev/data/db
is online false
[[ $(dmsetup table data-db) == *" thin "* ]] || fail "the volume's table was changed: $(dmsetup table data-db)"
vm_pattern $((4 << 20)) first >/run/db/first
run blkrep sync db /dev/vm/target --overwrite --yes
is tracker thin
is fallback_reason first-copy
is consistency clean
check_replica /dev/vm/target

vm_pattern $((1 << 20)) later >/run/db/later
run blkrep sync /dev/data/db /dev/vm/target --recheck 1M
is tracker thin
is fallback_reason null
is tracker_caught false
below bytes_read $((12 << 20))
check_replica /dev/vm/target
slot
echo "it read $(field bytes_read), named $(field bytes_tracked), shipped $(field bytes_shipped)"

# One page in a block of 64 KiB: what is shipped is the page, not the block.
sync
vm_pattern 4096 page | dd of=/run/db/first bs=4096 seek=300 conv=notrunc,fsync status=none
run blkrep sync db /dev/vm/target --recheck 1M
is fallback_reason null
below bytes_shipped $((160 << 10))

# Another consumer, whose mark is older; and discards.
run blkrep sync db /dev/vm/other --overwrite --yes
rm /run/db/later && sync
vm_pattern $((2 << 20)) third >/run/db/third
run blkrep sync db /dev/vm/target --recheck 1M
is fallback_reason null
run blkrep snapshot create db --name s1
path=$(field 'snapshots[0].path')
[[ -b $path ]] || fail "no snapshot at '$path'"
echo more >/run/db/more && sync
for to in target other; do
    run blkrep sync db@s1 "/dev/vm/$to" --recheck 1M
    is fallback_reason null
    same "a replica and the snapshot that it was made of" "$path" "/dev/vm/$to"
done
blkrep snapshot list db || fail "snapshot list"
blkrep snapshot remove db@s1 || fail "snapshot remove"

# The pool's one metadata snapshot: somebody else's is left alone, one of ours that a crash left goes.
dmsetup message data-pool-tpool 0 reserve_metadata_snap || fail "reserve"
run blkrep sync db /dev/vm/target
is fallback_reason pool-metadata-snapshot-busy
says "somebody else holds"
held=$(dmsetup status data-pool-tpool | awk '{ print $7 }')
[[ $held =~ ^[0-9]+$ ]] || fail "somebody else's metadata snapshot is gone: $(dmsetup status data-pool-tpool)"
printf 'block %s' "$held" >/mnt/state/volumes/db/metadata-snap
echo again >/run/db/more
run blkrep sync db /dev/vm/target --recheck 1M
is fallback_reason null
slot
check_replica /dev/vm/target

# A pool that is nearly full, by another volume in it: what only runs need is given back, no snapshot is taken, and its volumes go on.
lvm lvcreate -q -y -n hog -V 72M --thinpool data/pool || fail "hog"
read -r now total < <(dmsetup status data-pool-tpool | awk '{ split($6, share, "/"); print share[1], share[2] }')
dd if=/dev/zero of=/dev/data/hog bs=64k count=$((total * 980 / 1000 - now)) oflag=direct status=none || fail "filling the pool"
run blkrep watch --once
[[ -z $(lvm lvs --noheadings -o lv_name data | grep blkrep-) ]] || fail "marks were not given back: $(lvm lvs data)"
grep -q '"pool-nearly-full"' /mnt/state/audit.ndjson || fail "no audit line: $(cat /mnt/state/audit.ndjson)"
run_is 6 blkrep sync db /dev/vm/target
says "thin pool"
echo goes-on >/run/db/more && sync || fail "the source takes no writes"
lvm lvremove -q -y data/hog || fail "lvremove"
run blkrep sync db /dev/vm/target
is fallback_reason snapshot-gone
check_replica /dev/vm/target

dmsetup message data-pool-tpool 0 reserve_metadata_snap || fail "reserve"
printf 'block %s' "$(dmsetup status data-pool-tpool | awk '{ print $7 }')" >/mnt/state/volumes/db/metadata-snap
run blkrep detach db
slot
[[ -z $(lvm lvs --noheadings -o lv_name data | grep blkrep-) ]] || fail "left behind: $(lvm lvs data)"
[[ -z $(ls /mnt/state/volumes) ]] || fail "left behind: $(find /mnt/state/volumes)"
umount /run/db
run blkrep sync /dev/data/db /dev/vm/target
is tracker scan
