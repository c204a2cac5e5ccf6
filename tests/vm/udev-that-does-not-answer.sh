#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2010,SC2143
# vm: kernels=6.1 disk=source=16M disk=area=64M disk=home=32M disk=target=16M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era timeout=240
#
# udevd is gone and has left its socket, as after a crash or a boot that went wrong: nobody tells device-mapper that a node was made. What waits for
# it waits for seconds and once, then makes the nodes by itself; a boot's time for blkrep-attach.service is longer. One kernel is enough.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

# within SECONDS COMMAND... - it must succeed, and end in time
within() {
    local limit=$1 t0=$SECONDS
    shift
    run "$@"
    echo "$*: $((SECONDS - t0)) s"
    [[ $((SECONDS - t0)) -le $limit ]] || fail "$*: $((SECONDS - t0)) s"
}

home_mount
mkdir -p /run/udev && : >/run/udev/control
unset DM_DISABLE_UDEV
within 40 blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
[[ -b /dev/mapper/data ]] || fail "no node"
stamp /dev/mapper/data 1 20 65536 || fail "stamp"
within 60 blkrep sync data /dev/vm/target --overwrite --yes
same "the replica" /dev/vm/source /dev/vm/target
within 40 blkrep detach data
nothing_left
[[ -z $(ls /dev/mapper | grep -v control) ]] || fail "left behind: $(ls -l /dev/mapper)"
[[ -z $(dmsetup udevcookies | grep 0x) ]] || fail "left behind: $(dmsetup udevcookies)"
