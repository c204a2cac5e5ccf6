# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
#
# A volume over several boots: what the tests of continuity have in common. Disks: source, area, home (the state folder's file system),
# target. Sourced by the tests; a boot ends with next_boot, and the test is started anew.
#
# $tracker and $fs are the test's: era|cow, ext4|xfs.
# shellcheck disable=SC2154

# shellcheck source=attached.sh
. /vm/lib/attached.sh

make_fs() {
    if [[ $fs == ext4 ]]; then mke2fs -q -F -t ext4 /dev/vm/source; else mkfs.xfs -q -f /dev/vm/source; fi || fail "mkfs"
}

home_up() {
    [[ $VM_BOOT -gt 0 ]] || mke2fs -q -F -t ext4 /dev/vm/home || fail "mke2fs of home"
    mount /dev/vm/home /mnt || fail "mount home"
    mkdir -p /run/data
}

mount_data() { mount -t "$fs" "${1:-/dev/mapper/data}" /run/data || fail "boot $VM_BOOT: mount ${1:-/dev/mapper/data}: $(dmesg | tail -3)"; }

# write_some NAME - a file, on its way to the disk
write_some() {
    vm_pattern $((1 << 20)) "$1" >"/run/data/$1"
    sync
}

# attach REASON - all that is known; what is said to be lost is REASON, null when tracking goes on
attach() {
    run blkrep attach --all
    is tracking_lost "$1"
}

# sync_says REASON - the run is incremental (null) or compares all for that reason
sync_says() {
    run blkrep sync data /dev/vm/target --recheck 1M
    is tracker "$tracker"
    is fallback_reason "$1"
    is tracker_caught false
}

# equal - the replica is the volume, which is not mounted
equal() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp /dev/mapper/data /dev/vm/target || fail "boot $VM_BOOT: the replica differs: $1"
}

audited() { grep -q "\"act\":\"tracking-lost\".*\"reason\":\"$1\"" /mnt/state/audit.ndjson || fail "boot $VM_BOOT: no audit line says $1: $(cat /mnt/state/audit.ndjson)"; }

down() { blkrep detach --all --keep || fail "boot $VM_BOOT: detach --all --keep"; }

# next_boot clean|crash - the end of this boot: in order, or with all that is mounted left as it is
next_boot() {
    [[ $1 != clean ]] || umount /mnt || fail "umount home"
    vm_cut_after_ms 0
    vm_await_cut 60
}

# The short story: over a power cut it goes on, a mount of the plain device after one is named, and so is one after a detach in order; a snapshot
# that was written past is gone.
continuity_short() {
    home_up
    case $VM_BOOT in
        0)
            make_fs
            run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
            mount_data
            write_some zero
            run blkrep sync data /dev/vm/target --overwrite --yes
            is fallback_reason first-copy
            blkrep watch --once || fail "watch"
            write_some zero-later
            next_boot crash
            ;;
        1)
            attach null
            mount_data
            write_some one
            umount /run/data
            sync_says null
            equal "after a power cut"
            mount_data
            next_boot crash
            ;;
        2)
            mount_data /dev/vm/source
            write_some two
            umount /run/data
            attach mounted-without-tracker
            audited mounted-without-tracker
            sync_says mounted-without-tracker
            equal "after a mount without the stack"
            down
            mount_data /dev/vm/source
            write_some three
            umount /run/data
            attach written-while-down
            audited written-while-down
            sync_says written-while-down
            sync_says null
            equal "after writes to the plain device"
            older_area
            another_machine
            run blkrep snapshot create data --name past
            down
            switched_off
            vm_pattern 65536 past | dd of=/dev/mapper/data bs=4k seek=1000 iflag=fullblock oflag=direct status=none || fail "dd"
            next_boot clean
            ;;
        3) # nothing but a block changed in a boot that was switched off: the next one must not build a snapshot of before it again
            run blkrep attach --all
            run_is 6 blkrep sync data@past /dev/vm/target
            says "while its stack was away"
            run blkrep snapshot remove data@past
            sync_says switched-off-at-boot
            equal "after a block written in a boot with blkrep=off"
            exit 0
            ;;
    esac
}

# switched_off - the kernel's command line says blkrep=off from here on: attach leaves the plain device under the stack's name
switched_off() {
    sed 's/$/ blkrep=off/' /proc/cmdline >/run/cmdline
    mount --bind /run/cmdline /proc/cmdline || fail "bind"
    run blkrep attach --all
    is tracking_lost switched-off-at-boot
    audited switched-off-at-boot
    [[ -z $(dmsetup ls | grep -v 'No devices') ]] || fail "a stack stands: $(dmsetup ls)"
}

# The whole story; each boot one chapter.
continuity_main() {
    home_up
    case $VM_BOOT in
        0)
            make_fs
            run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
            mount_data
            write_some zero
            run blkrep sync data /dev/vm/target --overwrite --yes
            is fallback_reason first-copy
            write_some zero-later
            umount /run/data
            down
            next_boot clean
            ;;
        1) # in order, and nobody wrote: it goes on
            attach null
            sync_says null
            equal "after a clean boot"
            mount_data
            write_some one
            umount /run/data
            down
            next_boot clean
            ;;
        2) # somebody wrote while it was down
            mount_data /dev/vm/source
            write_some two
            umount /run/data
            attach written-while-down
            audited written-while-down
            sync_says written-while-down
            equal "after writes to the plain device"
            sync_says null
            mount_data
            blkrep watch --once || fail "watch"
            write_some two-later
            sync
            next_boot crash
            ;;
        3) # the power went with the file system mounted: it goes on
            attach null
            mount_data
            write_some three
            sync_says null
            umount /run/data
            sync_says null
            equal "after a power cut"
            mount_data
            sync_says null
            next_boot crash
            ;;
        4) # a boot without the stack after it
            mount_data /dev/vm/source
            write_some four
            umount /run/data
            attach mounted-without-tracker
            audited mounted-without-tracker
            sync_says mounted-without-tracker
            equal "after a mount without the stack"
            down
            next_boot clean
            ;;
        5) # switched off
            switched_off
            mount_data # the plain device under the stack's name
            write_some five
            umount /run/data
            lines=$(wc -l </mnt/state/audit.ndjson)
            run blkrep attach --all # again: no news
            [[ $(wc -l </mnt/state/audit.ndjson) -eq $lines ]] || fail "told twice: $(tail -n 3 /mnt/state/audit.ndjson)"
            next_boot clean
            ;;
        6)
            run blkrep attach --all
            sync_says switched-off-at-boot
            equal "after a boot with blkrep=off"
            sync_says null
            older_area
            another_machine
            no_helper
            another_device
            run blkrep status --audit
            exit 0
            ;;
    esac
}

# The place of metadata and stores comes back from an older copy.
older_area() {
    local reason=era-metadata-older
    [[ $tracker == era ]] || reason=snapshot-store-older
    down
    dd if=/dev/vm/area of=/mnt/area.copy bs=1M conv=sparse status=none
    attach null
    mount_data
    write_some six
    [[ $tracker == cow ]] || sync_says null
    write_some six-later
    umount /run/data
    down
    dd if=/mnt/area.copy of=/dev/vm/area bs=1M oflag=direct conv=fsync status=none
    attach "$reason"
    audited "$reason"
    sync_says "$reason"
    equal "after older metadata"
    sync_says null
}

another_machine() {
    down
    echo 0123456789abcdef0123456789abcdef >/etc/machine-id
    attach another-machine
    sync_says another-machine
    sync_says null
}

# Without the helper the data are there all the same.
no_helper() {
    local helper
    helper=$(command -v blkrep-dm-helper)
    down
    mv "$helper" "$helper.away"
    blkrep attach --all >"$T/out" 2>&1 && fail "attached without a helper"
    audited stack-not-built
    mount_data
    write_some seven
    umount /run/data
    mv "$helper.away" "$helper"
    run blkrep attach --all
    sync_says stack-not-built
    equal "after a boot without the helper"
}

# Another disk where this one was is never taken for it, whatever is on it.
another_device() {
    local node other
    down
    node=$(readlink -f /dev/vm/source)
    other=$(readlink -f /dev/vm/other)
    cp_bytes "$node" "$other"
    mv "$node" "$node.away" && cp -a "$other" "$node" || fail "cannot swap nodes"
    run_is 3 blkrep attach data
    says "another disk"
    [[ ! -e /dev/mapper/data ]] || fail "another disk has the volume's name"
    rm "$node" && mv "$node.away" "$node"
    run blkrep attach data
    is tracking_lost null
    down
}

cp_bytes() { dd if="$1" of="$2" bs=1M oflag=direct conv=fsync status=none || fail "dd"; }
