#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=48M disk=area=64M disk=home=64M disk=target=48M tools=dmsetup,mke2fs,e2fsck,jq,strace modules=dm-snapshot,dm-era cpus=1 timeout=300
#
# A first attach is killed after each time that it wrote its record. The same command again starts over; the volume's name alone builds it too, and
# takes nothing for metadata that only lay where metadata is to be. Another device under the name is refused.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

record=/mnt/state/volumes/data/stack.json
attach=(blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area)

# killed_at N - attach, and kill it as it replaces a file for the N-th time; false when it ended by itself. The area holds what looks like an older
# life of it.
killed_at() {
    dd if="$T/older" of=/dev/vm/area bs=1M conv=fsync status=none || fail "dd"
    ! strace -f -qq -o /dev/null -e trace=renameat -e inject=renameat:signal=KILL:when="$1" "${attach[@]}" >"$T/out" 2>&1
}

# tracked - a sync reads what changed, and the replica is the volume
tracked() {
    run blkrep sync data /dev/vm/target --overwrite --yes
    dd if=/dev/urandom of=/dev/mapper/data bs=64k seek=300 count=1 conv=fsync status=none || fail "write"
    run blkrep sync data /dev/vm/target --recheck 1M
    is tracker era
    is fallback_reason null
    is tracker_caught false
    same "$1" /dev/mapper/data /dev/vm/target
    run blkrep forget /dev/vm/target --yes
    run blkrep detach data
    nothing_left
}

home_mount
# Metadata of dm-era from an older life: another attach, of another size of block, with many eras.
run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area --era-block 64K
for _ in 1 2 3; do run blkrep sync data /dev/vm/target --overwrite --yes; done
run blkrep forget /dev/vm/target --yes
run blkrep detach data
dd if=/dev/vm/area of="$T/older" bs=1M count=8 iflag=direct status=none || fail "dd"

with_record=0
for n in 1 2 3 4 5 6 7 8; do
    killed_at "$n" || break
    if [[ -e $record ]]; then
        with_record=$((with_record + 1))
        if jq -e .pending "$record" >/dev/null; then
            run_is 7 blkrep attach data /dev/vm/target --tracker era --cow /dev/vm/area
        fi
    fi
    if jq -e .up "$record" >/dev/null 2>&1; then
        run blkrep attach data # it stood already
    else
        run "${attach[@]}"
    fi
    run blkrep detach data
    nothing_left

    killed_at "$n" || fail "the second time it was not killed at $n"
    if [[ -e $record ]]; then
        run blkrep attach data
        tracked "after a kill at $n and the name alone"
        killed_at "$n" || fail "the third time it was not killed at $n"
        run blkrep detach data
        nothing_left
    fi
done
[[ $n -gt 2 && $with_record -gt 0 ]] || fail "killed $n times, with a record $with_record times"
run blkrep detach data
nothing_left
