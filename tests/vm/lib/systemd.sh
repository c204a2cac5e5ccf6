# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2154 # "A && B || fail": fail ends the test; tracker is of the test that sources this
#
# A system on the disk "root" that systemd brings up, with udev, from the units that blkrep installs. The disk "data" is mounted at /srv/data
# from /etc/fstab, as blkrep-boot(7) says. The test runs as a service of that system, once in each boot; a boot ends with halt_system or
# next_boot. Disks: root, meta, data, target.

# shellcheck source=root.sh
. /vm/lib/root.sh
unset DM_DISABLE_UDEV

# systemd_make - boot 0, out of the test bed: the system on its disk, and the volume attached, synced and taken down
systemd_make() {
    local dir=/run/root disk unit
    export DM_DISABLE_UDEV=1 BLKREP_STATE=$dir/var/lib/blkrep
    mkdir -p /dev/disk/by-id "$dir" /run/data
    for disk in data meta target; do ln -sf "$(readlink -f "/dev/vm/$disk")" "/dev/disk/by-id/virtio-$disk"; done
    mke2fs -q -F -t ext4 /dev/vm/root && mke2fs -q -F -t ext4 /dev/vm/data || fail "mke2fs"
    mount /dev/vm/root "$dir" || fail "mount"
    cp -a /usr /bin /sbin /lib /lib64 /etc /vm "$dir/" || fail "cp"
    mkdir -p "$dir"/{dev,proc,sys,run,tmp,mnt,root,srv/data,var/lib/blkrep,var/log,etc/blkrep,etc/systemd/system,usr/libexec/blkrep,usr/lib/udev/rules.d}
    cp /init "$dir/usr/sbin/vm-init" && ln -sf /usr/lib/systemd/systemd "$dir/usr/sbin/init" || fail "init"
    cp /vm/bin/blkrep "$dir/usr/bin/" && cp /vm/bin/blkrep-dm-helper "$dir/usr/libexec/blkrep/" || fail "blkrep"
    cp /scripts/systemd/*.service /scripts/systemd/*.socket "$dir/usr/lib/systemd/system/" && cp /scripts/udev/* "$dir/usr/lib/udev/rules.d/" || fail "units"
    echo 00112233445566778899aabbccddeeff >"$dir/etc/machine-id"
    cp "$dir/etc/machine-id" /etc/machine-id
    cat >"$dir/etc/fstab" <<END
$(readlink -f /dev/vm/root) / ext4 defaults 0 0
/dev/mapper/data /srv/data ext4 nofail,x-systemd.after=blkrep-attach.service 0 2
END
    # The test: killed at once at the end of its boot, so that it says nothing that the bed takes for its result.
    cat >"$dir/etc/systemd/system/vm-test.service" <<END
[Unit]
After=blkrep-watch.service local-fs.target
[Service]
ExecStart=/usr/sbin/vm-init
KillSignal=SIGKILL
END
    # What runs last, when all is unmounted that can be: then the power goes.
    printf '#!/bin/sh\necho cut 0 >/dev/vm/control\nsleep 100\n' >"$dir/usr/lib/systemd/system-shutdown/vm-cut"
    chmod +x "$dir/usr/lib/systemd/system-shutdown/vm-cut"
    # as `systemctl enable` links them, by the [Install] sections
    for unit in blkrep-attach.service blkrep-watch.service; do
        disk=$(sed -n 's/^WantedBy=//p' "$dir/usr/lib/systemd/system/$unit")
        mkdir -p "$dir/etc/systemd/system/$disk.wants"
        ln -s "/usr/lib/systemd/system/$unit" "$dir/etc/systemd/system/$disk.wants/"
    done
    mkdir -p "$dir/etc/systemd/system/multi-user.target.wants"
    ln -s ../vm-test.service "$dir/etc/systemd/system/multi-user.target.wants/"
    ln -sf /usr/lib/systemd/system/multi-user.target "$dir/etc/systemd/system/default.target"

    run blkrep attach data /dev/disk/by-id/virtio-data --tracker "$tracker" --cow /dev/disk/by-id/virtio-meta
    mount /dev/mapper/data /run/data || fail "mount"
    vm_pattern $((1 << 20)) zero >/run/data/zero
    run blkrep sync data /dev/disk/by-id/virtio-target --overwrite --yes
    umount /run/data
    run blkrep detach --all --keep
    umount "$dir" || fail "umount"
    next_boot initramfs-tools root "root=$(readlink -f /dev/vm/root)"
}

# halt_system - in order, by systemd; then the power goes, and the next boot begins
halt_system() {
    systemctl --no-block --no-wall halt 2>"$T/halt" || fail "halt: $(cat "$T/halt")"
    sleep 300
    fail "the system did not go down"
}

# tells UNIT - what systemd says of it
tells() {
    systemctl status --no-pager --lines=20 "$@" 2>&1 | head -n 60
    journalctl -b --no-pager -o short-monotonic 2>&1 | grep -E "blkrep|data|device-mapper|udev" | tail -n 60
}

# system_is_up - the units are up, in their order, and the volume is mounted from what / is: "dm" or "plain"
system_is_up() {
    local device attached mounted
    [[ $(cat /proc/1/comm) == systemd ]] || fail "boot $VM_BOOT: $(cat /proc/1/comm) is process 1"
    systemctl is-active --quiet blkrep-attach.service blkrep-watch.service || fail "boot $VM_BOOT: $(tells blkrep-attach blkrep-watch)"
    device=$(awk '$5 == "/srv/data" { print $3 }' /proc/self/mountinfo)
    case $1:$device in
        dm:?*) [[ -d /sys/dev/block/$device/dm ]] || fail "boot $VM_BOOT: mounted from $device: $(tells srv-data.mount)" ;;
        plain:?*) [[ ! -d /sys/dev/block/$device/dm ]] || fail "boot $VM_BOOT: mounted from $device: $(dmsetup table)" ;;
        *) fail "boot $VM_BOOT: /srv/data is not mounted: $(tells srv-data.mount blkrep-attach dev-mapper-data.device)" ;;
    esac
    attached=$(systemctl show -P ActiveEnterTimestampMonotonic blkrep-attach.service)
    mounted=$(systemctl show -P InactiveExitTimestampMonotonic srv-data.mount)
    [[ $attached -gt 0 && $attached -le $mounted ]] || fail "boot $VM_BOOT: attached at $attached, mounted at $mounted"
}

# goes_on - every write of before is in what the tracker tells, and the replica is a clean file system
goes_on() {
    run blkrep sync data /dev/disk/by-id/virtio-target --recheck 1M
    is tracker "$tracker"
    is fallback_reason "$1"
    is tracker_caught false
    is consistency clean
    e2fsck -fn /dev/disk/by-id/virtio-target >"$T/fsck" 2>&1 || fail "boot $VM_BOOT: the replica is no clean file system: $(cat "$T/fsck")"
}
