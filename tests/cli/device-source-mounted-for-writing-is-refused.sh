#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A source that is mounted read-write is refused with status 3 and the mount is named, in another mount namespace too; read-only is fine;
# --live-source marks it none.
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

# mounted where only another process sees it
t_need unshare
mounted() { [[ -e $T/is-mounted ]]; }
# shellcheck disable=SC2016 # expanded there
t_background elsewhere unshare --mount --propagation private sh -c 'mount "$1" "$2" && : >"$3" && exec sleep 60' sh "$T_LOOP" "$T/mnt" \
    "$T/is-mounted"
holder=$T_PID
gone() { mounted || ! t_alive "$holder"; }
t_wait_for 10 gone
mounted || t_skip "no mount namespace can be made: $(cat "$T/elsewhere.err")"
! mountpoint -q "$T/mnt" || t_fail "it is mounted here too"
t_run blkrep sync --json "$T_LOOP" "$T/b"
t_refused 3 SOURCE_IN_USE
t_stderr_has "process $holder"
t_run blkrep sync --json --overwrite --yes "$T/b" "$T_LOOP"
t_status 3
t_end "$holder"
t_ok blkrep sync "$T_LOOP" "$T/b"

# where nothing tells what is mounted or stacked, nothing is taken for free
# shellcheck disable=SC2016 # expanded there
blind() { t_run unshare --mount --propagation private sh -c 'mount -t tmpfs none "$1" && shift && exec "$@"' sh "$@"; }
blind /proc "$BLKREP" sync "$T_LOOP" "$T/b"
t_status 1
t_stderr_has /proc
blind /proc "$BLKREP" sync "$T/b" "$T/new"
t_status 1
[[ ! -e $T/new ]] || t_fail "a refused run left a target"
blind /sys "$BLKREP" sync "$T_LOOP" "$T/b"
t_status 1
t_stderr_has /sys
blind /sys "$BLKREP" sync "$T/b" "$T/new"
t_status 0
