# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Power cuts at random moments under two attached volumes, `data` with tracker era and `logs` with tracker cow, that are written to and synced
# again and again. Sources, areas, targets and the state folder lie on disks that lose what was not flushed.
#
#   While the power is on      each frozen view is what one moment of the ordered writes left (lib/ordered.c)
#   In the boot after          attach --all and a sync of each volume succeed, and the replica is the volume byte for byte;
#                              when the chain of a volume was lost, attach said why and the sync compared everything;
#                              when it was not, the sync read what the tracker named, and its recheck caught nothing
#
# The tests that source this call attached_cut_main CUTS. A cut may come at any write of a run, between two, or in an attach.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

whole=${whole:-0} lost=${lost:-0} views=${views:-0}

# sync_volume NAME - its exit object is at hand
sync_volume() { run blkrep sync "$1" "/dev/vm/to_$1" --recheck 1M --overwrite --yes; }

attach_first() {
    run blkrep attach data /dev/vm/data --tracker era --era-block 64K --cow /dev/vm/area_data
    run blkrep attach logs /dev/vm/logs --tracker cow --cow /dev/vm/area_logs
    for name in data logs; do sync_volume $name; done
}

# check_volume NAME - as the cut left it
check_volume() {
    local said
    said=$(sed -nE "s/.*$1: changes since the last run can't be proven \(([^)]*)\).*/\1/p" "$T/attach.err")
    sync_volume "$1"
    same "after the cut" "/dev/vm/$1" "/dev/vm/to_$1"
    is tracker_caught false
    echo "cut $((VM_BOOT - 1)), $1: attach said \"$said\", sync $(field fallback_reason), named $(field bytes_tracked), shipped $(field bytes_shipped)"
    if [[ $(field fallback_reason) == null ]]; then
        [[ -z $said ]] || fail "attach said $said, and the sync believes the tracker"
        vm_remember whole $((whole += 1))
    else
        vm_remember lost $((lost += 1))
    fi
}

# check_after_cut - attach, sync, equal
check_after_cut() {
    echo "disks: $VM_CUT_REPORT"
    blkrep attach --all >"$T/attach.out" 2>"$T/attach.err" || fail "attach --all: status $?: $(cat "$T/attach.out" "$T/attach.err"; dmesg | tail -5)"
    check_volume data
    check_volume logs
}

# sync_view NAME - while it is written to
sync_view() {
    sync_volume "$1"
    is tracker_caught false
    ordered check "$seed" 65536 "$T/base.$1" -- "/dev/vm/to_$1" >"$T/judged" || fail "$1: $(cat "$T/judged")"
    vm_remember views $((views += 1))
}

# sync_until_cut - a writer on each volume; each view is explained by one moment of it
sync_until_cut() {
    local name seed=$((VM_SEED * 100 + VM_BOOT))
    for name in data logs; do
        keep_image "/dev/mapper/$name" "$T/base.$name"
        ordered write "$seed" 65536 5 "/dev/mapper/$name" >"$T/count.$name" &
    done
    for name in data logs; do sync_view $name; done
    vm_cut_after_writes $((1 + $(vm_random 1000 count)))
    while :; do
        for name in data logs; do sync_view $name; done
    done
}

# attached_cut_main CUTS
attached_cut_main() {
    home_mount
    if [[ $VM_BOOT -eq 0 ]]; then attach_first; else check_after_cut; fi
    if [[ $VM_BOOT -eq $1 ]]; then
        echo "after $1 cuts, seed $VM_SEED: $views views explained, $whole chains went on, $lost were lost and said so"
        [[ $whole -gt 0 && $views -gt 0 ]] || fail "nothing was asked of the trackers"
        exit 0
    fi
    sync_until_cut
}
