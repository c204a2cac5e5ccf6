#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: disk=small=1G disk=big=512G disk=smallarea=1G disk=bigarea=40G disk=home=4G tools=dmsetup,mke2fs,fio,jq modules=dm-snapshot,dm-era timeout=900 mem=1G
#
# incremental.sh TRACKER ROUNDS: an incremental of 64 MiB of changes, on a sparse volume of 512 GiB and on one of 1 GiB. In each round both
# have 64 chunks of 1 MiB written at random places, and are synced, in turn and in reverse turn; round 0 is not counted.
#
# The first copy of 512 GiB would take an emulated processor an hour. So a sparse file of that size is the first source; what it leaves is
# handed to the device, which is as empty, and the version gets its mark (tests/vm/lib/mark.c). The rolling recheck, on by default, and the
# count of bytes changed would find a mark that is not true. The replicas are sparse files.
set -u
# shellcheck source=../../vm/lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=../../vm/lib/attached.sh
. /vm/lib/attached.sh

tracker=$1 rounds=$2

# prepare VOLUME - attached, and its replica there
prepare() {
    local name=$1 seed=/mnt/$1.seed state=/mnt/state/devices/serial-$1 replica version number=era
    truncate -s "$(blockdev --getsize64 "/dev/vm/$name")" "$seed" || fail "truncate"
    run blkrep sync "$seed" "/mnt/$name.img"
    version=$(field generation_id)
    mkdir -p "$state"
    mv "$seed.blkrep"/volume "$seed.blkrep"/to-* "$state" || fail "no state: $(find /mnt)"
    rm -r "$seed" "$seed.blkrep"
    replica=$(basename "$state"/to-*.identity .identity)
    run blkrep attach "$name" "/dev/vm/$name" --tracker "$tracker" --cow "/dev/vm/${name}area"
    if [[ $tracker == cow ]]; then
        run blkrep snapshot create "$name" --name first --store 256M
        number=$(jq '.snapshots[0].number' "/mnt/state/volumes/$name/stack.json")
    fi
    mark "/mnt/state/volumes/$name/stack.json" "${replica#to-}" "$version" "$number" || fail "mark"
}

# incremental VOLUME ROUND
incremental() {
    fio --name=change --filename="/dev/mapper/$1" --rw=randwrite --bs=1M --io_size=64M --randrepeat=0 --refill_buffers=1 --rate=16M \
        --ioengine=psync --direct=1 --end_fsync=1 >"$T/fio" 2>&1 || fail "fio: $(cat "$T/fio")"
    sync
    echo 3 >/proc/sys/vm/drop_caches
    local began=${EPOCHREALTIME/./} took
    run blkrep sync "$1" "/mnt/$1.img"
    took=$((${EPOCHREALTIME/./} - began)) # of the whole command: preparing and giving back the snapshot are part of it
    printf -v took '%d.%03d' $((took / 1000000)) $((took / 1000 % 1000))
    is tracker "$tracker"
    is fallback_reason null
    is tracker_caught false
    is bytes_changed $((64 << 20))
    [[ $2 -eq 0 ]] || echo "figure $1 $took"
    echo "note $tracker $1 round $2: $took s, of it the run $(field seconds), scan $(field seconds_scan), commit $(field seconds_commit), window $(field seconds_window);" \
        "read $(field bytes_read), named $(field bytes_tracked), rechecked $(field bytes_rechecked_source) and $(field bytes_rechecked)"
}

mke2fs -q -t ext4 /dev/vm/home && mount -t ext4 /dev/vm/home /mnt || fail "home"
mkdir -p /mnt/state
prepare small
prepare big
blkrep watch >"$T/watch" 2>&1 & # stores of held snapshots grow, as on any host
watch=$!
for ((round = 0; round <= rounds; round++)); do
    if ((round % 2)); then
        incremental small "$round"
        incremental big "$round"
    else
        incremental big "$round"
        incremental small "$round"
    fi
done
kill "$watch"
for name in small big; do run blkrep detach "$name"; done
