#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=data=16M disk=logs=16M disk=area_data=32M disk=area_logs=48M disk=to_data=16M disk=to_logs=16M disk=home=32M,sector=4096 tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era cpus=1 timeout=300 power-cut
#
# A tracker that forgot a change: a bit cleared in the metadata of dm-era, a record zeroed in an exception store, both made offline and with
# all checksums right (lib/forget.c), after the stack was taken down in order and after a power cut. Either it is seen at once and all is
# compared, or the rolling recheck finds it within the runs that it takes to go once around the volume; it is in the audit log, and then
# the replica is the volume.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

recheck=4 # MiB of the 16 in a run: round once in four runs, one more for where it stands when it begins

# change NAME SEED - a few blocks; the last write, of one chunk that is alone in its block, is the one that will be forgotten by "last"
change() {
    local at
    for at in 37 101 150; do
        vm_pattern 65536 "$2 $at" | dd of="/dev/mapper/$1" bs=64k seek="$at" iflag=fullblock oflag=direct conv=notrunc,fsync status=none || fail "write"
    done
    vm_pattern 4096 "$2" | dd of="/dev/mapper/$1" bs=4k seek=$((forgotten * 16)) iflag=fullblock oflag=direct conv=notrunc,fsync status=none || fail "write"
}

# found WHAT NAME - within the bound the replica is the volume
found() {
    local i seen='' noticed=0
    for ((i = 1; i <= 16 / recheck + 1; i++)); do
        run blkrep sync "$2" "/dev/vm/to_$2" --recheck ${recheck}M
        seen+=" $(field fallback_reason)/$(field tracker_caught)"
        [[ $(field fallback_reason)$(field tracker_caught) != nullfalse ]] || continue
        noticed=1
        break
    done
    echo "$1: runs said$seen"
    [[ $noticed -eq 1 ]] || fail "$1: nobody noticed in $((i - 1)) runs; $(cmp "/dev/vm/$2" "/dev/vm/to_$2")"
    same "$1" "/dev/vm/$2" "/dev/vm/to_$2"
    grep -q "\"act\":\"tracking-lost\",\"object\":\"$2\"" <(tail -n +$((lines + 1)) /mnt/state/audit.ndjson) || fail "$1: no audit line: $(cat /mnt/state/audit.ndjson)"
    run blkrep sync "$2" "/dev/vm/to_$2" --recheck ${recheck}M
    is fallback_reason null
    is tracker_caught false
}

# store_of NAME - offset in bytes of the store of the snapshot that it holds
store_of() { jq -r '.snapshots[-1].pieces[0].offset_bytes' "/mnt/state/volumes/$1/stack.json"; }

# forget_store NAME WHICH - while the stack is down
forget_store() {
    dmsetup create lost --table "0 $((12 << 11)) linear /dev/vm/area_$1 $(($(store_of "$1") / 512))" || fail "linear"
    forget cow /dev/mapper/lost "$2" || fail "nothing to forget in the store"
    dmsetup remove lost || fail "remove"
}

forget_bit() {
    local bytes
    bytes=$(json_field "/mnt/state/volumes/$1/stack.json" '' meta.len_bytes)
    dmsetup create lost --table "0 $((bytes / 512)) linear /dev/vm/area_$1 0" || fail "linear"
    forget era /dev/mapper/lost "$forgotten" || fail "no bit to forget"
    dmsetup remove lost || fail "remove"
}

# attach_again - what is told of it from here on counts
attach_again() {
    lines=$(wc -l </mnt/state/audit.ndjson)
    run blkrep attach --all
}

home_mount
forgotten=200
case $VM_BOOT in
    0)
        run blkrep attach data /dev/vm/data --tracker era --era-block 64K --cow /dev/vm/area_data
        run blkrep attach logs /dev/vm/logs --tracker cow --cow /dev/vm/area_logs
        for name in data logs; do run blkrep sync $name /dev/vm/to_$name --overwrite --yes; done

        for name in data logs; do change $name first; done
        run blkrep detach --all --keep
        forget_bit data
        forget_store logs middle
        attach_again
        found "era, a bit, taken down in order" data
        found "cow, a record in the middle, taken down in order" logs

        change logs second
        run blkrep detach --all --keep
        forget_store logs last
        attach_again
        found "cow, the last record, taken down in order" logs

        for name in data logs; do change $name third; done
        sync
        vm_cut_after_ms 0
        vm_await_cut 60
        ;;
    1)
        forget_bit data
        forget_store logs last
        attach_again
        found "era, a bit, after a power cut" data
        found "cow, the last record, after a power cut" logs
        for name in data logs; do change $name fourth; done
        vm_cut_after_ms 0
        vm_await_cut 60
        ;;
    2)
        forget_store logs middle
        attach_again
        found "cow, a record in the middle, after a power cut" logs
        ;;
esac
