#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=64M disk=area=96M disk=home=96M disk=target=64M tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot,dm-era cpus=1 timeout=300
#
# A device is attached with each tracker, its file system mounted and written to while it is synced: every replica is a clean file system
# and equal to the view, an incremental reads what changed and little else, a snapshot leaves nothing behind, and after a detach nothing is left.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

export BLKREP_STATE=/mnt/state
mke2fs -q -t ext4 /dev/vm/home || fail "mke2fs"
mount -t ext4 /dev/vm/home /mnt || fail "mount"

# field KEY - of the last exit object
field() { json_field "$T/out" type=exit "$1"; }

run() {
    "$@" --json >"$T/out" 2>"$T/err" || fail "$*: status $?: $(cat "$T/out" "$T/err"; dmesg | tail -5)"
}

is() { [[ $(field "$1") == "$2" ]] || fail "$1 is $(field "$1") instead of $2: $(cat "$T/out" "$T/err")"; }

below() { [[ $(field "$1") -lt $2 ]] || fail "$1 is $(field "$1"), not below $2: $(cat "$T/out")"; }

# The page cache of a disk does not see what is written through a table above it.
same() {
    echo 3 >/proc/sys/vm/drop_caches
    cmp /dev/vm/source /dev/vm/target || fail "$1"
}

check_replica() {
    e2fsck -fn /dev/vm/target >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
}

for tracker in era cow; do
    mke2fs -q -F -t ext4 /dev/vm/source || fail "mke2fs"
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    is path /dev/mapper/data
    mkdir -p /run/data
    mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    vm_pattern $((8 << 20)) "$tracker" >/run/data/first
    run blkrep sync data /dev/vm/target --overwrite --yes
    is tracker "$tracker"
    is fallback_reason first-copy
    is consistency clean
    check_replica
    for i in 1 2 3; do
        vm_pattern $((1 << 20)) "$i" >/run/data/later
        run blkrep sync /dev/mapper/data /dev/vm/target --recheck 1M
        is tracker "$tracker"
        is fallback_reason null
        is tracker_caught false
        below bytes_read $((24 << 20))
        check_replica
        echo "$tracker: run $i read $(field bytes_read), named $(field bytes_tracked), shipped $(field bytes_shipped), waited $(field seconds_window) s"
    done
    blkrep snapshot create data --name s1 || fail "snapshot create"
    blkrep snapshot list || fail "snapshot list"
    echo more >/run/data/more
    run blkrep sync data@s1 /dev/vm/target
    check_replica
    blkrep snapshot remove data@s1 || fail "snapshot remove"
    umount /run/data
    run blkrep sync data /dev/vm/target --recheck 1M
    is fallback_reason null
    same "$tracker: the replica differs"
    blkrep detach data || fail "detach"
    ! dmsetup ls | grep -v 'No devices' || fail "left behind: $(dmsetup ls)"
    [[ ! -e /mnt/state/volumes/data ]] || fail "left behind: $(find /mnt/state/volumes)"
    mount -t ext4 /dev/vm/source /run/data || fail "the plain device does not mount"
    echo alone >/run/data/alone
    umount /run/data
    run blkrep sync /dev/vm/source /dev/vm/target
    is tracker scan
    same "$tracker: the replica differs after a detach"
    blkrep forget --yes /dev/vm/target || fail "forget"
done
