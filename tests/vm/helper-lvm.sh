#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=pv=128M disk=pv2=64M tools=dmsetup,lvm,thin_check,mke2fs modules=dm-thin-pool cpus=1 timeout=240
#
# LVM through blkrep-dm-helper: snapshots and stores of its own in the groups that a registration names, and nothing else of LVM's.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
M=$((1 << 20))

lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm vgcreate -q spare "$(readlink -f /dev/vm/pv2)" || fail "vgcreate"
lvm lvcreate -q -y -n db -L 32M data && lvm lvcreate -q -y -n mine -L 4M data || fail "lvcreate"
lvm lvcreate -q -y -n pool --type thin-pool -L 32M data && lvm lvcreate -q -y -n thin -V 24M --thinpool data/pool || fail "thin pool"

ok register db "$(uuid_of 1)" /dev/data/db
ok register thin "$(uuid_of 2)" /dev/data/thin vg:spare
mke2fs -q -t ext4 /dev/data/db && mount /dev/data/db /mnt || fail "ext4"

out=$(dmh lvm-report db lvs) || fail "report"
[[ $out == *'"lv_name":"db"'* && $out == *'"lv_size":"33554432"'* ]] || fail "the report says: $out"
[[ $(dmh lvm-report db vgs) == *'"vg_name":"data"'* ]] || fail "no group in the report"
refused PERMISSION lvm-report db lvs spare
[[ $(dmh lvm-report thin lvs spare) == *'"lv"'* ]] || fail "a registered group is not reported"

# ---- a snapshot of a linear LV
ok lvm-create db snapshot s1 "size=$((8 * M))"
want "$(dmh open db/lvm:data/s1)" "size=$((32 * M))"
[[ $(state data-db) == Active ]] || fail "the origin is $(state data-db)"
touch /mnt/x && sync || fail "the source takes no writes"
refused BUSY lvm-create db snapshot s1 "size=$((8 * M))"
ok lvm-extend db data s1 "size=$((12 * M))" -- lvm-extend db data s1 "size=$((12 * M))"
[[ $(lvm lvs --noheadings --units m --nosuffix -o lv_size,lv_tags data/blkrep-db-s1) == *12.00*blkrep* ]] || fail "the snapshot's size or tag"
ok lvm-remove db data s1
refused NOT_FOUND lvm-remove db data s1

# ---- stores of its own, in a registered group
ok lvm-create thin linear cow "size=$((8 * M))" spare -- zero-head thin/lvm:spare/cow
refused PERMISSION lvm-create db linear cow "size=$((8 * M))" spare
refused NO_SPACE lvm-create db linear cow "size=$((999 * M))"
refused USAGE lvm-create db linear cow
refused USAGE lvm-create db linear '../x' "size=$M"
ok lvm-extend thin spare cow "size=$((16 * M))" -- lvm-remove thin spare cow

# ---- thin: snapshot, the pool's metadata, its one metadata snapshot
want "$(dmh status thin/@device)" kind=thin parsed=1
want "$(dmh status thin/@pool)" kind=thin-pool parsed=1 snap=0
dd if=/dev/urandom of=/dev/data/thin bs=1M count=4 oflag=direct status=none
ok lvm-create thin thin s1
want "$(dmh open thin/lvm:data/s1)" "size=$((24 * M))"
lvm lvchange -q -an data/blkrep-thin-s1 || fail "lvchange"
ok lvm-activate thin data s1
want "$(dmh open thin/lvm:data/s1)" "size=$((24 * M))"
ok message thin/@pool reserve
want "$(dmh status thin/@pool)" snap=1
refused BUSY message thin/@pool reserve
want "$(dmh open thin/@pool-meta)" sector=512
ok message thin/@pool release
refused NOT_FOUND message thin/@pool release
refused REFUSED message thin/@pool create id=77 origin=1
refused USAGE open thin/@pool-meta write
ok lvm-remove thin data s1

# ---- what is not blkrep's own is not touched, whatever it is called
lvm lvcreate -q -y -n blkrep-db-fake -L 4M data
refused REFUSED lvm-remove db data fake
refused REFUSED lvm-extend db data fake "size=$((8 * M))"
lvm lvs data/blkrep-db-fake >/dev/null && lvm lvs data/mine >/dev/null || fail "an LV is gone"

# ---- a stack of blkrep's under an LV in use, and away again
ok create db/real -- copy-table db/@device real -- resume db/real
ok load db/@device "snapshot-origin,$((32 * M)),real" -- window top=db/@device,freeze
want "$(dmh table db/@device)" kind=snapshot-origin
touch /mnt/y && sync || fail "the source takes no writes"
ok copy-table db/real @device -- window top=db/@device,freeze -- remove db/real
want "$(dmh table db/@device)" kind=linear
umount /mnt
