#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A source that is mounted read-write is refused with status 3 and the mount is named; read-only is fine; --live-source marks it none.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_mkfs_image "$T/disk" 8M
t_loop "$T/disk"
t_mount "$T_LOOP" "$T/mnt"
for source in "$T_LOOP" "$T/disk"; do
    t_run blkrep sync --json "$source" "$T/b"
    t_refused 3 SOURCE_IN_USE
    t_stderr_has --live-source
    [[ ! -e $T/b ]] || t_fail "a refused run left a target"
done
t_run blkrep sync "$T_LOOP" "$T/b"
t_stderr_has "$T/mnt"
t_ok blkrep sync --json --live-source "$T_LOOP" "$T/b"
t_json_is consistency none
mount -o remount,ro "$T/mnt" || t_skip "it can't be remounted"
t_ok blkrep sync --json "$T_LOOP" "$T/b"
t_json_is consistency clean
# directly: what the page cache of a device shows of the file system's journal is not what lies on it
dd if="$T_LOOP" bs=1M iflag=direct status=none | cmp - "$T/b" || t_fail "the replica differs"
umount "$T/mnt"
