#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=64M disk=area=96M disk=home=128M disk=target=64M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era timeout=400
#
# A tracker over four boots, era on one kernel and cow on the other: it goes on after a power cut, and a mount of the plain device after one, or
# while the stack was down, metadata from an older copy and a cloned machine are named, are in the audit log, and the next run compares everything; a snapshot that was written past is gone
# (lib/continuity.sh). The continuity-of tests have the whole story.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/continuity.sh
. /vm/lib/continuity.sh

tracker=era fs=ext4
[[ $VM_KERNEL != 6.1 ]] || tracker=cow
continuity_short
