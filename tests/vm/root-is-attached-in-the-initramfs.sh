#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=root=192M disk=meta=64M disk=target=192M tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era builder=initramfs-tools timeout=300
#
# A root file system on a plain disk is attached at boot: the initramfs that mkinitramfs makes with blkrep's installed hook builds the stack before
# the root is mounted from it. Its changes are tracked, over a power cut too; with blkrep=off the same command line boots from the plain
# device, and that is named (lib/root.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/root.sh
. /vm/lib/root.sh

builder=initramfs-tools
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
