#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: hundreds of kills, each with a second run, take long on an emulated processor; not yet seen to pass whole
# timeout: 5600
# vm: kernels=all disk=source=8M disk=area=32M disk=home=64M disk=target=8M tools=dmsetup,mke2fs,timeout modules=dm-snapshot,dm-era,loop cpus=1 timeout=2700
#
# The same as attached-killed-at-changes.sh, at every change. Arguments are the trackers, who is killed and the verbs, "cow era" "all blkrep" "attach sync" ...
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_kill.sh
. /vm/lib/attached_kill.sh

attached_kill_main 1 "${1:-cow era}" "${2:-all blkrep}" "${3:-}"
