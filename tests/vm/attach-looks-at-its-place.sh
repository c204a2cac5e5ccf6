#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=32M disk=area=64M disk=home=64M tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era timeout=200
#
# A device that is given for snapshots and metadata is looked at first: one that holds a file system, or is mounted, is refused and not touched; one
# that holds an older store of blkrep's own is taken.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
mke2fs -q -F -t ext4 -L precious /dev/vm/area || fail "mke2fs"
keep_image /dev/vm/area "$T/area"
for tracker in era cow; do
    for at_boot in "" --at-boot; do
        run_is 3 blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area $at_boot
        says precious
        says "wipefs --all"
        keep_image /dev/vm/area "$T/now"
        cmp "$T/area" "$T/now" || fail "the place was touched"
        nothing_left
    done
done
dd if=/dev/zero of=/dev/vm/area bs=64k count=1 conv=fsync status=none || fail "dd"
for tracker in cow era cow; do
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    run blkrep snapshot create data --name one
    run blkrep snapshot remove data@one
    run blkrep detach data
    nothing_left
done
