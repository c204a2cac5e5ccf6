#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=ext4=64M disk=xfs=320M disk=area_ext4=64M disk=area_xfs=96M disk=home=64M disk=to_ext4=64M disk=to_xfs=320M disk=copy=320M tools=dmsetup,mke2fs,e2fsck,mkfs.xfs,xfs_repair,fio modules=dm-snapshot,dm-era,loop mem=768M timeout=300
#
# ext4 under tracker era and XFS under tracker cow, written to by fio all the time and synced every second. fio reads back what it wrote and finds
# it; each replica looked at is a file system that its own log makes whole, and every block of the file in it is one that fio wrote there.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

file_bytes=$((4 << 20))

# fio_job NAME ARGUMENTS... - on the file in the volume
fio_job() {
    local fs=$1
    shift
    fio --name="$fs" --filename="/run/$fs/file" --size=$file_bytes --bs=4k --ioengine=psync --direct=1 --verify=crc32c "$@" >"$T/fio.$fs" 2>&1
}

# mount_copy - the replica's copy, so that the replica stays what it is; its log is replayed by the mount
mount_copy() {
    local options=''
    [[ $1 != xfs ]] || options=nouuid
    mount -t "$1" ${options:+-o $options} /dev/vm/copy /run/copy || fail "$1: the replica does not mount: $(dmesg | tail -5)"
}

fsck_copy() {
    if [[ $1 == ext4 ]]; then e2fsck -fn /dev/vm/copy; else xfs_repair -n /dev/vm/copy; fi >"$T/fsck" 2>&1 || fail "$1: after its log the replica is not sound: $(cat "$T/fsck")"
}

look_at_replica() {
    local blocks
    dd if="/dev/vm/to_$1" of=/dev/vm/copy bs=1M iflag=direct oflag=direct status=none || fail "copy"
    mount_copy "$1"
    blocks=$(fio_blocks /run/copy/file 4096) || fail "$1: the file in the replica: $blocks"
    [[ $blocks -eq $((file_bytes / 4096)) ]] || fail "$1: the file in the replica has $blocks blocks"
    umount /run/copy
    fsck_copy "$1"
}

home_mount
mkdir -p /run/ext4 /run/xfs /run/copy
mke2fs -q -t ext4 /dev/vm/ext4 && mkfs.xfs -q -f /dev/vm/xfs || fail "mkfs"
for fs in ext4 xfs; do
    if [[ $fs == ext4 ]]; then tracker=era; else tracker=cow; fi
    run blkrep attach $fs /dev/vm/$fs --tracker $tracker --cow /dev/vm/area_$fs
    mount -t $fs /dev/mapper/$fs /run/$fs || fail "mount $fs"
    fio_job $fs --rw=write --do_verify=0 || fail "fio: $(cat "$T/fio.$fs")"
    run blkrep sync $fs /dev/vm/to_$fs --overwrite --yes
    fio_job $fs --rw=randwrite --verify_backlog=64 --time_based --runtime=16 --rate_iops=300 --randseed="$VM_SEED" &
    writer=$!
    runs=0
    while kill -0 $writer 2>/dev/null; do
        run blkrep sync $fs /dev/vm/to_$fs --recheck 1M
        is fallback_reason null
        is tracker_caught false
        is consistency clean
        runs=$((runs + 1))
        sleep 1
    done
    wait $writer || fail "$fs: fio found something else than it wrote: $(tail -n 20 "$T/fio.$fs")"
    [[ $runs -ge 2 ]] || fail "$fs: only $runs runs while fio wrote"
    look_at_replica $fs # as the last of these runs left it
    echo "$fs, $tracker: $runs runs while fio wrote; the last one shipped $(field bytes_shipped)"
    umount /run/$fs
    run blkrep sync $fs /dev/vm/to_$fs --recheck 1M
    same "$fs" /dev/vm/$fs /dev/vm/to_$fs
    run blkrep detach $fs
done
nothing_left
