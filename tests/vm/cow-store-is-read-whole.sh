#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=16M disk=cow=24M tools=dmsetup modules=dm-snapshot cpus=1 timeout=240
#
# Does the reader of dm-snapshot's exception store tell every sector that changed, and give back what was there before: while the kernel
# appends under three writers, and afterwards exactly? Writes, write-zeroes of every length and alignment, in chunks of 4 to 64 KiB.
# Does it see what it promises to see: a record cleared under a running kernel, one cleared offline in front of others; and is the record that
# no kernel and no structure tells, the last one, the only one that it does not?
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/trackers.sh
. /vm/lib/trackers.sh

# clear_record NUMBER CHUNK-BYTES - on the disk, behind the kernel's back
clear_record() {
    local per_area=$(($2 / 16)) area
    area=$(($1 / per_area))
    dd if=/dev/zero of=/dev/vm/cow bs=16 seek=$((((1 + area * (per_area + 1)) * $2) / 16 + $1 % per_area)) count=1 \
        conv=notrunc,fsync status=none
    echo 1 >/proc/sys/vm/drop_caches
}

refused() { # STATUS WHY COMMAND... - it must end with that status and say WHY
    local status=$1 why=$2 text
    shift 2
    local got=0
    text=$("$@" 2>&1 >/dev/null) || got=$?
    [[ $got -eq $status && $text == *"$why"* ]] || fail "status $got, not $status with '$why': $text"
    echo "refused: $text"
}

vm_pattern "$source_bytes" source | dd of=/dev/vm/source bs=1M iflag=fullblock oflag=direct status=none
cow_stack
for chunk in 16 8 128; do
    keep_image "$T/before"
    cow_create "$chunk"
    cow_read "$T/none" || fail "an empty store"
    [[ ! -s $T/none ]] || fail "nothing was written, and the store tells: $(cat "$T/none")"
    write_until_told "$chunk" 32768 zero
    for read in 1 2 3; do
        keep_image "$T/early"
        cow_read "$T/live" || fail "a live store is refused"
        covers "$T/live" "$T/before" "$T/early" >"$T/covers"
        echo "live read $read: $(cat "$T/covers")"
    done
    end_writers
    keep_image "$T/now"
    cow_read "$T/told" || fail "the store is refused"
    echo "chunks of $chunk sectors:"
    covers "$T/told" "$T/before" "$T/now"
    tracked same-old "$T/told" /dev/vm/cow "$source_bytes" "$T/before" || fail "old data"
    cmp "$T/before" /dev/mapper/s1 || fail "the snapshot itself is not what was there before"
    # Nothing is told that no write touched: the records are as many as the chunks told.
    read -r used metadata < <(cow_status)
    [[ $(((used - metadata) / chunk)) -eq $(awk -v c=$((chunk * 512)) '{ n += $2 / c } END { print n }' "$T/told") ]] ||
        fail "told $(cat "$T/told"), status $(dmsetup status s1)"
    if [[ $chunk -ne 128 ]]; then
        { dmsetup suspend top && dmsetup remove s1 && dmsetup resume top; } || fail "remove the snapshot"
    fi
done

# Damage. 128 sectors: one area holds 4096 records.
records=$(((used - metadata) / chunk))
status=$(cow_status)
clear_record $((records - 1)) 65536
# shellcheck disable=SC2086 # two numbers
refused 4 "the kernel says $records records, the store shows $((records - 1))" tracked cow /dev/vm/cow "$source_bytes" 500 $status
{ dmsetup suspend top && dmsetup remove s1 && dmsetup resume top; } || fail "remove the snapshot"
tracked cow /dev/vm/cow "$source_bytes" >"$T/offline" || fail "the last record cleared offline can't be seen, and was"
[[ $(awk '{ n += $2 / 65536 } END { print n }' "$T/offline") -eq $((records - 1)) ]] || fail "one record is missing, told: $(cat "$T/offline")"
clear_record 5 65536
refused 4 "record 5 is cleared" tracked cow /dev/vm/cow "$source_bytes"
refused 4 "record 5 is cleared" blkrep dump /dev/vm/cow
blkrep dump /dev/vm/cow 2>/dev/null | grep -q "record 4: chunk" || fail "dump does not show what is good"
