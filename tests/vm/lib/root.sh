# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A root file system on a partition of the disk "root", attached in the initramfs with its metadata on the disk "meta": what its tests have in common.
# Disks: root, meta, target. A boot ends with next_boot, and the test is started anew, from boot 1 on out of that root file system.
#
# $builder is the test's: initramfs-tools or dracut.
# shellcheck disable=SC2154,SC2015

[[ $VM_BOOT -gt 0 ]] || export BLKREP_STATE=/run/root/var/lib/blkrep

# field KEY - of the last exit object
field() { json_field "$T/out" type=exit "$1"; }

run() {
    "$@" --json >"$T/out" 2>"$T/err" || fail "boot $VM_BOOT: $*: status $?: $(cat "$T/out" "$T/err"; early_log; dmesg | tail -5)"
}

is() { [[ $(field "$1") == "$2" ]] || fail "boot $VM_BOOT: $1 is $(field "$1") instead of $2: $(cat "$T/out" "$T/err"; early_log)"; }

early_log() { cat /run/blkrep/early/* 2>/dev/null; dmesg | grep blkrep:; }

# root_is dm|plain - what / is mounted from
root_is() {
    local device
    device=$(awk '$5 == "/" && $(NF - 2) == "ext4" {print $3}' /proc/self/mountinfo | tail -n 1)
    case $1:$device in
        dm:?*) [[ -d /sys/dev/block/$device/dm ]] || fail "boot $VM_BOOT: the root is $device: $(early_log)" ;;
        plain:?*) [[ ! -d /sys/dev/block/$device/dm ]] || fail "boot $VM_BOOT: the root is $device: $(dmsetup table)" ;;
        *) fail "boot $VM_BOOT: the root is $device: $(early_log)" ;;
    esac
}

write_some() {
    vm_pattern $((1 << 20)) "$1" >"/srv/$1"
    sync
}

# sync_says REASON - the run is incremental (null) or compares all for that reason; its replica is a clean file system
sync_says() {
    run blkrep sync root /dev/vm/target --recheck 1M
    is tracker era
    is fallback_reason "$1"
    is tracker_caught false
    is consistency clean
    e2fsck -fn /dev/vm/target >"$T/fsck" 2>&1 || fail "boot $VM_BOOT: the replica is no clean file system: $(cat "$T/fsck")"
}

audited() { grep -q "\"act\":\"tracking-lost\".*\"reason\":\"$1\"" /var/lib/blkrep/audit.ndjson || fail "boot $VM_BOOT: no audit line says $1: $(cat /var/lib/blkrep/audit.ndjson)"; }

# next_boot [WORD...] - the power goes; the WORDs are what the next boot's initramfs and kernel are to be (scripts/lib/vm-root.sh)
next_boot() {
    [[ $# -eq 0 ]] || vm_say "initramfs $*"
    vm_cut_after_ms 0
    vm_await_cut 120
}

# partition - of the root file system, as the kernel names it
partition() { echo "$(readlink -f /dev/vm/root)1"; }

# where it begins, for the bed, which reads it from the disk's image
part_of_root="root?offset=$((1 << 20))"

# root_make - boot 0, out of the test bed: a system on the disk, attached for the next boot as doctor says
root_make() {
    local dir=/run/root
    mkdir -p /dev/disk/by-id "$dir"
    echo 2048,,L | sfdisk -q /dev/vm/root || fail "sfdisk"
    for disk in meta target; do ln -sf "$(readlink -f "/dev/vm/$disk")" "/dev/disk/by-id/virtio-$disk"; done
    ln -sf "$(partition)" /dev/disk/by-id/virtio-root-part1
    mke2fs -q -F -t ext4 "$(partition)" || fail "mke2fs"
    mount "$(partition)" "$dir" || fail "mount"
    cp -a /usr /bin /sbin /lib /lib64 /etc /vm "$dir/" || fail "cp"
    cp /init "$dir/sbin/init" || fail "cp init"
    mkdir -p "$dir"/{dev,proc,sys,run,tmp,mnt,root,srv,var/lib,var/log,etc/blkrep}
    echo 00112233445566778899aabbccddeeff >"$dir/etc/machine-id"
    cp "$dir/etc/machine-id" /etc/machine-id
    run blkrep attach root /dev/disk/by-id/virtio-root-part1 --cow=/dev/disk/by-id/virtio-meta --tracker=era --at-boot
    echo root >"$dir/etc/blkrep/early"
    umount "$dir" || fail "umount"
    next_boot "$builder" "$part_of_root" root=/dev/mapper/root
}

# root_in - boots 1 and 2: the stack is there before the root is, changes are tracked, also over a power cut
root_in() {
    case $VM_BOOT in
        1)
            root_is dm
            run blkrep attach --all
            is tracking_lost null
            run blkrep sync root /dev/vm/target --overwrite --yes
            is fallback_reason first-copy
            write_some one
            sync_says null
            write_some one-later
            next_boot
            ;;
        2)
            root_is dm
            run blkrep attach --all
            is tracking_lost null
            write_some two
            sync_says null
            ;;
    esac
}

# root_out - the way out, in two boots: the plain device is the root again, and nothing is left
root_out() {
    : >/etc/blkrep/early
    sync
    mount -o remount,ro / || fail "boot $VM_BOOT: remount"
    next_boot "$builder" "$part_of_root" "root=$(partition)"
}

root_was_out() {
    root_is plain
    ! blkrep attach --all >"$T/out" 2>&1 || fail "a stack over a mounted device: $(cat "$T/out")"
    run blkrep detach root
    [[ ! -e /var/lib/blkrep/volumes/root ]] || fail "left behind: $(find /var/lib/blkrep/volumes)"
    [[ ! -L /dev/mapper/root ]] || fail "left behind: $(ls -l /dev/mapper)"
    ! dmsetup ls | grep -qv 'No devices' || fail "left behind: $(dmsetup ls)"
}

# root_in_and_off - boots 0 to 3: into the stack, over a power cut, and from the plain device with blkrep=off, which is named
root_in_and_off() {
    case $VM_BOOT in
        0) root_make ;;
        1) root_in ;;
        2)
            root_in
            next_boot same root=/dev/mapper/root blkrep=off
            ;;
        3)
            root_is plain
            run blkrep attach --all
            is tracking_lost switched-off-at-boot
            audited switched-off-at-boot
            ;;
    esac
}

# root_comes_up_whatever_is_broken - seven boots: the same, then broken metadata, a missing helper, and the way out
root_comes_up_whatever_is_broken() {
    case $VM_BOOT in
        [0-2]) root_in_and_off ;;
        3)
            root_in_and_off
            write_some three
            dd if=/dev/urandom of=/dev/vm/meta bs=64k count=16 conv=fsync status=none || fail "dd"
            next_boot same root=/dev/mapper/root
            ;;
        4) # the metadata are no metadata
            root_is dm
            [[ $(json_field /run/blkrep/early/root.json "" lost) == era-metadata-damaged ]] || fail "the early boot did not notice: $(early_log)"
            run blkrep attach --all
            write_some four
            sync_says switched-off-at-boot
            sync_says null
            mount -o remount,ro / || fail "remount"
            next_boot "$builder" "$part_of_root" without=/usr/libexec/blkrep/blkrep-dm-helper root=/dev/mapper/root
            ;;
        5) # no helper in the initramfs
            root_is plain
            [[ -e /dev/mapper/root ]] || fail "the plain device is not passed through: $(early_log)"
            ! blkrep attach --all >"$T/out" 2>&1 || fail "a stack over a mounted device: $(cat "$T/out")"
            audited stack-not-built
            [[ -e /dev/mapper/root ]] || fail "the name that the root is mounted by went away"
            root_out
            ;;
        6) root_was_out ;;
    esac
}
