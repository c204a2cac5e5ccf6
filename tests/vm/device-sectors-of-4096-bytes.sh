#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.12 disk=a=8M,sector=4096 disk=b=8M,sector=4096 disk=c=8M disk=home=96M tools=mke2fs cpus=1 timeout=240
#
# Does sync copy between disks with 4096-byte sectors, and between those and disks with 512, first copy and delta, with
# both ways to talk to the kernel? A write that is not aligned to the disk's sectors fails there.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

mke2fs -q -t ext4 /dev/vm/home || fail "mke2fs"
mount -t ext4 /dev/vm/home /mnt || fail "mount"
export BLKREP_STATE=/mnt/state

# pair SOURCE REPLICA IO - first copy, delta of scattered pages, verify
pair() {
    local i
    vm_pattern $((8 << 20)) "$1 $2" | dd of="$1" bs=1M iflag=fullblock conv=fsync status=none
    blkrep sync "$1" "$2" --io="$3" --overwrite --yes || fail "$1 to $2 over $3: status $?"
    cmp "$1" "$2" || fail "$1 to $2 over $3: first copy"
    vm_pattern 40960 "$1 $2 changes" >"$T/changes"
    for ((i = 0; i < 10; i++)); do
        dd if="$T/changes" of="$1" bs=4096 count=1 skip="$i" seek="$(vm_random 2048 "$1 $2 $i")" conv=notrunc,fsync status=none
    done
    blkrep sync "$1" "$2" --io="$3" --verify || fail "$1 to $2 over $3, delta: status $?"
    cmp "$1" "$2" || fail "$1 to $2 over $3: delta"
    blkrep forget "$2" --yes || fail "forget $2"
}

pair /dev/vm/a /dev/vm/b uring
pair /dev/vm/b /dev/vm/c aio
pair /dev/vm/c /dev/vm/a uring
pair /dev/vm/a /dev/vm/b aio
