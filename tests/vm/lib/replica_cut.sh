# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Power cuts at random moments of `blkrep sync`, and what must be true in the boot after (G1, G2). The tests that source
# this differ in what the replica is; they set $replica after calling cut_mount and call cut_main.
#
#   Before a sync begins the host remembers `old` (the replica's version) and `new` (the source's),
#   and `durable` once sync has said 0. Source, replica and state lie on disks that lose what was not flushed.
#
#   After a cut                                     the replica must be
#   sync had said 0                                 complete, exactly new
#   it says complete                                exactly old or new, and `verify` agrees
#   it says applying                                refused by `verify`; exactly new after `finish`
#   it says incomplete or none (first copy only)    completed by the next sync
#   and then: the next sync says 0 and the replica is the source.

# shellcheck source=versions.sh
. /vm/lib/versions.sh

old=${old:--1} new=${new:-0} durable=${durable:--1} writes=${writes:-60} seen=${seen:-}

writes_so_far() { cat /sys/block/vd*/stat | awk '{ n += $5 + $16 } END { print n }'; }

# cut_mount - the file system that holds blkrep's state, at /mnt. Its disk has sectors of 4096 bytes, the unit in which writes are torn:
# ext4 checks its superblock before it looks at the journal, and does not survive a half of it.
cut_mount() {
    make_base 2048 # 8 MiB
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
