#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2010,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=64M disk=cow=32M disk=meta=8M disk=other=16M tools=dmsetup,mke2fs,e2fsck timeout=240
#
# Every request of blkrep-dm-helper that is about device-mapper, on a real kernel, and what it refuses.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
M=$((1 << 20)) size=$((64 << 20))

want "$(dmh hello)" version=1 root=1 udev=0
refused NOT_FOUND info db/top
refused USAGE register ../db "$(uuid_of 1)" /dev/vm/a
refused USAGE register db not-a-uuid /dev/vm/a
ok register db "$(uuid_of 1)" /dev/vm/a device:/dev/vm/cow device:/dev/vm/meta

# create, info, table, list
ok create db/real "linear,$((16 * M)),@device" "linear,$((48 * M)),/dev/vm/a,offset=$((16 * M))"
want "$(dmh info db/real)" name=db-real uuid=BLKREP-0f2c0000000040008000000000000001-real suspended=0 live=1 inactive=0 open=0
dev=$(cat "/sys/class/block/$(basename "$(readlink -f /dev/vm/a)")/dev")
want "$(dmh table db/real)" "kind=linear" "device=$dev" "offset=$((16 * M))" "length=$((48 * M))"
ok zero-head db//dev/vm/meta
ok create db/era "era,$size,real,/dev/vm/meta,grain=$M"
ok create db/top "snapshot-origin,$size,era"
[[ -b /dev/mapper/db && -b /dev/mapper/db-real ]] || fail "no nodes below /dev/mapper"
want "$(dmh list db)" name=db name=db-real name=db-era part=top part=real volume=db
refused BUSY create db/top "error,$size"
refused BUSY unregister db
refused BUSY register db "$(uuid_of 2)" /dev/vm/a
ok register db "$(uuid_of 1)" /dev/vm/a device:/dev/vm/cow device:/dev/vm/meta

# messages and status
want "$(dmh status db/era)" kind=era parsed=1 era=1 snap=0
ok message db/era checkpoint
want "$(dmh status db/era)" era=2
refused NOT_FOUND message db/era drop
ok message db/era take
want "$(dmh status db/era)" snap=1
refused BUSY message db/era take
ok message db/era drop
refused USAGE message db/top checkpoint
dmsetup suspend db-era
refused BUSY message db/era checkpoint
ok resume db/era
[[ $(state db-era) == Active ]] || fail "resume left the era $(state db-era)"

# load, clear, copy; a device in use changes its table in a window only
ok load db/top "linear,$size,era"
want "$(dmh info db/top)" inactive=1
want "$(dmh table db/top inactive)" kind=linear
exec 5</dev/mapper/db
refused BUSY resume db/top
exec 5<&-
ok clear db/top
want "$(dmh info db/top)" inactive=0
ok create db/copy

# a store that somebody holds for himself is waited for, a moment
mkdir -p /run/held
mke2fs -q -F -t ext2 /dev/vm/cow 4M || fail "mke2fs"
mount -t ext2 /dev/vm/cow /run/held || fail "a mount"
refused BUSY load db/copy "snapshot,$size,real,/dev/vm/cow,grain=8192,persistent"
(sleep 0.7 && umount /run/held) &
ok load db/copy "snapshot,$size,real,/dev/vm/cow,grain=8192,persistent"
wait $! || fail "umount"
ok clear db/copy
ok copy-table db/real copy -- resume db/copy
want "$(dmh table db/copy)" kind=linear "offset=$((16 * M))"

# remove: open, deferred, patient, gone
exec 5</dev/mapper/db-copy
refused BUSY remove db/copy
refused BUSY remove db/copy retry=200
want "$(dmh remove db/copy deferred)" deferred=1
exec 5<&-
sleep 0.2
refused NOT_FOUND remove db/copy
ok create db/copy "zero,$M"
(exec 5</dev/mapper/db-copy && sleep 1) &
sleep 0.2
want "$(dmh remove db/copy retry=5000)" deferred=0
ok create db/failing "error,$M" -- remove db/failing
refused BUSY remove db/real
[[ ! -e /dev/mapper/db-copy ]] || fail "a removed device left its node"

# failed creations leave nothing
refused NOT_FOUND create db/broken "linear,$M,nowhere"
refused IO create db/broken "linear,$((128 * M)),@device"
want "$(dmsetup info -c --noheadings -o name | sort | tr '\n' ' ')" db db-era db-real
refused USAGE create db/broken "linear,1000,@device"
refused USAGE create db/broken "snapshot,$size,real,/dev/vm/cow,grain=5000,persistent"

# a snapshot's status: fresh, filling, full
load_snapshot db s1 "$size" /dev/vm/cow
want "$(dmh status db/s1 inactive)" kind=snapshot state=1 used=16384 metadata=16384
refused TARGET_IN_USE zero-head db//dev/vm/cow
ok remove db/s1

# what no registration names is not touched
refused PERMISSION open db//dev/vm/other
refused PERMISSION create db/x "linear,$M,/dev/vm/other"
refused PERMISSION zero-head db//dev/vm/other
refused REFUSED zero-head db/real
refused REFUSED zero-head db/top
refused USAGE zero-head db/@device
refused REFUSED create db/x "snapshot,$size,era,real,grain=8192,persistent"
dmsetup create foreign --table "0 2048 zero"
refused USAGE info db/foreign/x
refused NOT_FOUND info db/foreign
refused NOT_FOUND remove db/foreign
want "$(dmh list)" name=db
[[ $(dmh list) != *foreign* ]] || fail "the list shows a foreign device"
dmsetup remove foreign

# open: reading, exclusively for writing, replicas of the configuration
want "$(dmh open db/@device)" "size=$size" sector=512
want "$(dmh open db/top write direct)" "size=$size"
refused TARGET_IN_USE open db/@device write
printf '[replica r]\npath = /dev/vm/other\n[volume plain]\npath = /dev/vm/other\n' >"$T/blkrep.conf"
export BLKREP_CONFIG=$T/blkrep.conf
want "$(dmh open r/@device replica write)" "size=$((16 * M))"
want "$(dmh open plain/@device)" "size=$((16 * M))"
refused PERMISSION open plain//dev/vm/other
refused NOT_FOUND open q/@device replica

# the end: everything goes, in order
for part in top era real; do ok remove "db/$part"; done
want "$(dmh list db; echo none)" none
ok unregister db
refused NOT_FOUND volume db
[[ -z $(ls /dev/mapper | grep -v control) ]] || fail "left: $(ls /dev/mapper)"
