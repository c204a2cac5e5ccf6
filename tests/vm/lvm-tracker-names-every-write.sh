#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=160M disk=home=32M disk=target=16M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs modules=dm-snapshot,dm-thin-pool cpus=1 timeout=300
#
# What lib/names_writes.sh says, with snapshots of LVM's own: a thin volume, which takes discards, and a linear one.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/names_writes.sh
. /vm/lib/names_writes.sh

home_mount
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n linear -L 16M data || fail "linear volume"
lvm lvcreate -q -y -n pool --type thin-pool -L 64M -c 64k data && lvm lvcreate -q -y -n thin -V 16M --thinpool data/pool || fail "thin volume"
declare -A tracker_of=([thin]=thin [linear]=cow)
for name in thin linear; do
    vm_pattern $((16 << 20)) "$name" | dd of=/dev/data/$name bs=1M iflag=fullblock oflag=direct status=none || fail "writing $name"
    run blkrep attach $name /dev/data/$name
    run blkrep sync $name /dev/vm/target --overwrite --yes
    names_every_write $name "${tracker_of[$name]}" /dev/data/$name /dev/data/$name
    run blkrep detach $name
    [[ -z $(ls /mnt/state/volumes) ]] || fail "left behind: $(find /mnt/state/volumes)"
    run blkrep forget --yes /dev/vm/target
done
