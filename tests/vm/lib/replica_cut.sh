# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Power cuts at random moments of `blkrep sync`, and what must be true in the boot after (G1, G2). The tests that source
# this differ in what the replica is; they set $replica after calling cut_mount and call cut_main.
#
#   Version K of the source is a base with eight extents overwritten that depend on K only, so that any boot can make
#   any version again. Before a sync begins the host remembers `old` (the replica's version) and `new` (the source's),
#   and `durable` once sync has said 0. Source, replica and state lie on disks that lose what was not flushed.
#
#   After a cut                                     the replica must be
#   sync had said 0                                 complete, exactly new
#   it says complete                                exactly old or new, and `verify` agrees
#   it says applying                                refused by `verify`; exactly new after `finish`
#   it says incomplete or none (first copy only)    completed by the next sync
#   and then: the next sync says 0 and the replica is the source.

pages=2048 # 8 MiB
source_device=/dev/vm/source
replica=

old=${old:--1} new=${new:-0} durable=${durable:--1} writes=${writes:-60} seen=${seen:-}

# make_version K FILE
make_version() {
    local i len at
    cp "$T/base" "$2"
    vm_pattern 524288 "version $1" >"$T/changes"
    for ((i = 0; i < 8; i++)); do
        len=$((1 + $(vm_random_fixed 16 "len $1 $i")))
        at=$(vm_random_fixed $((pages - len)) "at $1 $i")
        dd if="$T/changes" of="$2" bs=4096 skip=$((i * 16)) seek="$at" count="$len" conv=notrunc status=none
    done
}

# vm_random_fixed MAX LABEL - as vm_random, the same in every boot
vm_random_fixed() { VM_BOOT=0 vm_random "$@"; }

# is_version FILE - is the replica exactly that, read from the disk?
is_version() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp -s "$1" "$replica"
}

# replica_state - what status says of the replica; missing when blkrep has never heard of it
replica_state() {
    local text
    if text=$(blkrep status --json "$replica" 2>&1); then
        grep -o '"state":"[a-z]*"' <<<"$text" | head -n 1 | cut -d'"' -f4
    elif [[ $text == *'"name":"NOT_FOUND"'* ]]; then
        echo missing
    else
        echo "status failed: $text"
    fi
}

set_source() {
    make_version "$1" "$T/source"
    dd if="$T/source" of="$source_device" bs=1M conv=fsync status=none || fail "the source can't be written"
}

writes_so_far() { cat /sys/block/vd*/stat | awk '{ n += $5 + $16 } END { print n }'; }

# cut_mount - the file system that holds blkrep's state, at /mnt
cut_mount() {
    vm_pattern $((pages * 4096)) base >"$T/base"
    if [[ $VM_BOOT -eq 0 ]]; then
        mke2fs -q -t ext4 /dev/vm/home || fail "mke2fs"
    else
        e2fsck -p /dev/vm/home >"$T/fsck" || [[ $? -eq 1 ]] || fail "the file system is broken: $(cat "$T/fsck")"
    fi
    mount -t ext4 /dev/vm/home /mnt || fail "mount"
    export BLKREP_STATE=/mnt/state
    mkdir -p /mnt/state
}

check_complete() {
    local which=''
    if is_version "$T/new"; then which=new; elif is_version "$T/old"; then which=old; fi
    [[ -n $which ]] || fail "a complete replica is neither version $old nor $new"
    [[ $durable -lt $new || $which == new ]] || fail "sync had said 0, and the replica is the version before"
    blkrep verify "$replica" || fail "verify of a complete replica: status $?"
    blkrep finish "$replica" || fail "finish of a complete replica: status $?"
    verdict="complete, $which"
}

check_applying() {
    ! blkrep verify "$replica" || fail "verify accepted a replica in transition"
    blkrep finish "$replica" || fail "finish: status $?"
    is_version "$T/new" || fail "finish did not make version $new"
    blkrep verify "$replica" || fail "verify after finish: status $?"
    verdict="applying, finished"
}

# check_after_cut - the table above
check_after_cut() {
    local state verdict='' before
    make_version "$new" "$T/new"
    if [[ $old -ge 0 ]]; then make_version "$old" "$T/old"; else : >"$T/old"; fi
    state=$(replica_state)
    case $state in
        complete) check_complete ;;
        applying) check_applying ;;
        missing | none | incomplete)
            [[ $old -eq -1 && $durable -lt $new ]] || fail "the replica lost version $old: it says $state"
            verdict=$state
            ;;
        *) fail "the replica says: $state" ;;
    esac
    echo "cut $((VM_BOOT - 1)) between version $old and $new: $verdict; disks: $VM_CUT_REPORT"
    seen+=" $state"
    vm_remember seen "$seen"
    set_source "$new"
    before=$(writes_so_far)
    blkrep sync "$source_device" "$replica" || fail "the next sync: status $?"
    is_version "$T/new" || fail "the next sync did not make version $new"
    [[ $verdict == "complete, new" ]] || vm_remember writes $(($(writes_so_far) - before))
}

# sync_until_cut - version after version, the cut at a counted write of the first or a later sync
sync_until_cut() {
    local count
    count=$((1 + $(vm_random "$writes" count)))
    while :; do
        new=$((new + 1))
        set_source "$new"
        vm_remember old "$old"
        vm_remember new "$new"
        if [[ -n $count ]]; then
            echo "boot $VM_BOOT: cut at write $count of a sync that takes about $writes"
            vm_cut_after_writes "$count"
            count=
        fi
        blkrep sync "$source_device" "$replica" || fail "sync: status $?"
        vm_remember durable "$new"
        old=$new
    done
}

# cut_main CUTS
cut_main() {
    [[ $VM_BOOT -eq 0 ]] || check_after_cut
    if [[ $VM_BOOT -eq $1 ]]; then
        echo "after $1 cuts, seed $VM_SEED, the replica said:$seen"
        exit 0
    fi
    [[ $VM_BOOT -eq 0 ]] || old=$new
    sync_until_cut
}
