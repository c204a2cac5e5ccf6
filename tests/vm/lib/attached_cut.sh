# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Power cuts at random moments under two attached volumes, `data` and `logs`, that are written to and synced again and again. Sources, areas,
# targets and the state folder lie on disks that lose what was not flushed. What the volumes are:
#
#   own    data with tracker era, logs with tracker cow, both with stacks of blkrep's own
#   lvm    data a thin logical volume (tracker thin), logs a linear one (tracker cow): their snapshots are LVM's
#
#   While the power is on      each frozen view is what one moment of the ordered writes left (lib/ordered.c)
#   In the boot after          attach --all and a sync of each volume succeed, and the replica is the volume byte for byte;
#                              the chain of each volume goes on, wherever the cut came: the sync read what the tracker named, and its
#                              recheck caught nothing; what was flushed before the cut is there (the writer told so on the disk
#                              told_NAME)
#
# The tests that source this call attached_cut_main CUTS own|lvm. A cut may come at any write of a run, between two, or in an attach.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

whole=${whole:-0} promised=${promised:-0} views=${views:-0} phase=${phase:-} met=${met:-}

# meets WORD - what a cut finds going on from here
meets() { vm_remember phase "$1"; }

# sync_volume NAME - its exit object is at hand
sync_volume() { run blkrep sync "$1" "/dev/vm/to_$1" --recheck 1M --overwrite --yes; }

# device of a volume, and where it is written to
declare -A device=([data]=/dev/vm/data [logs]=/dev/vm/logs) top=([data]=/dev/mapper/data [logs]=/dev/mapper/logs)

# own_begin, lvm_begin - the devices, in each boot. Where a cut met LVM between its own metadata and the pool's, a snapshot of blkrep's can't be
# activated, and LVM says so; everything else must be active.
own_begin() { :; }
lvm_begin() {
    local inactive pv
    device=([data]=/dev/group/data [logs]=/dev/group/logs) top=([data]=/dev/group/data [logs]=/dev/group/logs)
    if [[ $VM_BOOT -eq 0 ]]; then
        # LVM does not flush its metadata before it points to them: they lie where no cut takes anything, the volumes where one does.
        pv=$(readlink -f /dev/vm/pv)
        lvm pvcreate -q --metadatacopies 0 "$pv" && lvm vgcreate -q group "$(readlink -f /dev/vm/lvm)" "$pv" &&
            lvm lvcreate -q -y -n logs -L 8M group "$pv" && lvm lvcreate -q -y -n pool --type thin-pool -L 48M -c 64k group "$pv" &&
            lvm lvcreate -q -y -n data -V 8M --thinpool group/pool
    else
        lvm vgchange -q -ay group || lvm lvs --noheadings --separator / -o lv_name,lv_active group >"$T/active"
    fi >"$T/lvm" 2>&1 || fail "LVM: $(cat "$T/lvm"; lvm lvs -a group; dmesg | tail -5)"
    inactive=$(sed -n 's|^ *\([^/]*\)/$|\1|p' "$T/active" 2>/dev/null | grep -v '^blkrep-')
    [[ -z $inactive ]] || fail "not active: $inactive: $(cat "$T/lvm"; lvm lvs -a group; dmesg | tail -5)"
    [[ -b ${device[data]} && -b ${device[logs]} ]] || fail "no volumes: $(cat "$T/lvm"; lvm lvs -a group)"
}

own_attach() {
    run blkrep attach data /dev/vm/data --tracker era --era-block 64K --cow /dev/vm/area_data
    run blkrep attach logs /dev/vm/logs --tracker cow --cow /dev/vm/area_logs
}
lvm_attach() {
    run blkrep attach data /dev/group/data
    is tracker thin
    run blkrep attach logs /dev/group/logs
    is tracker cow
}

# check_volume NAME - as the cut left it
check_volume() {
    keep_image "${device[$1]}" "$T/after"
    ordered told 65536 "/dev/vm/told_$1" "$T/after" >"$T/judged" || fail "cut $((VM_BOOT - 1)), which met $phase, $1: $(cat "$T/judged")"
    grep -q 'write 0 ' "$T/judged" || vm_remember promised $((promised += 1))
    sync_volume "$1"
    same "after the cut" "${device[$1]}" "/dev/vm/to_$1"
    is tracker_caught false
    echo "cut $((VM_BOOT - 1)), $1: $(cat "$T/judged"); named $(field bytes_tracked), shipped $(field bytes_shipped)"
    ! grep -F "$1: changes since the last run can't be proven" "$T/attach.err" || fail "the cut, which met $phase, lost the chain of $1 by what attach says"
    [[ $(field fallback_reason) == null ]] || fail "the cut, which met $phase, lost the chain of $1: $(field fallback_reason); $(cat "$T/attach.err")"
    vm_remember whole $((whole += 1))
}

# check_after_cut - attach, sync, equal
check_after_cut() {
    echo "it met $phase; disks: $VM_CUT_REPORT"
    met+=${met:+ }$phase
    vm_remember met "$met"
    meets attach
    blkrep attach --all >"$T/attach.out" 2>"$T/attach.err" || fail "attach --all: status $?: $(cat "$T/attach.out" "$T/attach.err"; dmesg | tail -5)"
    meets first-sync
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

# sync_until_cut - a writer on each volume; each view is explained by one moment of it. The cut comes in the first run after, or in the second.
sync_until_cut() {
    local name seed=$((VM_SEED * 100 + VM_BOOT)) order=(data logs)
    [[ $(vm_random 2 order) -eq 0 ]] || order=(logs data)
    meets first-sync
    for name in data logs; do
        keep_image "${top[$name]}" "$T/base.$name"
        ordered write "$seed" 65536 5 "${top[$name]}" told="/dev/vm/told_$name" >"$T/count.$name" &
    done
    for name in data logs; do sync_view $name; done
    vm_cut_after_writes $((1 + $(vm_random 1500 count)))
    while :; do
        for name in "${order[@]}"; do
            meets "$name"
            sync_view "$name"
        done
    done
}

# attached_cut_main CUTS own|lvm
attached_cut_main() {
    home_mount
    # Now and then already while the stack is built, or what the cut before left is synced.
    [[ $VM_BOOT -eq 0 || $VM_BOOT -eq $1 || $(vm_random 4 early) -ne 0 ]] || vm_cut_after_writes $((1 + $(vm_random 400 early-count)))
    "$2_begin"
    if [[ $VM_BOOT -eq 0 ]]; then
        "$2_attach"
        for name in data logs; do sync_volume $name; done
    else
        check_after_cut
    fi
    if [[ $VM_BOOT -eq $1 ]]; then
        echo "after $1 cuts, seed $VM_SEED: $views views explained, $whole chains went on, none was lost, $promised times what was flushed was there; they met $(tr ' ' '\n' <<<"$met" | sort | uniq -c | tr -s '\n ' ' ')"
        [[ $whole -gt 1 && $promised -gt 0 && $views -gt 0 ]] || fail "nothing was asked of the trackers"
        exit 0
    fi
    sync_until_cut
}
