#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=meta=8M tools=dmsetup,blkdiscard modules=dm-era,dm-zero cpus=1 timeout=400
#
# Is a metadata device of the size that br_era_meta_bytes() computes enough, whatever is written? All blocks of a volume (that forgets what is written)
# are marked in every era, as many eras as it was computed for end while a metadata snapshot is held, then as many at once; nothing
# fails. A third of the size is too small, so the question is a real one: there the volume's writes fail.
#
# A dm-era whose metadata is full is left alone: removing it is a BUG in dm-bufio of 6.1.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

blocks=32768 eras=5
sectors=$((blocks * 8))

# stress NAME META-BYTES AT-SECTOR - prints the most blocks seen in use; 1 when anything failed
stress() {
    local name=$1 used peak=0 e
    dmsetup create "$name-meta" --table "0 $(($2 / 512)) linear /dev/vm/meta $3" || fail "linear"
    dmsetup create "$name" --table "0 $sectors era /dev/mapper/$name-meta /dev/mapper/volume 8" || return 1
    blkdiscard -z "/dev/mapper/$name" 2>/dev/null || return 1
    dmsetup message "$name" 0 take_metadata_snap || return 1
    for ((e = 1; e < 2 * eras; e++)); do
        [[ $e -ge $eras ]] || blkdiscard -z "/dev/mapper/$name" 2>/dev/null || return 1
        dmsetup message "$name" 0 checkpoint || return 1
        used=$(dmsetup status "$name" | sed -nE 's/^[0-9]+ [0-9]+ era [0-9]+ ([0-9]+)\/.*/\1/p')
        [[ $used -le $peak ]] || peak=$used
    done
    blkdiscard -z "/dev/mapper/$name" 2>/dev/null || return 1
    dmsetup message "$name" 0 drop_metadata_snap || return 1
    blkdiscard -z "/dev/mapper/$name" 2>/dev/null || return 1
    dmsetup remove "$name" || fail "remove"
    echo "$peak"
}

dd if=/dev/zero of=/dev/vm/meta bs=1M count=8 oflag=direct status=none
dmsetup create volume --table "0 $sectors zero" || fail "zero"
bytes=$(tracked era-bytes $((blocks * 4096)) 4096 $eras) || fail "no size"
peak=$(stress computed "$bytes" 0) || fail "metadata of $bytes bytes filled: $(dmsetup status computed)"
echo "$blocks data blocks, $eras eras: $peak of $((bytes / 4096)) metadata blocks were in use at most"
! stress small $((bytes / 3 / 4096 * 4096)) $((bytes / 512)) >/dev/null 2>&1 || fail "a third of it was enough, too: the test does not stress"
dmesg | grep -q "unable to allocate new metadata block" || fail "the smaller one failed of something else"
