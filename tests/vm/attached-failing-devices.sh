#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# soak: two minutes on an emulated processor
# vm: kernels=all disk=source=16M disk=area=64M disk=home=32M disk=target=16M tools=dmsetup,mke2fs,jq modules=dm-snapshot,dm-era,dm-flakey timeout=300
#
# Disks that fail below an attached volume: a part of the source, now and then all of its writes, the place of the stores, the metadata of dm-era.
# The volume sees errors where its own disk has them and nowhere else (with dm-era also when its metadata fail: KERNEL.md, and why attach
# puts them on the source's own disk); no run says 0 of what it could not read; and when the disk is well again the next run makes
# the replica equal, whether it believes the tracker or not.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

# table NAME TABLE... - each a line; the device has it from now on, what waits is not flushed
table() {
    local name=$1
    shift
    printf '%s\n' "$@" | dmsetup load "$name" && dmsetup suspend --noflush --nolockfs "$name" && dmsetup resume "$name" || fail "table of $name"
}

# fails DISK FROM-MIB MIB - that part of it
fails() {
    local from=$(($2 << 11)) len=$(($3 << 11)) all
    all=$(blockdev --getsz "/dev/vm/$1")
    if [[ $len -eq $all ]]; then
        table "$1" "0 $all error"
    elif [[ $from -eq 0 ]]; then
        table "$1" "0 $len error" "$len $((all - len)) linear /dev/vm/$1 $len"
    elif [[ $((from + len)) -eq $all ]]; then
        table "$1" "0 $from linear /dev/vm/$1 0" "$from $len error"
    else
        table "$1" "0 $from linear /dev/vm/$1 0" "$from $len error" "$((from + len)) $((all - from - len)) linear /dev/vm/$1 $((from + len))"
    fi
}

heals() { table "$1" "0 $(blockdev --getsz "/dev/vm/$1") linear /dev/vm/$1 0"; }

# put FROM-MIB MIB WHAT - through the volume
put() { vm_pattern $(($2 << 20)) "$3" | dd of=/dev/mapper/data bs=1M seek="$1" iflag=fullblock oflag=direct conv=notrunc status=none 2>"$T/dd"; }
get() { dd if=/dev/mapper/data of=/dev/null bs=1M skip="$1" count="$2" iflag=direct status=none 2>"$T/dd"; }

# fails_only FROM-MIB MIB - the volume has errors there, and is whole on both sides
fails_only() {
    put 0 1 ok || fail "a write before the bad part failed"
    ! get "$1" "$2" || fail "the bad part could be read"
    ! put "$1" "$2" bad || fail "the bad part could be written"
    get 0 "$1" && get $(($1 + $2)) $((16 - $1 - $2)) || fail "reading beside the bad part failed"
    put $(($1 + $2)) 1 ok || fail "a write behind the bad part failed"
}

# does_not_say_0 - a run that can't be right
does_not_say_0() {
    local status=0
    blkrep sync data /dev/vm/target --recheck 1M --json >"$T/out" 2>"$T/err" || status=$?
    [[ $status -ne 0 ]] || fail "$1: a run said 0: $(cat "$T/out")"
    echo "$tracker, $1: status $status: $(grep -v '^ ' "$T/err" | tail -n 1)"
    nothing_suspended
}

# right WHAT - the next run says 0, and is
right() {
    run blkrep sync data /dev/vm/target --recheck 1M
    echo "$tracker, $1: then $(field fallback_reason), caught $(field tracker_caught), read $(field bytes_read)"
    same "$tracker, $1" /dev/vm/source /dev/vm/target
    run blkrep sync data /dev/vm/target --recheck 1M
    is fallback_reason null
}

home_mount
for disk in source area; do dmsetup create $disk --table "0 $(blockdev --getsz /dev/vm/$disk) linear /dev/vm/$disk 0" || fail "linear"; done
for tracker in cow era; do
    run blkrep attach data /dev/mapper/source --tracker $tracker --era-block 64K --cow /dev/mapper/area
    run blkrep sync data /dev/vm/target --overwrite --yes
    meta=$(($(jq -r .meta.len_bytes /mnt/state/volumes/data/stack.json) >> 20))

    put 4 4 before || fail "a write failed"
    fails source 6 1
    fails_only 6 1
    does_not_say_0 "a bad part of the source"
    heals source
    right "a bad part of the source"

    sectors=$(blockdev --getsz /dev/vm/source)
    table source "0 $sectors flakey /dev/vm/source 0 1 1 1 error_writes"
    failed=0
    for ((i = 0; i < 24; i++)); do
        put $((i % 16)) 1 "now and then $i" || failed=$((failed + 1))
        sleep 0.1
    done
    heals source
    [[ $failed -gt 0 && $failed -lt 24 ]] || fail "$failed of 24 writes failed: dm-flakey did nothing"
    get 0 16 || fail "the volume can't be read after its disk was well again"
    right "$failed of 24 writes failed"

    # The place of the stores, between runs and during one.
    fails area "$meta" $((64 - meta))
    put 0 8 "without a store" || fail "$tracker: a write failed because of the stores: $(dmesg | tail -5)"
    get 0 16 || fail "$tracker: a read failed because of the stores"
    does_not_say_0 "failing stores"
    put 8 4 "still without" || fail "$tracker: a write failed because of the stores: $(dmesg | tail -5)"
    heals area
    right "failing stores"

    if [[ $tracker == era ]]; then
        fails area 0 "$meta"
        put 0 16 "without metadata" || echo "era: writes fail with its metadata, as expected: $(cat "$T/dd")"
        get 0 16 || fail "era: a read failed because of the metadata"
        blkrep sync data /dev/vm/target --recheck 1M >"$T/out" 2>&1
        echo "era, failing metadata: status $?: $(grep -v '^ ' "$T/out" | tail -n 2)"
        nothing_suspended
        heals area
        run blkrep detach data --keep
        run blkrep attach data
        echo "era: after failing metadata attach says $(field tracking_lost)"
        put 2 3 "after" || fail "writes fail after the stack was built anew: $(dmesg | tail -5)"
        right "failing metadata"
    fi
    run blkrep detach data
    nothing_left source area
    run blkrep forget --yes /dev/vm/target
done
