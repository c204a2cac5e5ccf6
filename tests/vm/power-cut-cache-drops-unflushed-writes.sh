#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.1 disk=a=64M disk=b=64M tools=dd,mke2fs,e2fsck timeout=240 power-cut
#
# Does the test bed's power cut do what the tests of replicas rely on? What was flushed survives every cut; what was not
# is lost, kept or torn at sector borders, and over a few cuts all three are seen; nothing else ever appears.
#
# One kernel is enough: the question is about the disks. Disk a holds 512-byte lines that name their generation. Each
# boot makes a region durable ("base"), overwrites it without a flush ("new") and has the power cut. Every second cut
# comes at a counted write instead, while blocks are written and flushed one by one: those whose flush was acknowledged
# must be there. Disk b has a file system of which a file was fsynced just before.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

cuts=4
blocks=100
lost=${lost:-0} kept=${kept:-0} torn=${torn:-0}

# lines KIND - the region's text: one line of 512 bytes for each sector
lines() { awk -v kind="$1" -v n=$((blocks * 8)) 'BEGIN { for (i = 0; i < n; i++) printf "%-511s\n", kind " " i }'; }
# put_block KIND BLOCK - one block of that text, where the counted cuts look
put_block() { lines "$1" | dd of=/dev/vm/a bs=4096 skip="$2" seek=$((blocks + $2)) count=1 iflag=fullblock "${@:3}" status=none; }
# get BLOCK - the region that begins there
get() { dd if=/dev/vm/a bs=4096 skip="$1" count="$blocks" iflag=direct status=none; }

# count_region PREVIOUS - add to lost, kept and torn; fail on a sector that is neither base nor new of that boot
count_region() {
    local counts
    counts=$(get 0 | awk -v base="base$1" -v new="new$1" '
        { block = int((NR - 1) / 8); s = $1 }
        $2 != NR - 1 || (s != base && s != new) { print "sector " NR - 1 " holds: " $0; bad = 1; exit }
        s == base { old[block]++ }
        END {
            if (bad) exit 1
            for (b = 0; b < NR / 8; b++) { if (old[b] == 8) lost++; else if (old[b]) torn++; else kept++ }
            print lost + 0, kept + 0, torn + 0
        }') || fail "after cut $1: $counts"
    read -r l k t <<<"$counts"
    echo "cut $1: $l lost, $k kept, $t torn; the disks say: $VM_CUT_REPORT"
    vm_remember lost $((lost += l))
    vm_remember kept $((kept += k))
    vm_remember torn $((torn += t))
}

check_previous() {
    local previous=$((VM_BOOT - 1))
    [[ $VM_CUT_REPORT == *"a lost="*"b lost="* ]] || fail "the disks did not report the cut: '$VM_CUT_REPORT'"
    e2fsck -p /dev/vm/b || [[ $? -eq 1 ]] || fail "e2fsck"
    mount -t ext4 /dev/vm/b /mnt || fail "mount"
    [[ $(cat /mnt/file) == "boot $previous" ]] || fail "an fsynced file did not survive cut $previous: $(cat /mnt/file)"
    umount /mnt
    if ((previous % 2 == 0)); then
        count_region "$previous"
    else
        get "$blocks" | awk -v acked="${acked:--1}" -v want="step$previous" '
            int((NR - 1) / 8) <= acked && ($1 != want || $2 != NR - 1) { exit 1 }' ||
            fail "a flushed block was lost in cut $previous (acknowledged up to ${acked:--1})"
        [[ ${acked:--1} -ge 0 ]] || fail "the counted cut came before the first flush"
    fi
}

if [[ $VM_BOOT -eq 0 ]]; then
    mke2fs -q -t ext4 /dev/vm/b || fail "mke2fs"
else
    check_previous
fi
if [[ $VM_BOOT -eq $cuts ]]; then
    echo "over $cuts cuts: $lost blocks lost, $kept kept, $torn torn"
    [[ $lost -gt 0 && $kept -gt 0 && $torn -gt 0 ]] || fail "the cuts did not lose, keep and tear"
    exit 0
fi

mount -t ext4 /dev/vm/b /mnt || fail "mount"
echo "boot $VM_BOOT" >/mnt/new
sync /mnt/new
mv /mnt/new /mnt/file
sync -f /mnt
if ((VM_BOOT % 2 == 0)); then
    lines "base$VM_BOOT" | dd of=/dev/vm/a bs=4096 iflag=fullblock oflag=direct conv=fsync status=none || fail "write base"
    lines "new$VM_BOOT" | dd of=/dev/vm/a bs=4096 iflag=fullblock oflag=direct status=none || fail "write new"
    vm_cut_after_ms 0
else
    vm_cut_after_writes $((20 + $(vm_random 40 count)))
    for ((i = 0; i < blocks; i++)); do
        put_block "step$VM_BOOT" "$i" oflag=direct conv=fsync || fail "write block $i"
        vm_remember acked "$i"
    done
fi
vm_await_cut 20
