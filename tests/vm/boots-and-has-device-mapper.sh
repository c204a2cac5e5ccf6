#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=a=64M disk=b=64M,sector=4096 disk=c=8M,ro tools=dmsetup,mke2fs,e2fsck,blkid,mkfs.xfs timeout=120
#
# The test bed boots this kernel, and the guest has what every later test builds on: the disks as they were asked for,
# the device-mapper targets of the support matrix, and working filesystems.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

[[ $(uname -r) == "$VM_KERNEL".* ]] || fail "booted $(uname -r), asked for $VM_KERNEL"

[[ $(blockdev --getsize64 /dev/vm/a) == $((64 << 20)) ]] || fail "disk a has the wrong size"
[[ $(blockdev --getss /dev/vm/a) == 512 ]] || fail "disk a has not 512-byte sectors"
[[ $(blockdev --getss /dev/vm/b) == 4096 ]] || fail "disk b has not 4096-byte sectors"
[[ $(blockdev --getro /dev/vm/c) == 1 ]] || fail "disk c is not read-only"

for module in dm-snapshot dm-era dm-thin-pool dm-flakey dm-log-writes nbd; do
    modprobe "$module" || fail "no module $module"
done
for target in linear snapshot snapshot-origin era thin-pool thin flakey log-writes; do
    dmsetup targets | grep -q "^$target " || fail "no target $target"
done
if [[ $VM_KERNEL == 6.12 ]]; then
    modprobe ublk_drv || fail "no module ublk_drv"
    [[ -c /dev/ublk-control ]] || fail "no ublk control device"
fi

dmsetup create top --table "0 $(blockdev --getsz /dev/vm/a) linear /dev/vm/a 0" || fail "dmsetup create"
mke2fs -q -t ext4 /dev/mapper/top || fail "mke2fs"
mount /dev/mapper/top /mnt || fail "mount ext4"
head -c 5000000 /dev/urandom >/mnt/file
before=$(sha256sum </mnt/file)
umount /mnt
dmsetup remove top || fail "dmsetup remove"
e2fsck -fn /dev/vm/a || fail "e2fsck"
[[ $(blkid -o value -s TYPE /dev/vm/a) == ext4 ]] || fail "blkid does not see ext4 below the removed table"
mount -t ext4 /dev/vm/a /mnt || fail "mount again"
[[ $(sha256sum </mnt/file) == "$before" ]] || fail "the file changed"
umount /mnt

truncate -s 320M "$T/xfs.img"
mkfs.xfs -q "$T/xfs.img" || fail "mkfs.xfs"
mount -t xfs -o loop "$T/xfs.img" /mnt || fail "mount xfs from a loop device"
umount /mnt

head -c 512 /dev/urandom >"$T/sector"
! dd if="$T/sector" of=/dev/vm/c bs=512 count=1 conv=fsync 2>/dev/null || fail "a read-only disk was written"
