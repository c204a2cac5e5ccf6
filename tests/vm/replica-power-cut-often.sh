#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=8M disk=replica=8M disk=home=64M,sector=4096 tools=mke2fs,e2fsck timeout=1700 power-cut
#
# soak: 30 cuts take about ten minutes for each kernel
# timeout: 1800
#
# The same as replica-power-cut-device.sh, on both kernels, until the cuts have met every step of a sync, or as often as an argument says.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/replica_cut.sh
. /vm/lib/replica_cut.sh

cut_mount
replica=/dev/vm/replica
cut_main "${1:-30}"
