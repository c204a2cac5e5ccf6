#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=8M disk=meta=1M disk=cow=16M tools=dmsetup modules=dm-era,dm-snapshot timeout=1700 power-cut
#
# soak: 50 cuts take about ten minutes for each kernel
# timeout: 1800
#
# The same as trackers-power-cut.sh, on both kernels, fifty times, or as often as an argument says.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/trackers_cut.sh
. /vm/lib/trackers_cut.sh

trackers_cut_main "${1:-50}"
