#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.12 disk=source=2M disk=live=66M disk=log=96M disk=replay=66M tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot cpus=1 timeout=600
#
# At every flush of a first copy and of a delta: is the device that was the target the old version or the new one, or
# marked and completed by finish (G2), and after sync has said 0 the new one only (G1)?
#
#   live:   | home: ext4 with blkrep's state, 64 MiB | replica, 2 MiB |   below both: log-writes, one log, one order
#   replay: the same bytes at one flush after the other; each is looked at through a snapshot, so that recovering it
#           does not touch the next. Between two flushes of the delta a drive may also have kept any part of what came
#           after the first: that is looked at too, drawn by the seed.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/versions.sh
. /vm/lib/versions.sh

home_sectors=131072
replica_sectors=4096
all_sectors=$((home_sectors + replica_sectors))
replica=/dev/mapper/replica
export BLKREP_STATE=/mnt/state

# split_up DISK - make home and replica on it; their uuids are what blkrep knows a device by
split_up() {
    dmsetup create home --uuid blkrep-test-home --table "0 $home_sectors linear $1 0" || fail "create home"
    dmsetup create replica --uuid blkrep-test-replica --table "0 $replica_sectors linear $1 $home_sectors" || fail "create replica"
}

remove() {
    local name
    for name in "$@"; do dmsetup remove "$name" || fail "dmsetup remove $name"; done
}

mark() { dmsetup message lw 0 mark "$1" || fail "mark $1"; }

record() {
    local version
    dmsetup create lw --table "0 $all_sectors log-writes /dev/vm/live /dev/vm/log" || fail "create lw"
    split_up /dev/mapper/lw
    mke2fs -q -t ext4 -E nodiscard /dev/mapper/home || fail "mke2fs"
    mount -t ext4 /dev/mapper/home /mnt || fail "mount"
    mkdir /mnt/state
    sync -f /mnt
    mark begin
    for version in 0 1; do
        set_source "$version"
        blkrep sync "$source_device" "$replica" || fail "sync of version $version: status $?"
        mark "done$version"
    done
    umount /mnt
    remove home replica lw
}

# verdict_at WHERE DURABLE - recover what /dev/mapper/moment holds; sets verdict. DURABLE: the version that sync had
# called done, -1 for none.
verdict_at() {
    local state
    split_up /dev/mapper/moment
    mount -t ext4 /dev/mapper/home /mnt || fail "$1: the file system does not mount"
    state=$(replica_state)
    case $state in
        complete) verdict=$(complete_version) || fail "$1: says complete and is neither version" ;;
        applying)
            ! blkrep verify "$replica" 2>/dev/null || fail "$1: verify accepted a replica in transition"
            blkrep finish "$replica" || fail "$1: finish: status $?"
            is_version "$T/v1" || fail "$1: finish did not make the new version"
            [[ $2 -ge 0 ]] || fail "$1: in transition before the first copy was done"
            verdict=finished
            ;;
        missing | none | incomplete)
            [[ $2 -eq -1 ]] || fail "$1: version $2 was done, and the replica says $state"
            verdict=$state
            ;;
        *) fail "$1: the replica says: $state" ;;
    esac
    [[ $2 -ne 1 || $verdict == v1 ]] || fail "$1: sync of version 1 had said 0, and the replica is: $verdict"
    umount /mnt
    remove home replica
}

complete_version() {
    local k
    for k in 0 1; do
        if is_version "$T/v$k"; then
            echo "v$k"
            return 0
        fi
    done
    return 1
}

# look WHERE DURABLE [FROM TO] - a snapshot of the replay, with what a drive may have kept of entries FROM..TO-1
look() {
    dmsetup create moment --table "0 $all_sectors snapshot /dev/vm/replay $store N 16" || fail "create moment"
    [[ $# -eq 2 ]] || replay_log apply --lose "$((VM_SEED + $3)),$((home_sectors * 512))" /dev/vm/log /dev/mapper/moment "$3" "$4" || fail "apply --lose"
    verdict_at "$1" "$2"
    remove moment
    seen[$verdict]=$((${seen[$verdict]:-0} + 1))
}

# replay - walk the log from "begin" to its end
replay() {
    local from=0 lossy=0 durable=-1 begun='' points=0 index kind mark writes=0
    while read -r index kind _ _ mark; do
        case $kind in
            mark) [[ $mark != done* ]] || durable=${mark#done} ;;
            flush) ;;
            *)
                writes=$((writes + 1))
                continue
                ;;
        esac
        [[ $mark != begin ]] || begun=1
        # What the interval holds besides its flush may have survived in part.
        if [[ $durable -ge 0 && $writes -gt 0 && $kind == flush ]]; then
            look "before flush $index" "$durable" "$from" "$index"
            lossy=$((lossy + 1))
        fi
        replay_log apply /dev/vm/log /dev/vm/replay "$from" $((index + 1)) || fail "apply"
        from=$((index + 1))
        if [[ -n $begun && ($writes -gt 0 || $kind == mark) ]]; then
            look "at $kind $index" "$durable"
            points=$((points + 1))
        fi
        writes=0
    done <"$T/list"
    echo "$points flushes and marks, $lossy moments between them:"
    for verdict in "${!seen[@]}"; do echo "  $verdict ${seen[$verdict]}"; done
}

make_base 512
for k in 0 1; do make_version "$k" "$T/v$k"; done
record
replay_log list /dev/vm/log >"$T/list" || fail "the log does not read"
truncate -s 32M "$T/store"
store=$(losetup -f)
losetup "$store" "$T/store" || fail "losetup"
declare -A seen=()
replay
for verdict in v0 v1 finished incomplete; do
    [[ ${seen[$verdict]:-0} -gt 0 ]] || fail "no moment was $verdict: the question was not asked"
done
