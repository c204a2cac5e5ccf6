#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=data=8M disk=logs=8M disk=area_data=32M disk=area_logs=96M disk=to_data=8M disk=to_logs=8M disk=told_data=1M disk=told_logs=1M disk=home=32M,sector=4096 tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot,dm-era timeout=3000 power-cut
# soak: 50 power cuts
# timeout: 6500
#
# Is every replica of an attached volume what one moment of its writes left, and the volume itself after the power was cut and the stack built
# again? lib/attached_cut.sh says what is checked. An argument is another number of cuts.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_cut.sh
. /vm/lib/attached_cut.sh

attached_cut_main "${1:-50}" own
