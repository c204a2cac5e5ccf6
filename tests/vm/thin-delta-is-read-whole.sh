#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=meta=2M disk=data=32M tools=dmsetup,thin_delta modules=dm-thin-pool cpus=1 timeout=240
#
# Does thin_delta, as the engine reads it, tell every sector in which two snapshots of a thin volume differ: after writes, write-zeroes and discards of
# every length and alignment? Does its account agree with the kernel's, and is an answer with a range left out refused?
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

volume_bytes=$((8 << 20)) block_bytes=65536

# mapped NAME - bytes that the kernel says are mapped
mapped() { dmsetup status "$1" | awk '{ print $4 * 512 }'; }

dd if=/dev/zero of=/dev/vm/meta bs=1M count=1 oflag=direct status=none
dmsetup create pool --table "0 $(blockdev --getsz /dev/vm/data) thin-pool /dev/vm/meta /dev/vm/data $((block_bytes / 512)) 0" ||
    fail "thin-pool"
dmsetup message pool 0 "create_thin 0" || fail "create_thin"
dmsetup create volume --table "0 $((volume_bytes / 512)) thin /dev/mapper/pool 0" || fail "thin"

# snapshot ID - of the volume, as a device snap-ID
snapshot() {
    dmsetup suspend volume && dmsetup message pool 0 "create_snap $1 0" && dmsetup resume volume || fail "create_snap"
    dmsetup create "snap-$1" --table "0 $((volume_bytes / 512)) thin /dev/mapper/pool $1" || fail "snapshot $1"
}

id=1
stamp /dev/mapper/volume 1 10 262144 || fail "a write failed"
snapshot $id
for round in 2 3 4 5 6; do
    stamp /dev/mapper/volume "$round" $((round * 3)) $((round * 65536)) zero discard || fail "a write failed"
    snapshot "$round"
    left=$((round - 1))
    dmsetup message pool 0 reserve_metadata_snap || fail "reserve_metadata_snap"
    thin_delta -m --thin1 $left --thin2 "$round" /dev/vm/meta >"$T/delta" || fail "thin_delta"
    dmsetup message pool 0 release_metadata_snap || fail "release_metadata_snap"
    ask=(tracked thin "$left" "$round" "$block_bytes" "$(mapped "snap-$left")" "$(mapped "snap-$round")" "$volume_bytes")
    "${ask[@]}" <"$T/delta" >"$T/told" || fail "refused: $(cat "$T/delta")"
    tracked covers "$T/told" "/dev/mapper/snap-$left" "/dev/mapper/snap-$round" || fail "not all is told: $(cat "$T/delta")"
    awk '!gone && /<different|<right_only/ { gone = 1; next } { print }' "$T/delta" >"$T/short"
    cmp -s "$T/delta" "$T/short" && fail "nothing to leave out in: $(cat "$T/delta")"
    text=$("${ask[@]}" <"$T/short" 2>&1 >/dev/null)
    [[ $? -eq 4 && $text == *"the kernel says"* ]] || fail "a range left out is not noticed: $text"
    dmsetup remove "snap-$left" && dmsetup message pool 0 "delete $left" || fail "delete $left"
done
