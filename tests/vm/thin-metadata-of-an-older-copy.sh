#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=96M disk=home=32M disk=target=16M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs modules=dm-snapshot,dm-thin-pool cpus=1 timeout=240
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# A thin pool's metadata comes back from an older copy, with LVM's own of then, as after a repair: the thin volume is what the older metadata make of
# it, which no tracker can tell from the last version. It is named, is in the audit log, everything is compared, and the replica is the volume.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

group_down() { run blkrep detach --all --keep && lvm vgchange -q -an data || fail "vgchange"; }
group_up() { lvm vgchange -q -ay data || fail "vgchange"; }
# pool_metadata read|write - between their place on the disk and $T/tmeta; the group is down
pool_metadata() {
    local first count extent start
    IFS=:- read -r _ first count < <(lvm lvs -a --noheadings -o seg_pe_ranges data/pool_tmeta | tr -d ' ')
    extent=$(lvm vgs --noheadings --nosuffix --units s -o vg_extent_size data | tr -d ' ')
    start=$(lvm pvs --noheadings --nosuffix --units s -o pe_start "$pv" | tr -d ' ')
    start=$(((start + first * extent) / 8)) count=$(((count - first + 1) * extent / 8))
    case $1 in
        read) dd if="$pv" of="$T/tmeta" bs=4k skip="$start" count="$count" iflag=direct status=none ;;
        write) dd if="$T/tmeta" of="$pv" bs=4k seek="$start" oflag=direct conv=fsync status=none ;;
    esac || fail "the pool's metadata: $1"
}

pv=$(readlink -f /dev/vm/pv)
home_mount
lvm vgcreate -q data "$pv" && lvm lvcreate -q -y -n pool --type thin-pool -L 64M -c 64k data && lvm lvcreate -q -y -n thin -V 16M --thinpool data/pool || fail "thin volume"
vm_pattern $((16 << 20)) base | dd of=/dev/data/thin bs=1M iflag=fullblock oflag=direct status=none || fail "dd"
run blkrep attach db /dev/data/thin
run blkrep sync db /dev/vm/target --overwrite --yes

group_down
pool_metadata read
lvm vgcfgbackup -q -f "$T/group" data || fail "vgcfgbackup"
group_up
run blkrep attach --all
is tracking_lost null
for i in 1 2; do
    stamp /dev/data/thin "$i" 40 65536 zero discard || fail "stamp"
    run blkrep sync db /dev/vm/target --recheck 1M
    is fallback_reason null
    same "before" /dev/data/thin /dev/vm/target
done
stamp /dev/data/thin 3 40 65536 zero discard || fail "stamp"

group_down
pool_metadata write
lvm vgcfgrestore -q -y --force -f "$T/group" data || fail "vgcfgrestore"
group_up
cmp -s /dev/data/thin /dev/vm/target && fail "the older metadata changed nothing"
run blkrep attach --all
run blkrep sync db /dev/vm/target --recheck 1M
reason=$(field fallback_reason)
[[ $reason == snapshot-gone ]] || fail "the reason is $reason"
same "after older metadata" /dev/data/thin /dev/vm/target
grep -q "\"act\":\"sync\".*\"fallback_reason\":\"$reason\"" /mnt/state/audit.ndjson || fail "no audit line says $reason: $(cat /mnt/state/audit.ndjson)"
stamp /dev/data/thin 4 40 65536 zero discard || fail "stamp"
run blkrep sync db /dev/vm/target --recheck 1M
is fallback_reason null
same "and on" /dev/data/thin /dev/vm/target
run blkrep detach db
