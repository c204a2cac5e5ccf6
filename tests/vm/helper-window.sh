#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=48M disk=b=32M disk=cow=64M disk=bcow=32M disk=meta=8M tools=dmsetup,mke2fs,e2fsck,fio timeout=240
#
# The suspend window of blkrep-dm-helper: the frozen view is one moment of a filesystem under load, a group is all or nothing, whatever
# fails leaves every device ACTIVE, and removing snapshots goes through the same machinery.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
size=$((48 << 20)) bsize=$((32 << 20))

active() {
    local name
    for name in "$@"; do [[ $(state "$name") == Active ]] || fail "$name is '$(state "$name")'"; done
}

ok register db "$(uuid_of 1)" /dev/vm/a device:/dev/vm/cow device:/dev/vm/meta
ok create db/real "linear,$size,@device" -- zero-head db//dev/vm/meta \
    -- create db/era "era,$size,real,/dev/vm/meta,grain=1048576" -- create db/top "snapshot-origin,$size,era"
stack files 2 /dev/vm/b /dev/vm/bcow "$bsize"
mke2fs -q -t ext4 /dev/mapper/db && mkdir "$T/db" && mount -t ext4 /dev/mapper/db "$T/db" || fail "ext4"
mke2fs -q -t ext4 /dev/mapper/files || fail "ext4"
mkdir "$T/files" && mount /dev/mapper/files "$T/files" || fail "mounting files"

# snapshot NAME PART ORIGIN COW BYTES
snapshot() { ok zero-head "$1/$4" -- create "$1/$2" "snapshot,$5,$3,$4,grain=8192,persistent" inactive; }

# Each writer numbers its records; a view in which record N is there and N-1 is not was never true.
writer() {
    local n=0
    while [[ ! -e $T/stop ]]; do
        n=$((n + 1))
        echo "$n" >"$1/record.$((n % 64))"
        [[ $((n % 16)) -ne 0 ]] || sync -f "$1"
    done
}

# check_view DEVICE: while the source is written on, the view stays as it was copied to $T/view
check_view() {
    dd if="$1" of="$T/view" bs=1M iflag=direct status=none
    sleep 0.5
    cmp "$1" "$T/view" || fail "$1 is not frozen"
}

# ---- one volume under load, several times
writer "$T/db" &
fio --name=load --directory="$T/db" --rw=randwrite --bs=4k --iodepth=8 --ioengine=psync --size=8M --time_based --runtime=12 \
    --direct=1 >"$T/fio.log" 2>&1 &
fio=$!
for round in 1 2; do
    snapshot db "s$round" era /dev/vm/cow "$size"
    out=$(dmh window top=db/top,freeze,era=era "inside=db/s$round,fresh" sync=20000 good=1000 deadline=10000) || fail "window $round"
    echo "$out"
    want "$out" mounted=1 "era=$((round + 1))"
    active db "db-s$round"
    check_view "/dev/mapper/db-s$round"
    e2fsck -fy "$T/view" >"$T/fsck.log" 2>&1
    # 1: the log was replayed, and orphans that were open are gone; nothing that is called an error may be among it
    [[ $? -le 1 ]] || fail "the frozen view is not a filesystem: $(cat "$T/fsck.log")"
    ! grep -qE 'FILE SYSTEM WAS MODIFIED|differ|wrong|Illegal|corrupt' <(grep -v 'recovering journal\|WAS MODIFIED' "$T/fsck.log") ||
        fail "the frozen view is not clean after log replay: $(cat "$T/fsck.log")"
    out=$(dmh snapshot-remove top=db/top "part=db/s$round") || fail "removing s$round"
    active db
    [[ ! -e /dev/mapper/db-s$round ]] || fail "s$round is still there"
done
touch "$T/stop"
wait "$fio" || fail "fio: $(cat "$T/fio.log")"
wait
rm "$T/stop"

# ---- a group: both or none
snapshot db s1 era /dev/vm/cow "$size"
snapshot files s1 real /dev/vm/bcow "$bsize"
want "$(dmh window top=db/top,freeze top=files/top,freeze inside=db/s1,fresh inside=files/s1,fresh sync=20000 good=1000)" top=0 top=1
active db files db-s1 files-s1
ok snapshot-remove top=db/top part=db/s1 part=db/gone -- snapshot-remove top=files/top part=files/s1

# The second suspend fails: another freeze holds its filesystem already.
snapshot db s1 era /dev/vm/cow "$size"
snapshot files s1 real /dev/vm/bcow "$bsize"
dmh freeze files "$T/files" deadline=30000 -- sleep 6000 >"$T/freezer.log" &
freezer=$!
for ((i = 0; i < 200; i++)); do
    grep -q frozen "$T/freezer.log" && break
    sleep 0.05
done
group=(window "top=db/top,freeze" "top=files/top,freeze" inside=db/s1 inside=files/s1)
if [[ $VM_KERNEL == 6.1 ]]; then
    refused BUSY "${group[@]}"
    refused NOT_FOUND info db/s1
    refused NOT_FOUND info files/s1
else # a freeze within a freeze is allowed there
    ok "${group[@]}" -- snapshot-remove top=db/top part=db/s1 -- snapshot-remove top=files/top part=files/s1
fi
active db files
wait "$freezer" || fail "freeze"
touch "$T/files/probe" || fail "files stayed frozen"

# ---- what is inside fails: its snapshot can't be resumed, because another one took its store meanwhile
snapshot db s1 era /dev/vm/cow "$size"
refused TARGET_IN_USE zero-head db//dev/vm/cow
ok window top=db/top,freeze inside=db/s1,fresh
ok create db/s2 "snapshot,$size,era,/dev/vm/cow,grain=8192,persistent" inactive
refused BUSY window top=db/top,freeze inside=db/s2,fresh
want "$(dmh info db/s2)" inactive=1 live=0
refused IO window top=db/top,freeze inside=db/s2
active db db-s1
refused NOT_FOUND info db/s2
ok snapshot-remove top=db/top part=db/s1

# ---- a store with old exceptions in it is found before the window
snapshot db s1 era /dev/vm/cow "$size"
ok window top=db/top,freeze inside=db/s1,fresh
dd if=/dev/urandom of="$T/db/more" bs=64k count=16 conv=fsync status=none
ok snapshot-remove top=db/top part=db/s1
ok create db/s1 "snapshot,$size,era,/dev/vm/cow,grain=8192,persistent" inactive
refused VERIFY window top=db/top,freeze inside=db/s1,fresh
want "$(dmh info db/s1)" inactive=1 live=0
active db
ok remove db/s1

# ---- a snapshot in use: refused, unless by force; then its reader gets errors and the source does not notice
snapshot db s1 era /dev/vm/cow "$size"
ok window top=db/top,freeze inside=db/s1,fresh
exec 5</dev/mapper/db-s1
refused BUSY snapshot-remove top=db/top part=db/s1 retry=200
want "$(dmh info db/s1)" live=1 inactive=0
want "$(dmh status db/s1)" kind=snapshot
ok snapshot-remove top=db/top part=db/s1 force
dd of=/dev/null bs=4k count=1 iflag=direct status=none <&5 2>/dev/null && fail "a snapshot that was taken away can still be read"
exec 5<&-
sleep 0.3
refused NOT_FOUND info db/s1

# ---- full store: Invalid, the source lives, and the snapshot can be removed
ok create db/small "linear,$((1 << 20)),/dev/vm/cow" -- zero-head db/small
ok create db/s1 "snapshot,$size,era,small,grain=8192,persistent" inactive -- window top=db/top,freeze inside=db/s1,fresh
dd if=/dev/urandom of="$T/db/fill" bs=1M count=8 conv=fsync status=none || fail "a full store hurt the source"
want "$(dmh status db/s1)" state=2 failed=1
ok snapshot-remove top=db/top part=db/s1 -- remove db/small
active db

# ---- growing a store below a snapshot that is in use
ok create db/store "linear,$((4 << 20)),/dev/vm/cow" -- zero-head db/store
ok create db/s1 "snapshot,$size,era,store,grain=8192,persistent" inactive -- window top=db/top,freeze inside=db/s1,fresh
ok load db/store "linear,$((32 << 20)),/dev/vm/cow" -- window top=db/store,noflush
want "$(dmh status db/s1)" state=1 "total=$((32 << 20))"
dd if=/dev/urandom of="$T/db/fill" bs=1M count=8 conv=fsync status=none
want "$(dmh status db/s1)" state=1
check_view /dev/mapper/db-s1
ok snapshot-remove top=db/top part=db/s1 -- remove db/store

# ---- a new table for a device in use
ok load db/top "linear,$size,era" -- window top=db/top,freeze
want "$(dmh table db/top)" kind=linear
ok load db/top "snapshot-origin,$size,era" -- window top=db/top
want "$(dmh table db/top)" kind=snapshot-origin

# ---- nonsense
refused USAGE window deadline=100
refused USAGE window top=db/top deadline=0
refused USAGE window top=db/top top=db/top
refused USAGE window top=db/top inside=files/top
refused BUSY window top=db/top inside=db/era
refused REFUSED window top=db/era top=db/top
dmsetup suspend db
refused BUSY window top=db/top
dmsetup resume db

# ---- a device that goes away between two requests
umount "$T/files"
ok load files/top "snapshot-origin,$bsize,real"
dmsetup remove files
refused NOT_FOUND window top=db/top,freeze top=files/top,freeze
active db
umount "$T/db"
for part in db/top db/era db/real files/real; do ok remove "$part"; done
