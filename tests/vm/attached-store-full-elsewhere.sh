#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=32M disk=area=12M disk=home=64M disk=target=32M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era timeout=300
#
# As attached-store-full.sh, with tracker era, whose marks need no store: a view that overflows costs that run only; and with an area that is a
# file, which grows to its bound and no further.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_full.sh
. /vm/lib/attached_full.sh

echo "== a place where something lies is refused, and stays as it was"
mke2fs -q -F -t ext4 -L precious /dev/vm/area || fail "mke2fs"
keep_image /dev/vm/area "$T/area"
run_is 3 blkrep attach data /dev/vm/source --cow /dev/vm/area
says "ext4"
cmp "$T/area" /dev/vm/area || fail "a refused attach wrote to the device"
mkdir "$T/mounted"
mount -t ext4 /dev/vm/area "$T/mounted" || fail "mount"
run_is 3 blkrep attach data /dev/vm/source --cow /dev/vm/area
umount "$T/mounted"
dd if=/dev/zero of=/dev/vm/area bs=64k count=2 oflag=direct status=none
(umask 077 && echo secret >/mnt/secret)
run_is 3 blkrep attach data /dev/vm/source --cow /mnt/secret
[[ $(cat /mnt/secret) == secret ]] || fail "a refused attach wrote to the file"
run_is 3 blkrep attach data /dev/vm/source --tracker era --cow /mnt/area --cow-size 1M
says "which is the least"
[[ ! -e /mnt/area ]] || fail "a refused attach left its file"
run_is 6 blkrep attach data /dev/vm/source --tracker era --cow /mnt/area --cow-size 60M # of a file system of 64 MiB
[[ ! -e /mnt/area ]] || fail "an attach without room left its file"
nothing_left

echo "== era: the view is refused, the tracking goes on"
run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
run blkrep sync data /dev/vm/target --overwrite --yes
overwrite 16 4 "era"
sync_in_time 6 15 0
says "larger area"
run blkrep sync data /dev/vm/target --recheck 64K
is fallback_reason null
equal "era, after a view that overflowed"
run blkrep detach data
nothing_left

echo "== an area that is a file grows to its bound, and not further"
run blkrep attach data /dev/vm/source --tracker cow --cow /mnt/area --cow-size 4M --cow-max 10M
run blkrep sync data /dev/vm/target --recheck 64K
overwrite 16 2 "file"
sync_in_time 0 5 0.7
replica_is "$T/view" "overtaken, in a file"
[[ $(stat -c %s /mnt/area) -le $((10 << 20)) && $(stat -c %s /mnt/area) -gt $((4 << 20)) ]] || fail "the area has $(stat -c %s /mnt/area) bytes"
run blkrep sync data /dev/vm/target --recheck 64K
equal "in a file"
run blkrep detach data
nothing_left
[[ ! -e /mnt/area ]] || fail "the area's file is left"
