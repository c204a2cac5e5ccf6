#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: seven boots through a real initramfs
# timeout: 1900
# vm: kernels=all disk=root=192M disk=meta=64M disk=target=192M tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era builder=dracut timeout=900
#
# The whole way of a root file system into a stack that dracut' initramfs builds, through broken metadata and a missing helper, which no boot
# minds and the next run knows, and out again with nothing left (lib/root.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/root.sh
. /vm/lib/root.sh

builder=dracut
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
        write_some three
        dd if=/dev/urandom of=/dev/vm/meta bs=64k count=16 conv=fsync status=none || fail "dd"
        next_boot same root=/dev/mapper/root
        ;;
    4) # the metadata are no metadata
        root_is dm
        run blkrep attach --all
        write_some four
        sync_says switched-off-at-boot
        sync_says null
        mount -o remount,ro / || fail "remount"
        next_boot "$builder" root without=/usr/libexec/blkrep/blkrep-dm-helper root=/dev/mapper/root
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
