#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=pv=112M disk=lvm=8M,steady disk=to_data=8M disk=to_logs=8M disk=told_data=1M disk=told_logs=1M disk=home=32M,sector=4096 tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs,e2fsck modules=dm-snapshot,dm-thin-pool timeout=400 power-cut
#
# Is every replica of a logical volume whose snapshots are LVM's what one moment of its writes left, and the volume itself after the power was cut
# and LVM activated the group again? lib/attached_cut.sh says what is checked.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_cut.sh
. /vm/lib/attached_cut.sh

attached_cut_main 3 lvm
