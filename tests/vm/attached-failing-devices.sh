#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=source=16M disk=area=64M disk=home=32M disk=target=16M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era,dm-flakey cpus=1 timeout=500
#
# Disks that fail below an attached volume, for good and now and then: a part of the source, all of its writes, the place of the stores, the
# metadata of dm-era. The volume sees errors where its own disk has them and nowhere else (with dm-era also when its metadata fail: KERNEL.md,
# and why attach puts them on the source's own disk), and status names the metadata that failed; no run says 0 of what it could not read, and
# one that says 0 is right; and when the disk is well again the next run makes the replica equal, whether it believes the tracker or not.
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

# falters DISK FROM-MIB MIB - every other second all writes to that part of it fail; it begins or ends with the disk
falters() {
    local from=$(($2 << 11)) len=$(($3 << 11)) all flakey='1 1 1 error_writes'
    all=$(blockdev --getsz "/dev/vm/$1")
    if [[ $len -eq $all ]]; then
        table "$1" "0 $all flakey /dev/vm/$1 0 $flakey"
    elif [[ $from -eq 0 ]]; then
        table "$1" "0 $len flakey /dev/vm/$1 0 $flakey" "$len $((all - len)) linear /dev/vm/$1 $len"
    else
        table "$1" "0 $from linear /dev/vm/$1 0" "$from $len flakey /dev/vm/$1 $from $flakey"
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

# right_if_0 - a run that may fail; nobody writes meanwhile, so the source is the view
right_if_0() {
    local status=0
    blkrep sync data /dev/vm/target --recheck 1M --json >"$T/out" 2>"$T/err" || status=$?
    [[ $status -ne 0 ]] || same "$1" /dev/vm/source /dev/vm/target
    [[ $status -eq 0 && $(field fallback_reason) == null ]] || failed=$((failed + 1))
    echo "$tracker, $1: status $status, $(field fallback_reason): $(grep -v '^ ' "$T/err" | tail -n 1)"
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

# of KEY - of the volume's line of the last status
of() { json_field "$T/out" type=volume,volume=data "$1"; }

# names_the_metadata - status says what failed, and what to do
names_the_metadata() {
    run blkrep status data
    [[ $(of state) == failed && $(of 'consumers[0].incremental') == false && $(of meta_used_bytes) == null ]] ||
        fail "status does not say that the metadata failed: $(cat "$T/out"; dmsetup status)"
    [[ $(of trouble) == "dm-era's metadata, in /dev/mapper/area, failed"*"blkrep detach data --keep"* ]] || fail "the trouble is $(of trouble)"
}

home_mount
for disk in source area; do dmsetup create $disk --table "0 $(blockdev --getsz /dev/vm/$disk) linear /dev/vm/$disk 0" || fail "linear"; done
for tracker in cow era; do
    run blkrep attach data /dev/mapper/source --tracker $tracker --era-block 64K --cow /dev/mapper/area
    run blkrep sync data /dev/vm/target --overwrite --yes
    meta=$(($(json_field /mnt/state/volumes/data/stack.json '' meta.len_bytes) >> 20))

    put 4 4 before || fail "a write failed"
    fails source 6 1
    fails_only 6 1
    does_not_say_0 "a bad part of the source"
    heals source
    right "a bad part of the source"

    falters source 0 16
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
    says "store of a new snapshot of data, in /dev/mapper/area"
    put 8 4 "still without" || fail "$tracker: a write failed because of the stores: $(dmesg | tail -5)"
    heals area
    right "failing stores"

    # With era the metadata is on the same device, and a flush of it would fail with that of the stores.
    if [[ $tracker == cow ]]; then
        falters area "$meta" $((64 - meta))
        failed=0
        for ((i = 0; i < 6; i++)); do
            put $i 4 "faltering stores $i" || fail "$tracker: a write failed because of the stores: $(dmesg | tail -5)"
            right_if_0 "faltering stores, run $i"
        done
        heals area
        [[ $failed -gt 0 ]] || fail "no run met a failing store: dm-flakey did nothing"
        right "faltering stores, which $failed of 6 runs met"
    fi

    if [[ $tracker == era ]]; then
        run blkrep status data
        [[ $(of state) == active && $(of meta_used_bytes) -gt 0 ]] || fail "the state is $(of state) before anything failed: $(cat "$T/out")"
        for how in fails falters; do
            # A kernel that was let down only now and then may roll its era all the same (6.1): then the run is right, and a later one meets it.
            for ((round = 0, failed = 0; round < 12 && !failed; round++)); do
                "$how" area 0 "$meta"
                # With the metadata well for a second a write may succeed: the next ones need it too.
                for ((i = 0; i < 100; i++)); do put $((i % 16)) 1 "without metadata $round $i" || break; done
                [[ $i -lt 100 ]] || fail "era: no write failed with its metadata"
                get 0 16 || fail "era: a read failed because of the metadata"
                if [[ $how == fails ]]; then
                    does_not_say_0 "metadata that fails"
                    failed=1
                else
                    heals area # and the kernel does not notice
                    right_if_0 "metadata that falters, round $round"
                fi
            done
            [[ $failed -gt 0 ]] || fail "no run met metadata that falters"
            says "rolling the era of data"
            # A kernel that was let down only now and then does not always say so (6.1): then the run's words have to do.
            [[ $how == falters ]] && ! dmsetup status data-era | grep -qi error || names_the_metadata
            heals area
            run blkrep detach data --keep
            run blkrep attach data
            is tracking_lost era-metadata-damaged # whoever noticed, this attach or the detach before it
            put 2 3 "after" || fail "writes fail after the stack was built anew: $(dmesg | tail -5)"
            right "metadata that $how"
            run blkrep status data
            [[ $(of state) == active && $(of trouble) == null ]] || fail "the state is $(of state) when all is well: $(cat "$T/out")"
        done
    fi
    run blkrep detach data
    nothing_left source area
    run blkrep forget --yes /dev/vm/target
done
