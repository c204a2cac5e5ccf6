#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.12 disk=source=8M disk=replica=8M disk=home=64M,sector=4096 tools=mke2fs,e2fsck timeout=400 power-cut
#
# Is a block device that was the target of `blkrep sync` when the power was cut, again and again, always the old version
# or the new one, or completed by finish? lib/replica_cut.sh says what is checked. The other kernel is
# the business of replica-power-cut-often.sh.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/replica_cut.sh
. /vm/lib/replica_cut.sh

cut_mount
replica=/dev/vm/replica
cut_main 5
