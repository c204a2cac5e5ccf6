#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A device that is too small, mounted, held, or holds something is refused with status 3 before its first byte is written.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_random "$T/a" 3M 1
t_mkfs_image "$T/disk" 8M
t_loop "$T/disk"
disk=$T_LOOP
before=$(sha256sum <"$disk")
refused() { # NAME WORDS ARGS...
    local name=$1 words=$2
    shift 2
    t_run blkrep sync --json "$@" "$disk"
    t_refused 3 "$name"
    t_stderr_has "$words"
    [[ $(sha256sum <"$disk") == "$before" ]] || t_fail "the device was written to"
}
refused TARGET_FOREIGN ext4 "$T/a"
# --overwrite names the loss and wants --yes where nobody can be asked; the disk is named by its size
refused REFUSED "8.00 MiB" --overwrite "$T/a"
t_stderr_has --yes
# too small, whatever overrides are given
t_random "$T/big" 9M 2
refused TARGET_SMALL "8.00 MiB" --overwrite --yes "$T/big"
# mounted, read-only or not
mkdir "$T/mnt"
t_mount "$disk" "$T/mnt" ro,noload
refused TARGET_IN_USE "$T/mnt" --overwrite --yes "$T/a"
umount "$T/mnt"
# open for writing elsewhere
exec 7<>"$disk"
t_background writer sleep 60
refused TARGET_IN_USE "open for writing" --overwrite --yes "$T/a"
exec 7>&-
t_end "$T_PID"
# held: a loop device over a loop device, and the file under it named as target
t_loop "$disk"
t_run blkrep sync --json --overwrite --yes "$T/a" "$disk"
[[ $T_STATUS -eq 3 ]] || t_fail "a device under a loop device was taken"
[[ $(sha256sum <"$disk") == "$before" ]] || t_fail "the device was written to"
t_unloop "$T_LOOP"
t_run blkrep sync --json --overwrite --yes "$T/a" "$T/disk"
t_refused 3 TARGET_IN_USE
t_stderr_has loop
[[ $(sha256sum <"$disk") == "$before" ]] || t_fail "the device was written to"
# named and confirmed, it becomes a replica; behind the source's end it is left alone
t_ok blkrep sync --overwrite --yes "$T/a" "$disk"
cmp -n 3145728 "$T/a" "$disk" || t_fail "the replica differs"
t_ok blkrep verify "$disk"
