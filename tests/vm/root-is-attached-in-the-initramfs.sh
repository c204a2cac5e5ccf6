#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=root=192M disk=meta=64M disk=target=192M tools=dmsetup,mke2fs,e2fsck,sfdisk modules=dm-snapshot,dm-era builder=initramfs-tools timeout=300
#
# A root file system on a partition is attached at boot: the initramfs that mkinitramfs makes with blkrep's installed hook builds the stack before
# the root is mounted from it. Its changes are tracked, over a power cut too; with blkrep=off the same command line boots from the plain
# partition, and that is named (lib/root.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/root.sh
. /vm/lib/root.sh

# shellcheck disable=SC2034 # for lib/root.sh
builder=initramfs-tools
root_in_and_off
