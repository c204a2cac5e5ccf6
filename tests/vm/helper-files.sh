#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=32M disk=fs=96M disk=xfs=320M disk=spare=4M tools=dmsetup,mke2fs,mkfs.xfs,e2fsck,xfs_repair cpus=1 timeout=240
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A file as a store: what blkrep-dm-helper makes and maps, and what it refuses.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
M=$((1 << 20)) size=$((32 << 20))

mkdir "$T/ext4" "$T/xfs"
{ mke2fs -q -t ext4 /dev/vm/fs && mount -t ext4 /dev/vm/fs "$T/ext4"; } || fail "ext4"
{ mkfs.xfs -q -f /dev/vm/xfs && mount -t xfs /dev/vm/xfs "$T/xfs"; } || fail "xfs"
store=$T/ext4/store
places=("file:$store" "file:$T/xfs/store" "file:$T/tmpfs-store" "file:$T/ext4/other" "file:$T/own/store")
register() { ok register db "$(uuid_of 1)" /dev/vm/a "${places[@]}"; }
register
ok create db/real "linear,$size,@device" -- create db/top "snapshot-origin,$size,real"

# ---- made: allocated, written, durable, and only where the registration says
ok file-make "db/$store" $((8 * M)) -- file-make "db/$T/xfs/store" $((8 * M))
[[ $(stat -c '%s %a' "$store") == "$((8 * M)) 600" ]] || fail "the file is $(stat -c '%s %a' "$store")"
refused PERMISSION file-make "db/$T/ext4/elsewhere" $M
refused USAGE file-make "db/$store" 1000
ok file-make "db/$store" $M # what grew, and was not noted before a crash, stays
[[ $(stat -c %s "$store") -eq $((8 * M)) ]] || fail "the store shrank"
refused REFUSED file-make "db/$T/tmpfs-store" $M
[[ ! -e $T/tmpfs-store ]] || fail "a refused file was left behind"
refused NO_SPACE file-make "db/$T/ext4/other" $((512 * M))
[[ ! -e $T/ext4/other ]] || fail "a file without room was left behind"

# ---- refused: holes, names and owners that don't fit
other=$T/ext4/other
try() { refused REFUSED file-map "db/$other" x && rm -f "$other"; }
(umask 077 && truncate -s $M "$other") && try
[[ $text == *hole* ]] || fail "the hole is not named: $text"
(umask 077 && fallocate -l $M "$other" && truncate -s $((2 * M)) "$other") && try
[[ $text == *hole* ]] || fail "the hole at the end is not named: $text"
(umask 077 && dd if=/dev/urandom of="$other" bs=1000 count=1 conv=fsync status=none) && try
(umask 077 && dd if=/dev/urandom of="$other" bs=64k count=4 conv=fsync status=none)
chmod 644 "$other" && try
(umask 077 && dd if=/dev/urandom of="$other" bs=64k count=4 conv=fsync status=none)
ln "$other" "$T/ext4/second" && try
rm "$T/ext4/second"
ln -s "$store" "$other"
dmh file-map "db/$other" x 2>/dev/null && fail "a symbolic link was followed"
rm "$other"
refused NOT_FOUND info db/x

# ---- a filesystem on the volume itself: frozen with it
mke2fs -q -t ext4 /dev/mapper/db && mkdir "$T/own" && mount -t ext4 /dev/mapper/db "$T/own" || fail "ext4 on top"
refused REFUSED file-make "db/$T/own/store" $M
[[ $text == *"stands on the volume"* ]] || fail "$text"
umount "$T/own"

# ---- mapped, through a loop device that goes with its part; grown while it is in use
for file in "$store" "$T/xfs/store"; do
    part=cow.$(basename "$(dirname "$file")")
    out=$(dmh file-map "db/$file" "$part") || fail "mapping $file"
    want "$out" "size=$((8 * M))" inactive=0
    vm_pattern $((8 * M)) "$part" | dd of="/dev/mapper/db-$part" bs=1M iflag=fullblock oflag=direct conv=fsync status=none
    cmp "$file" <(vm_pattern $((8 * M)) "$part") || fail "the file does not hold what was written"
    refused BUSY file-release "db/$file"
    refused BUSY file-map "db/$file" real
    ok file-make "db/$file" $((16 * M))
    want "$(dmh file-map "db/$file" "$part")" "size=$((16 * M))" inactive=1
    ok window "top=db/$part,noflush"
    want "$(dmh open "db/$part")" "size=$((16 * M))"
done

# ---- a snapshot with its store in a file, and the source's own filesystem above it
load_snapshot db s1 "$size" cow.ext4
ok window top=db/top,freeze inside=db/s1,fresh
before=$(sha256sum </dev/mapper/db-s1)
dd if=/dev/urandom of=/dev/mapper/db bs=1M count=4 seek=8 oflag=direct status=none
[[ $(sha256sum </dev/mapper/db-s1) == "$before" ]] || fail "the view is not frozen"
ok snapshot-remove top=db/top part=db/s1

# ---- a window that suspends what its own store lies on would wait for itself
ok register on "$(uuid_of 2)" /dev/mapper/db-cow.ext4
mke2fs -q -t ext4 /dev/mapper/db && mount -t ext4 /dev/mapper/db "$T/own" || fail "ext4 on top"
ok register far "$(uuid_of 3)" /dev/vm/spare "file:$T/own/far"
ok create far/real "linear,$((4 * M)),@device" -- create far/top "snapshot-origin,$((4 * M)),real"
ok file-make "far/$T/own/far" $((4 * M)) -- file-map "far/$T/own/far" cow -- zero-head far/cow
ok create far/s1 "snapshot,$((4 * M)),real,cow,grain=8192,persistent" inactive
refused REFUSED window top=db/top,freeze top=far/top,freeze inside=far/s1,fresh
[[ $(state db)$(state far) == ActiveActive ]] || fail "something is suspended"
ok window top=far/top,freeze inside=far/s1,fresh -- window top=db/top,freeze
ok snapshot-remove top=far/top part=far/s1 -- remove far/cow -- remove far/top -- remove far/real
umount "$T/own"

# ---- released: no loop device stays
ok remove db/cow.ext4 -- remove db/cow.xfs
sleep 0.5
[[ -z $(cat /sys/block/loop*/loop/backing_file 2>/dev/null) ]] || fail "left: $(cat /sys/block/loop*/loop/backing_file)"
cmp -n $((4 * M)) "$T/xfs/store" <(vm_pattern $((8 * M)) cow.xfs) || fail "the file lost what was written"
ok file-release "db/$store" -- file-release "db/$T/xfs/store" remove
[[ -e $store && ! -e $T/xfs/store ]] || fail "one of the files was to be removed"
umount "$T/ext4" "$T/xfs"
e2fsck -fn /dev/vm/fs >/dev/null 2>&1 || fail "ext4 is not clean"
xfs_repair -n /dev/vm/xfs >/dev/null 2>&1 || fail "XFS is not clean"
ok remove db/top -- remove db/real
