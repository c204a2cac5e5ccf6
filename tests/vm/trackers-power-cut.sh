#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.12 disk=source=8M disk=meta=1M disk=cow=16M tools=dmsetup modules=dm-era,dm-snapshot timeout=300 power-cut
#
# Is nothing missing from what dm-era and dm-snapshot tell after the power was cut under them? lib/trackers_cut.sh says what is checked.
# The other kernel, and more cuts, are the business of trackers-power-cut-often.sh.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/trackers_cut.sh
. /vm/lib/trackers_cut.sh

trackers_cut_main 5
