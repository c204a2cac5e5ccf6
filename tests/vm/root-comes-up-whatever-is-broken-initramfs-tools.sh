#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: seven boots through a real initramfs
# timeout: 1900
# vm: kernels=all disk=root=192M disk=meta=64M disk=target=192M tools=dmsetup,mke2fs,e2fsck,sfdisk modules=dm-snapshot,dm-era builder=initramfs-tools cpus=1 timeout=1500
#
# The whole way of a root file system into a stack that initramfs-tools's initramfs builds, through broken metadata and a missing helper, which no boot
# minds and the next run knows, and out again with nothing left (lib/root.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/root.sh
. /vm/lib/root.sh

# shellcheck disable=SC2034 # for lib/root.sh
builder=initramfs-tools
root_comes_up_whatever_is_broken
