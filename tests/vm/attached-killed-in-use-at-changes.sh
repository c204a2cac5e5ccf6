#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=8M disk=area=32M disk=home=64M disk=target=8M tools=dmsetup,mke2fs,timeout modules=dm-snapshot,dm-era,loop cpus=1 timeout=300
#
# As attached-killed-at-changes.sh, with a device of device-mapper that somebody has open: the stack is slipped under it by attach, and its own
# table comes back with detach, whichever change of the two blkrep and its helper are killed at. Tracker era on one kernel, cow on the other.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_kill.sh
. /vm/lib/attached_kill.sh

# shellcheck disable=SC2034 # for lib/attached_kill.sh
in_use=1
case $(uname -r) in
6.1.*) attached_kill_main 4 era all "attach detach" ;;
*) attached_kill_main 4 cow all "attach detach" ;;
esac
