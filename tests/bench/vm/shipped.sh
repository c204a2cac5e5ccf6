#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: disk=source=128M disk=pv=320M disk=area=256M disk=home=256M tools=dmsetup,mke2fs,fio,lvm,thin_check,thin_delta,thin_dump modules=dm-snapshot,dm-era,dm-thin-pool cpus=1 timeout=900
#
# shipped.sh TRACKER ROUNDS: bytes shipped per byte of the 4 KiB pages that really changed. In each round 512 pages at random places get new
# content, and 2 MiB are written over with what they held. Then once more with the source's page hashes lost.
set -u
# shellcheck source=../../vm/lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=../../vm/lib/attached.sh
. /vm/lib/attached.sh

tracker=$1 rounds=$2
pages=512

change() {
    fio --name=change --filename="$path" --rw=randwrite --bs=4k --io_size=$((pages * 4))k --randrepeat=0 --refill_buffers=1 \
        --ioengine=psync --direct=1 --end_fsync=1 >"$T/fio" 2>&1 || fail "fio: $(cat "$T/fio")"
    dd if="$path" of="$T/same" bs=1M count=2 skip=$(($1 % 32 * 2)) iflag=direct status=none || fail "dd"
    dd if="$T/same" of="$path" bs=1M seek=$(($1 % 32 * 2)) oflag=direct conv=notrunc status=none || fail "dd"
}

# ship WHAT ROUND
ship() {
    change "$2"
    run blkrep sync data /mnt/replica.img --recheck 1M
    is tracker "$tracker"
    [[ $(field bytes_tracked) -gt 0 ]] || fail "all was read: $(field fallback_reason)" # narrowed also where the page hashes are lost
    cmp "$path" /mnt/replica.img || fail "the replica differs"
    echo "figure $1 $(field bytes_shipped) $((pages * 4096))"
    echo "note $1 round $2: named $(field bytes_tracked), read $(field bytes_read), shipped $(field bytes_shipped)"
}

mke2fs -q -t ext4 /dev/vm/home && mount -t ext4 /dev/vm/home /mnt || fail "home"
mkdir -p /mnt/state
case $tracker in
    thin)
        device=/dev/shipped/data where=()
        { lvm vgcreate -q shipped "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n pool --type thin-pool -L 256M -c 64k shipped &&
            lvm lvcreate -q -y -n data -V 128M --thinpool shipped/pool; } >"$T/lvm" 2>&1 || skip "no thin volume here: $(head -n 1 "$T/lvm")"
        ;;
    *) device=/dev/vm/source where=(--cow /dev/vm/area) ;;
esac
vm_pattern $((128 << 20)) shipped >"$device"
sync
blkrep attach data "$device" --tracker "$tracker" "${where[@]}" --json >"$T/out" 2>"$T/err" ||
    skip "tracker $tracker can't be attached: $(head -n 1 "$T/err")"
path=$(field path)
run blkrep sync data /mnt/replica.img
for ((round = 1; round <= rounds; round++)); do
    echo 3 >/proc/sys/vm/drop_caches
    ship with "$round"
done
for ((round = 1; round <= rounds; round++)); do
    lost=(/mnt/state/devices/*/to-*.tree.*) # hashes and page hashes of the version, on the source's side
    rm "${lost[@]}" || fail "where are the page hashes? $(find /mnt/state)"
    ship without "$((100 + round))"
done
run blkrep detach data
