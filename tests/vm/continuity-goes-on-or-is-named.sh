#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=64M disk=area=96M disk=home=64M disk=target=64M tools=dmsetup,mke2fs,jq modules=dm-snapshot,dm-era timeout=300
#
# Tracker era over three boots: it goes on after a power cut, and a mount of the plain device after one, or while the stack was down, is named,
# is in the audit log, and the next run compares everything (lib/continuity.sh). The continuity-of tests have the whole story.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/continuity.sh
. /vm/lib/continuity.sh

tracker=era fs=ext4
continuity_short
