#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=64M disk=area=96M disk=home=160M disk=target=64M tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot,dm-era cpus=1 timeout=300
# everyday: 6.12, the trackers are tested on both by their own tests
#
# An attached volume is backed up while its file system is written to, with each tracker: the frozen view is what is stored, a run after the
# first reads what changed and little else, each point comes back as a clean file system with the data of its moment.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
for tracker in era cow; do
    repo=/mnt/$tracker
    blkrep init "$repo" --encryption none >/dev/null || fail "init"
    mke2fs -q -F -t ext4 /dev/vm/source || fail "mke2fs"
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    mkdir -p /run/data
    mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    vm_pattern $((8 << 20)) "$tracker" >/run/data/first
    run blkrep backup data "$repo"
    is tracker "$tracker"
    is fallback_reason first-copy
    is consistency clean
    points=("$(field point)")
    for i in 1 2; do
        vm_pattern $((1 << 20)) "$i" >/run/data/later
        run blkrep backup /dev/mapper/data "$repo" --recheck 1M
        is tracker "$tracker"
        is fallback_reason null
        is tracker_caught false
        below bytes_read $((24 << 20))
        below bytes_stored $((8 << 20))
        points+=("$(field point)")
    done
    for i in 0 1 2; do
        run blkrep restore "$repo@${points[i]}" /dev/vm/target --overwrite --yes
        e2fsck -fn /dev/vm/target >"$T/fsck" 2>&1 || fail "point $i is no clean file system: $(cat "$T/fsck")"
        mkdir -p /run/back
        mount -t ext4 -o ro /dev/vm/target /run/back || fail "mount"
        cmp /run/back/first <(vm_pattern $((8 << 20)) "$tracker") || fail "what was there first is not in point $i"
        [[ $i -eq 0 ]] || cmp /run/back/later <(vm_pattern $((1 << 20)) "$i") || fail "point $i has not what was written before it"
        umount /run/back || fail "umount"
    done
    run blkrep verify "$repo" --data
    umount /run/data || fail "umount"
    run blkrep detach data
    rm -rf "$repo"
done
