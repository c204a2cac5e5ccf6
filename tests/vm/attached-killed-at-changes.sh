#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=8M disk=area=32M disk=home=64M disk=target=8M tools=dmsetup,mke2fs,timeout modules=dm-snapshot,dm-era,loop cpus=1 timeout=300
#
# Is the source unharmed, and cleans the second run up, when blkrep and its helper are killed at a change that attach, sync, snapshot create and remove,
# and detach make? Some changes, with tracker cow on one kernel and era on the other; all of them are the business of attached-killed-at-every-change.sh. lib/attached_kill.sh says what is checked.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_kill.sh
. /vm/lib/attached_kill.sh

case $(uname -r) in
6.1.*) attached_kill_main 10 cow all ;;
*) attached_kill_main 10 era all ;;
esac
