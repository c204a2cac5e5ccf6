#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=pv=112M disk=home=32M disk=to_alpha=8M disk=to_gamma=8M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs modules=dm-snapshot,dm-thin-pool timeout=400
#
# blkrep and its helper are killed at some of the changes that a snapshot of two volumes makes, whose snapshots are LVM's: lib/group_kill.sh
# says what must hold. LVM removes all that was left.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/group_kill.sh
. /vm/lib/group_kill.sh

names="alpha gamma"
declare -A device=([alpha]=/dev/data/thin [gamma]=/dev/data/linear)

ours() { lvm lvs --noheadings -o lv_name data | grep -o 'blkrep-[^ ]*' | sort; }

home_mount
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n linear -L 8M data || fail "linear volume"
lvm lvcreate -q -y -n pool --type thin-pool -L 48M -c 64k data && lvm lvcreate -q -y -n thin -V 8M --thinpool data/pool || fail "thin volume"
for name in $names; do
    run blkrep attach "$name" "${device[$name]}"
    run blkrep sync "$name" "/dev/vm/to_$name" --overwrite --yes
done
[[ $(ours | wc -l) -eq 2 ]] || fail "not two marks: $(ours)"
group_kill_main 4 5
for name in $names; do synced_then_detached "$name" "${device[$name]}" "/dev/vm/to_$name"; done
[[ -z $(ours) ]] || fail "left behind: $(lvm lvs data)"
