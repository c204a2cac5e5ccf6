#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=data=8M disk=logs=8M disk=area_data=24M disk=area_logs=24M disk=home=32M disk=to_data=8M disk=to_logs=8M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era timeout=400
#
# blkrep and its helper are killed at some of the changes that a snapshot of two volumes with stacks of blkrep's own makes, and at each of the last:
# lib/group_kill.sh says what must hold. One has tracker era, one has cow.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/group_kill.sh
. /vm/lib/group_kill.sh

names="data logs"
declare -A device

ours() { dmsetup ls | sort && find "$BLKREP_STATE/volumes" -name '*.new' && blkrep snapshot list | awk '{ print $1, $2, $3 }'; }

home_mount
for name in $names; do
    tracker=cow
    [[ $name != logs ]] || tracker=era
    device[$name]=/dev/mapper/$name
    run blkrep attach "$name" "/dev/vm/$name" --tracker $tracker --cow "/dev/vm/area_$name"
    run blkrep sync "$name" "/dev/vm/to_$name" --overwrite --yes
done
group_kill_main 3 9
for name in $names; do synced_then_detached "$name" "${device[$name]}" "/dev/vm/to_$name"; done
nothing_left
