#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What libext2fs does not read right, root's files ls and get read through a mount by themselves: another file system, an ext4 with a journal to replay. No
# other process sees the mount, and nothing of it is left, whatever ends the command. Another user is told what to do; a file system that is
# broken is named.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/export.sh"

t_root
e_need nbdfuse sfdisk mkfs.xfs setpriv losetup flock
[[ -e /dev/fuse ]] || t_skip "no /dev/fuse here"
grep -qw xfs /proc/filesystems || t_skip "this kernel has no xfs"
repo=$T/repo f=$T/folder out=$T/out.d
mkdir -p "$f" "$out"
t_hole "$T/xfs.img" 400M
mkfs.xfs -q "$T/xfs.img"
t_loop "$T/xfs.img"
t_mount "$T_LOOP" "$T/live"
mkdir -p "$T/live/etc/deep" "$T/live/d"
echo hello >"$T/live/etc/fstab"
t_random "$T/live/big" 12M 1
t_hole "$T/live/etc/sparse" 5G
t_random_at "$T/live/etc/sparse" 4400000000 70000 2
ln -s ../../../../etc/fstab "$T/live/etc/deep/link"
ln -s loop "$T/live/loop"
ln "$T/live/etc/fstab" "$T/live/etc/deep/same"
printf odd >"$T/live/$(printf 'a\033[31m\nb')"
mkfifo "$T/live/pipe"
chown 1234:1234 "$T/live/etc/deep"
touch -d @1000000000.5 "$T/live/etc/fstab"
sync -f "$T/live"
(cd "$T/live" && find etc -printf '%y %m %U %G %n %TT %l %p\n' | sort) >"$T/was"
cp --sparse=always "$T/xfs.img" "$T/used.img" # as a power cut at this moment
cp --sparse=always "$T/live/etc/sparse" "$T/sparse"
cp "$T/live/big" "$T/big"
umount "$T/live"
t_unloop "$T_LOOP"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/used.img" "$repo"
p=$repo@latest

traces() { # what is left of it, beside what other tests do now: no server, no run folder whose owner is dead, no loop device without one
    local dir
    pgrep -f "nbdkit.*$T/repo"
    for dir in /run/blkrep-mount.*; do [[ ! -e $dir/owner ]] || ! flock -n "$dir/owner" true || echo "$dir"; done
    losetup -ln -O BACK-FILE | sed -n 's|^\(/run/blkrep-mount\.[^/]*\)/.*|\1|p' | while read -r dir; do [[ -e $dir ]] || echo "loop: $dir"; done
}
# shellcheck disable=SC2016 # evaluated while it waits
no_traces() { t_wait_for 20 eval '[[ -z $(traces) ]]'; }

t_ok blkrep files ls "$p:/" --json
t_json_is filesystem xfs
t_json_is mounted true
t_json_is failed 0
grep -qF 'a\u001B[31m\nb' "$T/out" || t_fail "a name is another"
t_ok blkrep files ls "$p:/etc/deep/../fstab"
t_stdout_has "2001-09-09T01:46:40Z  fstab"
t_ok blkrep files get "$p:/etc/deep/link" - # its many .. stay inside
t_stdout_is hello
t_ok blkrep files get "$p:/big" "$out/big"
t_file_equal "$T/big" "$out/big"
t_ok blkrep files get "$p:/etc/sparse" "$out/sparse"
[[ $(stat -c %s "$out/sparse") == $((5 << 30)) ]] || t_fail "another size"
e_slice "$out/sparse" 4399000000 2000000 | cmp - <(e_slice "$T/sparse" 4399000000 2000000) || t_fail "other bytes beyond 4 GiB"
t_le "$(($(stat -c %b "$out/sparse") * 512))" 300000 "room that a sparse file takes"
t_ok blkrep files get "$p:/etc" "$out/etc" --recursive
diff "$T/was" <(cd "$out" && find etc -printf '%y %m %U %G %n %TT %l %p\n' | sort) >&2 || t_fail "other permissions, owners, times or links"
for case in "/loop 1 NOT_FOUND" "/none 1 NOT_FOUND" "/etc/fstab/x 1 NOT_FOUND" "/pipe 1 UNSUPPORTED" "/etc 1 UNSUPPORTED"; do
    read -r path status name <<<"$case"
    t_run blkrep files get "$p:$path" "$out/new" --json
    t_status "$status"
    t_json_is error.name "$name"
done
[[ ! -e $out/new ]] || t_fail "something was left"
t_run blkrep files ls "$p:/" --no-mount --json
t_json_is error.name UNSUPPORTED
no_traces

# another user is told what to do
chmod 755 "$T"
chmod -R a+rX "$repo"
mkdir "$T/his"
chown 12345 "$T/his"
t_run setpriv --reuid 12345 --regid 12345 --clear-groups env BLKREP_STATE="$T/his" "$BLKREP" files ls "$p:/etc" --volume used.img
t_status 1
t_stderr_has "as root run blkrep files ls $p:/etc"

# stopped while somebody waits for its output; killed: the next one takes away what it left
mkfifo "$T/pipe"
for signal in INT TERM KILL; do
    (exec 9<>"$T/pipe" && exec "$BLKREP" files get "$p:/big" - >&9 2>"$T/stopped.err") &
    pid=$!
    t_pids+=("$pid")
    timeout 60 head -c 1 "$T/pipe" >"$T/first" # it is in the middle of it, and can't end
    grep -q blkrep-mount "/proc/$pid/mounts" || t_fail "this test shows nothing: no mount is in its way"
    at=$(sed -n 's|.* \(/run/blkrep-mount[^ ]*\)/files .*|\1|p' "/proc/$pid/mounts")
    ! grep -qF "$at" /proc/mounts || t_fail "others see the mount"
    t_end "$pid" "$signal" 30
    [[ $signal == KILL || $T_STATUS == 1 ]] || t_fail "$signal: it ended with $T_STATUS: $(cat "$T/stopped.err")"
    [[ $signal == KILL ]] || no_traces
done
t_ok blkrep files ls "$p:/"
no_traces

# a partition of a disk
t_hole "$T/disk.img" 500M
printf 'label: gpt\nstart=2048, size=819200\nstart=822000, size=8192\n' | sfdisk -q "$T/disk.img"
dd if="$T/xfs.img" of="$T/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none
t_ok blkrep backup "$T/disk.img" "$repo"
t_ok blkrep files get "$p:/etc/fstab" - --volume disk.img
t_stdout_is hello
t_ok blkrep files ls "$p:/" --volume disk.img --json
t_json_is partition 1
t_run blkrep files ls "$p:/" --volume disk.img --partition 2
t_stderr_has "no file system"

# an ext4 with a journal to replay
t_mkfs_image "$T/fs.img" 64M "$f"
t_loop "$T/fs.img"
t_mount "$T_LOOP" "$T/live"
echo 'written late' >"$T/live/late"
sync "$T/live/late" # the journal is committed, and nothing written back
cp "$T/fs.img" "$T/cut.img"
umount "$T/live"
t_unloop "$T_LOOP"
t_ok blkrep backup "$T/cut.img" "$repo"
t_ok blkrep files get "$p:/late" - --volume cut.img
t_stdout_is "written late"
t_ok blkrep files ls "$p:/" --volume cut.img --json
t_json_is journal_pending false
t_stdout_has late
t_stderr_lacks warning
t_run blkrep files get "$p:/late" "$out/new" --volume cut.img --no-mount
[[ $T_STATUS != 0 || $(cat "$out/new") != "written late" ]] || t_fail "this test shows nothing: the journal held nothing"
t_stderr_has "its journal is not replayed"
rm -f "$out/new"
# nothing to mount it with: as other users see it, and why
BLKREP_NBDKIT=$T/none t_run blkrep files ls "$p:/" --volume cut.img --json
t_status 0
t_json_is journal_pending true
t_stderr_has "could not be replayed"
"$BLKREP" restore "$p" - --volume cut.img 2>/dev/null | cmp - "$T/cut.img" || t_fail "the point changed"

# broken beyond its superblock
cp --sparse=always "$T/xfs.img" "$T/broken.img"
dd if=/dev/urandom of="$T/broken.img" bs=512 seek=1 count=200 conv=notrunc status=none
t_ok blkrep backup "$T/broken.img" "$repo"
t_run blkrep files ls "$p:/" --volume broken.img --json
[[ $T_STATUS == 4 || $T_STATUS == 1 ]] || t_fail "exit status $T_STATUS"
[[ $(t_json error.name) == CORRUPT || $(t_json error.name) == IO ]] || t_fail "$(t_json error.name)"
no_traces
