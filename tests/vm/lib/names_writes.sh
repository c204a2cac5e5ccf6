# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Random writes, write-zeroes and discards of every size and alignment, direct and buffered, between syncs of an attached volume: after each the
# replica is the volume byte for byte, although nothing but what the tracker named was read.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

seed=$((VM_SEED * 100000))

# names_every_write VOLUME TRACKER TOP SOURCE - of the attached and synced VOLUME, which is written by TOP and read by SOURCE; five rounds
names_every_write() {
    local name=$1 tracker=$2 top=$3 source=$4 i named really
    for ((i = 1; i <= 5; i++)); do
        keep_image "$source" "$T/before"
        # Round 1 writes nothing; later ones more and more.
        [[ $i -eq 1 ]] || stamp "$top" $((seed += 1)) $((i * i * 4)) $((512 << (3 * i % 11))) zero discard || fail "stamp"
        [[ $i -eq 1 ]] || stamp "$top" $((seed += 1)) $((i * 4)) 65536 zero buffered || fail "stamp"
        run blkrep sync "$name" /dev/vm/target --recheck 64K
        is tracker "$tracker"
        is fallback_reason null
        is tracker_caught false
        same "$tracker, round $i" "$source" /dev/vm/target
        named=$(field bytes_tracked) really=$(cmp -l "$T/before" "$source" | wc -l)
        [[ $named -ge $really && ($i -gt 1 || $named -eq 0) ]] || fail "$tracker named $named bytes, and $really changed"
        [[ $i -gt 2 || $named -lt 8388608 ]] || fail "$tracker named $named bytes for $really: it names everything"
        echo "$tracker, round $i: $really bytes changed, $named named, $(field bytes_read) read, $(field bytes_shipped) shipped"
    done
}
