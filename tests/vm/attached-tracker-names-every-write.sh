#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=16M,sector=512 disk=area=96M disk=home=32M disk=target=16M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era cpus=1 timeout=300
#
# What lib/names_writes.sh says, with the stacks of blkrep's own; discards are refused, for nobody would track them.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/names_writes.sh
. /vm/lib/names_writes.sh

home_mount
for tracker in era cow; do
    run blkrep attach data /dev/vm/source --tracker $tracker --era-block 64K --cow /dev/vm/area
    ! blkdiscard /dev/mapper/data 2>/dev/null || fail "a discard went through: nobody tracks it"
    run blkrep sync data /dev/vm/target --overwrite --yes
    names_every_write data $tracker /dev/mapper/data /dev/vm/source
    run blkrep detach data
    nothing_left
    run blkrep forget --yes /dev/vm/target
done
