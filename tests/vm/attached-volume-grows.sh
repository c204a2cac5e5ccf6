#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=128M disk=area=192M disk=home=176M tools=dmsetup,mke2fs,e2fsck,resize2fs modules=dm-snapshot,dm-era cpus=1 timeout=300
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# The disk of an attached volume grows under its mounted file system, and `attach NAME` gives the stack the new size at once. With era that goes as
# far as its dm-era was made for; beyond, it says what to type, and the stack has the size when that was done. The next run ships the growth
# as an incremental, what did not change is not read, and the replica is equal. A disk that shrank is refused, and nothing is changed.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

mib=$((1 << 20))

# disk_is MIB - the disk, a device of device-mapper that nobody of blkrep knows, has that size from now on
disk_is() {
    local table="0 $(($1 * 2048)) linear /dev/vm/source 0"
    if dmsetup info disk >"$T/info" 2>&1; then
        dmsetup reload disk --table "$table" || fail "reload"
        dmsetup suspend --nolockfs disk && dmsetup resume disk
    else
        dmsetup create disk --table "$table" || fail "create"
    fi
}

# grown - the file system has what the volume has, and a file lies behind the old end
grown() {
    resize2fs /dev/mapper/data >"$T/resize" 2>&1 || fail "resize2fs: $(cat "$T/resize")"
    vm_pattern $((24 * mib)) behind >/run/data/behind
}

# shipped - an incremental run after which the replica is the volume, all of it
shipped() {
    run blkrep sync data /mnt/replica --recheck 1M
    is tracker "$tracker"
    is fallback_reason null
    is tracker_caught false
    is size_bytes $((96 * mib))
    below bytes_read $((88 * mib)) # all of it would be 96
    umount /run/data || fail "umount"
    run blkrep sync data /mnt/replica --recheck 1M
    is fallback_reason null
    same "the replica of $tracker" /dev/mapper/data /mnt/replica
    e2fsck -fn /mnt/replica >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
}

home_mount
mkdir -p /run/data
for tracker in cow era; do
    disk_is 48
    mke2fs -q -F -t ext4 /dev/mapper/disk || fail "mke2fs"
    run blkrep attach data /dev/mapper/disk --tracker "$tracker" --cow /dev/vm/area
    mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    vm_pattern $((8 * mib)) first >/run/data/first
    run blkrep sync data /mnt/replica --overwrite --yes
    is size_bytes $((48 * mib))

    disk_is 96
    # Written meanwhile: what was marked before the growth is marked after it.
    vm_pattern $((2 * mib)) meanwhile >/run/data/meanwhile && sync
    run blkrep attach data
    is size_bytes $((96 * mib))
    grown
    shipped

    disk_is 112
    mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    if [[ $tracker == era ]]; then
        run_is 1 blkrep attach data
        says "blkrep detach --keep data"
        umount /run/data || fail "umount"
        run blkrep detach --keep data
        run blkrep attach data
        is tracking_lost null
        mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    else
        run blkrep attach data
    fi
    is size_bytes $((112 * mib))
    umount /run/data || fail "umount"
    run blkrep sync data /mnt/replica --recheck 1M
    is fallback_reason null
    is tracker_caught false
    is size_bytes $((112 * mib))
    same "the replica of $tracker" /dev/mapper/data /mnt/replica

    run blkrep detach --keep data
    disk_is 48
    run_is 3 blkrep attach data
    says shrank
    disk_is 112
    run blkrep attach data
    is tracking_lost null
    run blkrep detach data
    run blkrep forget /mnt/replica --yes
    rm -rf /mnt/replica /mnt/replica.blkrep
    nothing_left disk
done
