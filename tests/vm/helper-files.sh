#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.1,6.12 disk=a=32M disk=fs=96M disk=xfs=320M tools=dmsetup,mke2fs,mkfs.xfs,e2fsck,xfs_repair timeout=120
#
# A file as a store: what blkrep-dm-helper makes, maps and pins, what it refuses, and that raw writes below the filesystem are the file's
# bytes above it, after a remount too.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
M=$((1 << 20)) size=$((32 << 20))

mkdir "$T/ext4" "$T/xfs"
mke2fs -q -t ext4 /dev/vm/fs && mount -t ext4 /dev/vm/fs "$T/ext4" || fail "ext4"
mkfs.xfs -q -f /dev/vm/xfs && mount -t xfs /dev/vm/xfs "$T/xfs" || fail "xfs"
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
refused REFUSED file-make "db/$store" $M
refused REFUSED file-make "db/$T/tmpfs-store" $M
[[ ! -e $T/tmpfs-store ]] || fail "a refused file was left behind"
refused NO_SPACE file-make "db/$T/ext4/other" $((512 * M))
[[ ! -e $T/ext4/other ]] || fail "a file without room was left behind"

# ---- refused: holes, unwritten extents, names and owners that don't fit
other=$T/ext4/other
try() { refused REFUSED file-extents "db/$other" && rm -f "$other"; }
(umask 077 && truncate -s $M "$other") && try
[[ $text == *"hole"* ]] || fail "the hole is not named: $text"
(umask 077 && fallocate -l $M "$other") && sync -f "$other" && try
[[ $text == *"not written"* ]] || fail "the unwritten extent is not named: $text"
(umask 077 && dd if=/dev/urandom of="$other" bs=1000 count=1 conv=fsync status=none) && try
(umask 077 && dd if=/dev/urandom of="$other" bs=64k count=4 conv=fsync status=none)
chmod 644 "$other" && try
(umask 077 && dd if=/dev/urandom of="$other" bs=64k count=4 conv=fsync status=none)
ln "$other" "$T/ext4/second" && try
rm "$T/ext4/second"
ln -s "$store" "$other"
dmh file-extents "db/$other" 2>/dev/null && fail "a symbolic link was followed"
rm "$other"

# ---- a filesystem on the volume itself: frozen with it
mke2fs -q -t ext4 /dev/mapper/db && mkdir "$T/own" && mount -t ext4 /dev/mapper/db "$T/own" || fail "ext4 on top"
refused REFUSED file-make "db/$T/own/store" $M
[[ $text == *"stands on the volume"* ]] || fail "$text"
umount "$T/own"

# ---- mapped: raw bytes are the file's bytes
for file in "$store" "$T/xfs/store"; do
    part=cow.$(basename "$(dirname "$file")" | tr -dc a-z0-9)
    out=$(dmh file-map "db/$file" "$part") || fail "mapping $file"
    want "$out" "size=$((8 * M))" inactive=0
    vm_pattern $((8 * M)) "$part" | dd of="/dev/mapper/db-$part" bs=1M iflag=fullblock oflag=direct status=none
    (echo x >>"$file") 2>/dev/null && fail "a pinned file can be written"
    rm -f "$file" 2>/dev/null
    [[ -e $file ]] || fail "a pinned file can be removed"
    refused BUSY file-release "db/$file"
    # grown while it is in use
    ok file-make "db/$file" $((16 * M))
    (echo x >>"$file") 2>/dev/null && fail "a file that grew is not pinned any more"
    want "$(dmh file-map "db/$file" "$part")" "size=$((16 * M))" inactive=1
    ok window "top=db/$part,noflush"
    want "$(dmsetup info -c --noheadings -o name,blkdevs_used "db-$part"; dmsetup table "db-$part" | head -n 1)" linear
    [[ $(cat "/sys/class/block/$(basename "$(readlink -f "/dev/mapper/db-$part")")/size") -eq $((16 << 11)) ]] ||
        fail "the mapped device did not grow"
done

# ---- a snapshot with its store in a file, and the source's own filesystem above it
load_snapshot db s1 "$size" cow.ext4
ok window top=db/top,freeze inside=db/s1,fresh
before=$(sha256sum </dev/mapper/db-s1)
dd if=/dev/urandom of=/dev/mapper/db bs=1M count=4 seek=8 oflag=direct status=none
[[ $(sha256sum </dev/mapper/db-s1) == "$before" ]] || fail "the view is not frozen"
ok snapshot-remove top=db/top part=db/s1

# ---- released: the filesystem knows what was written, and is clean
vm_pattern $((8 * M)) "again" | dd of=/dev/mapper/db-cow.ext4 bs=1M iflag=fullblock oflag=direct status=none
ok remove db/cow.ext4 -- remove db/cow.xfs
umount "$T/ext4" "$T/xfs"
mount -t ext4 /dev/vm/fs "$T/ext4" && mount -t xfs /dev/vm/xfs "$T/xfs" || fail "mounting again"
cmp -n $((8 * M)) "$store" <(vm_pattern $((8 * M)) again) || fail "ext4 does not see what was written below it"
cmp -n $((8 * M)) "$T/xfs/store" <(vm_pattern $((8 * M)) cow.xfs) || fail "XFS does not see what was written below it"
ok file-release "db/$store" -- file-release "db/$T/xfs/store" remove
echo x >>"$store" || fail "a released file is still pinned"
[[ ! -e $T/xfs/store ]] || fail "the file was to be removed"
umount "$T/ext4" "$T/xfs"
e2fsck -fn /dev/vm/fs >/dev/null 2>&1 || fail "ext4 is not clean"
xfs_repair -n /dev/vm/xfs >/dev/null 2>&1 || fail "XFS is not clean"

# ---- data=journal: what lies in the journal could be replayed over the store
mount -t ext4 -o data=journal /dev/vm/fs "$T/ext4" || fail "data=journal"
rm -f "$store"
refused REFUSED file-make "db/$store" $M
[[ $text == *"data=journal"* ]] || fail "$text"
umount "$T/ext4"
ok remove db/top -- remove db/real
