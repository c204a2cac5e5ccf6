#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.12 disk=root=320M disk=meta=64M disk=data=64M disk=target=64M tools=dmsetup,mke2fs,e2fsck,fsck,fsck.ext4,blkid,mount,umount,systemctl,udevadm,journalctl,systemd-tmpfiles files=/usr/lib/systemd,/usr/lib/udev/rules.d,scripts/systemd,scripts/udev modules=dm-snapshot,dm-era builder=initramfs-tools timeout=600 mem=640M
#
# A system that systemd and udev bring up, with the units that blkrep installs: the stack is there before its file system is mounted from
# /etc/fstab and goes when that is unmounted, so that tracking goes on over a boot in order and over a power cut; with blkrep=off, and without the
# helper, the same fstab mounts the plain device, and that is named (lib/systemd.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/systemd.sh
. /vm/lib/systemd.sh

# shellcheck disable=SC2034 # for lib/systemd.sh
tracker=era
helper=/usr/libexec/blkrep/blkrep-dm-helper
write_data() { vm_pattern $((1 << 20)) "$1" >"/srv/data/$1" && sync || fail "boot $VM_BOOT: /srv/data can't be written"; }
acts() { grep -c "\"act\":\"$1\"" /var/lib/blkrep/audit.ndjson; }

case $VM_BOOT in
    0) systemd_make ;;
    1)
        system_is_up dm
        [[ -f /srv/data/zero ]] || fail "the file of before is gone"
        goes_on null
        write_data one
        acts stack-down >/var/lib/downs
        halt_system
        ;;
    2) # it went down in order
        system_is_up dm
        [[ $(acts stack-down) -eq $(($(</var/lib/downs) + 1)) ]] || fail "the stack was not taken down: $(tail -n 5 /var/lib/blkrep/audit.ndjson)"
        [[ $(acts tracking-lost) -eq 0 ]] || fail "tracking was lost: $(cat /var/lib/blkrep/audit.ndjson)"
        write_data two
        goes_on null
        write_data two-later
        next_boot
        ;;
    3) # the power was cut
        system_is_up dm
        [[ $(acts tracking-lost) -eq 0 ]] || fail "tracking was lost: $(cat /var/lib/blkrep/audit.ndjson)"
        goes_on null
        next_boot same "root=$(readlink -f /dev/vm/root)" blkrep=off
        ;;
    4)
        system_is_up plain
        audited switched-off-at-boot
        write_data four
        mv "$helper" "$helper.away" && sync
        next_boot same "root=$(readlink -f /dev/vm/root)"
        ;;
    5)
        system_is_up plain
        grep -q '"act":"passed-through".*"lost":"stack-not-built"' /var/lib/blkrep/audit.ndjson || fail "no audit line: $(cat /var/lib/blkrep/audit.ndjson)"
        write_data five
        mv "$helper.away" "$helper" && sync
        halt_system
        ;;
    6)
        system_is_up dm
        goes_on switched-off-at-boot # the first reason stays
        ;;
esac
