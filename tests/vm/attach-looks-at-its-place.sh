#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=source=32M disk=area=64M disk=home=64M tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot,dm-era cpus=1 timeout=240
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# A device that is given for snapshots and metadata is looked at first: one that holds a file system, or is mounted, is refused and not touched; one
# that holds an older store of blkrep's own is taken. So is the device itself: one that a process has open for writing would be written to past the
# stack, so it is not attached, nor again after a boot, which is named. And a boot without the place leaves the device as it is.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
mke2fs -q -F -t ext4 -L precious /dev/vm/area || fail "mke2fs"
keep_image /dev/vm/area "$T/area"
for tracker in era cow; do
    for at_boot in "" --at-boot; do
        run_is 3 blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area $at_boot
        says precious
        says "wipefs --all"
        keep_image /dev/vm/area "$T/now"
        cmp "$T/area" "$T/now" || fail "the place was touched"
        nothing_left
    done
done
dd if=/dev/zero of=/dev/vm/area bs=64k count=1 conv=fsync status=none || fail "dd"
for tracker in cow era cow; do
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    run blkrep snapshot create data --name one
    run blkrep snapshot remove data@one
    run blkrep detach data
    nothing_left
done

exec 9<>/dev/vm/source
for at in "data /dev/vm/source --tracker era --cow /dev/vm/area" "data /dev/vm/source --tracker cow"; do
    # shellcheck disable=SC2086 # words
    run_is 3 blkrep attach $at
    says "process $$"
    says "past the stack"
    nothing_left
done
exec 9<&-
run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
run blkrep detach --all --keep
exec 9<>/dev/vm/source
! blkrep attach --all >"$T/out" 2>&1 || fail "attached under a process that writes"
says "process $$"
grep -q '"reason":"stack-not-built"' /mnt/state/audit.ndjson || fail "no audit line: $(cat /mnt/state/audit.ndjson)"
[[ $(readlink -f /dev/mapper/data) == "$(readlink -f /dev/vm/source)" ]] || fail "it is not passed through: $(ls -l /dev/mapper)"
exec 9<&-
run blkrep attach --all
is tracking_lost stack-not-built

# A boot without the place: nothing of a stack is left on the device, which is passed through and can be mounted; and it all comes back.
run blkrep detach --all --keep
mke2fs -q -F -t ext4 /dev/vm/source || fail "mke2fs"
area=$(readlink -f /dev/vm/area)
mv "$area" "$area.away"
! blkrep attach --all >"$T/out" 2>&1 || fail "attached without its place"
! dmsetup ls | grep -q data || fail "left on the device: $(dmsetup ls)"
mkdir -p /run/data && mount -t ext4 /dev/mapper/data /run/data || fail "the plain device can't be mounted: $(dmesg | tail -3)"
umount /run/data
mv "$area.away" "$area"
run blkrep attach data
[[ $(dmsetup table data) == *snapshot-origin* ]] || fail "no stack: $(dmsetup table)"
run blkrep detach data
nothing_left
