#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: seven boots, minutes on an emulated processor; continuity-goes-on-or-is-named.sh is its short form
# timeout: 1900
# vm: kernels=all disk=source=320M disk=area=96M disk=home=128M disk=target=320M disk=other=320M tools=dmsetup,mke2fs,mkfs.xfs modules=dm-snapshot,dm-era cpus=1 timeout=900
#
# Tracker cow under xfs over seven boots: it goes on where every write went through it, after a boot in order and after a power cut; each boot and
# each exchange that it can't answer for is named, is in the audit log, and the next run compares everything (lib/continuity.sh).
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/continuity.sh
. /vm/lib/continuity.sh

tracker=cow fs=xfs
continuity_main
