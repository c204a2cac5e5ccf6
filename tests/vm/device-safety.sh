#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.1 disk=source=8M disk=small=4M disk=target=8M disk=large=12M disk=fs=16M disk=ro=8M,ro disk=home=96M tools=dmsetup,mke2fs,losetup,mkfs.xfs cpus=1 timeout=240
#
# What `blkrep sync` refuses to write to, on real devices (G8), and that a refusal changes nothing: a mounted device,
# one below a mounted or held one, one too small, one that is read-only, one that holds a file system, the source itself
# under another name. And what it accepts: a larger device, and one whose content --overwrite gives up.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

# The page cache of a disk does not see what is written through a table above it: read past it.
hash_of() { dd if="$1" bs=1M iflag=direct status=none | sha256sum; }

# refused WHY STATUS TARGET... - sync must fail with that exit status, say WHY, and leave the disk as it was
refused() {
    local why=$1 status=$2 target=$3 before text
    shift 3
    before=$(hash_of "$target")
    text=$(blkrep sync /dev/vm/source "$target" "$@" 2>&1)
    [[ $? -eq $status ]] || fail "$target ($why): the exit status is not $status: $text"
    grep -qiE "$why" <<<"$text" || fail "$target: the message does not say '$why': $text"
    [[ $(hash_of "$target") == "$before" ]] || fail "$target was written although it was refused ($why)"
    echo "refused: $text"
}

equal() { cmp -n $((8 << 20)) /dev/vm/source "$1" || fail "$1 is not the source"; }

mke2fs -q -t ext4 /dev/vm/home || fail "mke2fs"
mount -t ext4 /dev/vm/home /mnt || fail "mount"
export BLKREP_STATE=/mnt/state
vm_pattern $((8 << 20)) source | dd of=/dev/vm/source bs=1M iflag=fullblock conv=fsync status=none

refused small 3 /dev/vm/small
refused 'read-only' 3 /dev/vm/ro

mke2fs -q -t ext4 /dev/vm/fs || fail "mke2fs"
refused ext4 3 /dev/vm/fs
mkdir "$T/fs"
mount -t ext4 /dev/vm/fs "$T/fs" || fail "mount"
refused mounted 3 /dev/vm/fs
refused mounted 3 /dev/vm/fs --overwrite --yes
umount "$T/fs"

dmsetup create top --table "0 16384 linear /dev/vm/target 0" || fail "dmsetup create"
refused 'held|holds|in use|used by' 3 /dev/vm/target
refused 'held|holds|in use|used by' 3 /dev/vm/target --overwrite --yes
dmsetup remove top

dmsetup create alias --table "0 16384 linear /dev/vm/source 0" || fail "dmsetup create"
refused 'same|source' 3 /dev/mapper/alias --overwrite --yes
dmsetup remove alias
loop=$(losetup -f)
losetup "$loop" /dev/vm/source || fail "losetup"
refused 'same|source' 3 "$loop" --overwrite --yes
losetup -d "$loop"
refused 'same|source' 3 /dev/vm/source

losetup "$loop" /dev/vm/target || fail "losetup"
refused 'held by loop' 3 /dev/vm/target --overwrite --yes
losetup -d "$loop"

blkrep sync /dev/vm/source /dev/vm/target || fail "sync to a device of the same size: status $?"
equal /dev/vm/target
blkrep sync /dev/vm/source /dev/vm/large || fail "sync to a larger device: status $?"
equal /dev/vm/large
blkrep sync /dev/vm/source /dev/vm/fs --overwrite --yes || fail "sync with --overwrite: status $?"
equal /dev/vm/fs
