#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=16M,sector=512 disk=area=96M disk=home=32M disk=target=16M tools=dmsetup,mke2fs,jq modules=dm-snapshot,dm-era timeout=300
#
# Random writes, write-zeroes and discards (which are refused) of every size and alignment, direct and buffered, between syncs of an
# attached volume: after each the replica is the volume byte for byte, although nothing but what the tracker named was read.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

rounds=5
seed=$((VM_SEED * 100000))
home_mount
for tracker in era cow; do
    run blkrep attach data /dev/vm/source --tracker $tracker --era-block 64K --cow /dev/vm/area
    ! blkdiscard /dev/mapper/data 2>/dev/null || fail "a discard went through: nobody tracks it"
    run blkrep sync data /dev/vm/target --overwrite --yes
    for ((i = 1; i <= rounds; i++)); do
        keep_image /dev/vm/source "$T/before"
        # Round 1 writes nothing; later ones more and more.
        [[ $i -eq 1 ]] || stamp /dev/mapper/data $((seed += 1)) $((i * i * 4)) $((512 << (3 * i % 11))) zero discard || fail "stamp"
        [[ $i -eq 1 ]] || stamp /dev/mapper/data $((seed += 1)) $((i * 4)) 65536 zero buffered || fail "stamp"
        run blkrep sync data /dev/vm/target --recheck 64K
        is tracker $tracker
        is fallback_reason null
        is tracker_caught false
        same "$tracker, round $i" /dev/vm/source /dev/vm/target
        named=$(field bytes_tracked) really=$(cmp -l "$T/before" /dev/vm/source | wc -l)
        [[ $named -ge $really && ($i -gt 1 || $named -eq 0) ]] || fail "$tracker named $named bytes, and $really changed"
        [[ $i -gt 2 || $named -lt 8388608 ]] || fail "$tracker named $named bytes for $really: it names everything"
        echo "$tracker, round $i: $really bytes changed, $named named, $(field bytes_read) read, $(field bytes_shipped) shipped"
    done
    run blkrep detach data
    nothing_left
    run blkrep forget --yes /dev/vm/target
done
