#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=a=64M disk=b=64M,sector=4096 disk=c=8M,ro disk=slow=8M,bps=2M disk=rare=8M,iops=40 tools=dmsetup,mke2fs,e2fsck,blkid,mkfs.xfs,jq timeout=240
#
# The test bed boots this kernel, and the guest has what every later test builds on: the disks as they were asked for,
# the device-mapper targets of the support matrix, working filesystems, and a reader of JSON that answers as jq would.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

[[ $(uname -r) == "$VM_KERNEL".* ]] || fail "booted $(uname -r), asked for $VM_KERNEL"

[[ $(blockdev --getsize64 /dev/vm/a) == $((64 << 20)) ]] || fail "disk a has the wrong size"
[[ $(blockdev --getss /dev/vm/a) == 512 ]] || fail "disk a has not 512-byte sectors"
[[ $(blockdev --getss /dev/vm/b) == 4096 ]] || fail "disk b has not 4096-byte sectors"
[[ $(blockdev --getro /dev/vm/c) == 1 ]] || fail "disk c is not read-only"

# took_ms COMMAND... - in $ms
took_ms() {
    local t0=${EPOCHREALTIME/./}
    "$@" || fail "$*"
    ms=$(((${EPOCHREALTIME/./} - t0) / 1000))
}
took_ms dd if=/dev/vm/slow of=/dev/null bs=1M count=6 iflag=direct status=none
[[ $ms -gt 1500 ]] || fail "6 MiB of a disk of 2 MiB/s were read in $ms ms"
took_ms dd if=/dev/vm/rare of=/dev/null bs=4k count=120 iflag=direct status=none
[[ $ms -gt 1500 ]] || fail "120 reads of a disk of 40 a second took $ms ms"

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

cat >"$T/json" <<'END'
{"type":"volume","volume":"data","path":"/dev/a b","up":null}
{"type":"volume","volume":"logs",
 "path":"/dev/b","size_bytes":4096,"valid":false,"snapshots":[{"path":"/dev/s0"},{"path":"/dev/s1"}]}
{"type":"exit","error":{"code":"BUSY"}}
END
for key in path up nothing size_bytes valid 'snapshots[1].path' 'snapshots[2].path' snapshots; do
    for name in data logs; do
        wanted=$(jq -cr "select(.volume == \"$name\") | .$key" "$T/json")
        got=$(json_field "$T/json" "type=volume,volume=$name" "$key")
        [[ $got == "$wanted" ]] || fail "$key of $name is '$got' to json_field, '$wanted' to jq"
    done
done
[[ $(json_field "$T/json" '' error.code) == BUSY ]] || fail "the last object's error is not found"
! json_field "$T/json" type=replica path || fail "json_field finds what is not there"
echo '{"type":' >"$T/broken"
! json_field "$T/broken" '' type || fail "json_field takes what is no JSON"

head -c 512 /dev/urandom >"$T/sector"
! dd if="$T/sector" of=/dev/vm/c bs=512 count=1 conv=fsync 2>/dev/null || fail "a read-only disk was written"
