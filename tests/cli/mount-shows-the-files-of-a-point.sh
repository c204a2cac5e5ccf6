#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A mount shows the files of a point, each partition of a disk, also of a file system that was in use, whose journal is replayed beside the point;
# what is written through it is gone at the end. A signal, --unmount and the end of --run leave nothing; what a killed one leaves goes next time.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/export.sh"

t_root
e_need nbdfuse sfdisk mkfs.ext4 losetup
[[ -e /dev/fuse ]] || t_skip "no /dev/fuse here"
repo=$T/repo dir=$T/mnt f=$T/folder
mkdir -p "$f/etc" "$dir"
echo 'hello' >"$f/etc/fstab"
t_random "$f/big" 10M 1
t_mkfs_image "$T/fs.img" 64M "$f"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/fs.img" "$repo"
p=$repo@latest
t_loop "$T/fs.img" # skips where there is none
t_unloop "$T_LOOP"

traces() { # what is left of mounts of this test
    grep -F " $dir" /proc/mounts
    losetup -l -n -O BACK-FILE | grep blkrep-mount
    local owner
    for owner in /run/blkrep-mount.*/owner; do [[ ! -e $owner ]] || ! grep -qF "$T" "$owner" || echo "$owner"; done
    ls -A "$dir"
}
# shellcheck disable=SC2016 # evaluated while it waits
no_traces() { t_wait_for 10 eval '[[ -z $(traces) ]]'; }
up() { # NAME ARGS...: mounted
    t_background "$1" blkrep mount "${@:2}"
    t_wait_for 40 grep -q '^READY ' "$T/$1.out"
}
t_undo+=("for d in $dir/* $dir; do umount -l \$d; done")

up one "$p" "$dir" --volume fs.img
diff -r "$f" "$dir" -x lost+found >&2 || t_fail "other files"
! touch "$dir/new" 2>/dev/null || t_fail "it can be written"
t_run blkrep mount "$p" "$dir" --volume fs.img
t_status 3
t_end "$T_PID" TERM 30
t_status 0
no_traces

up two "$p" "$dir" --volume fs.img --writable
pid=$T_PID
echo changed >"$dir/etc/fstab"
t_ok blkrep mount --unmount "$dir"
t_wait_for 10 eval "! t_alive $pid"
no_traces
"$BLKREP" files get "$p:/etc/fstab" - --volume fs.img 2>/dev/null | cmp - "$f/etc/fstab" || t_fail "the point changed"
t_run blkrep mount --unmount "$dir" --json
t_json_is error.name NOT_FOUND

# for a command, which alone sees it
t_ok blkrep mount "$p" "$dir" --volume fs.img --run "cat etc/fstab; grep -c ' $dir ' /proc/mounts; ls /proc/1/root$dir | wc -l"
t_stdout_is $'hello\n1\n0'
no_traces

# killed: the next one takes away what it left
up three "$p" "$dir" --volume fs.img
t_end "$T_PID" KILL
grep -qF " $dir " /proc/mounts || t_fail "this test shows nothing: a killed mount left nothing"
t_ok blkrep mount --unmount "$dir"
no_traces
up four "$p" "$dir" --volume fs.img
t_end "$T_PID" KILL
up five "$p" "$dir" --volume fs.img
t_file_equal "$f/big" "$dir/big"
t_end "$T_PID" TERM 30
no_traces

# in use when the point was made: the journal's content shows, and the point stays as it was
t_loop "$T/fs.img"
mkdir "$T/live"
t_mount "$T_LOOP" "$T/live"
echo 'written late' >"$T/live/late"
sync -f "$T/live"
cp "$T/fs.img" "$T/used.img" # as a power cut at this moment
umount "$T/live"
t_unloop "$T_LOOP"
t_ok blkrep backup "$T/used.img" "$repo"
t_ok blkrep files ls "$p:/" --volume used.img --no-mount --json
t_json_is journal_pending true
t_ok blkrep mount "$p" "$dir" --volume used.img --run 'cat late'
t_stdout_is 'written late'
"$BLKREP" restore "$p" - --volume used.img 2>/dev/null | cmp - "$T/used.img" || t_fail "the point changed"

# a disk: each partition that has a file system
t_hole "$T/disk.img" 200M
sfdisk -q "$T/disk.img" <<'TABLE'
label: gpt
start=2048, size=131072
start=133120, size=8192
start=141312, size=131072
TABLE
for at in 2048 141312; do dd if="$T/fs.img" of="$T/disk.img" bs=512 seek=$at conv=notrunc,sparse status=none; done
t_ok blkrep backup "$T/disk.img" "$repo"
up disk "$p" "$dir" --volume disk.img
[[ $(ls "$dir") == $'1\n3' ]] || t_fail "other partitions: $(ls "$dir")"
t_file_equal "$f/big" "$dir/1/big"
t_file_equal "$f/etc/fstab" "$dir/3/etc/fstab"
t_end "$T_PID" INT 30
t_status 0
no_traces
t_ok blkrep mount "$p" "$dir" --volume disk.img --partition 3 --run 'cat etc/fstab'
t_stdout_is hello
t_run blkrep mount "$p" "$dir" --volume disk.img --partition 2
t_status 1
if command -v mkfs.xfs >/dev/null && grep -qw xfs /proc/filesystems; then
    t_hole "$T/xfs.img" 400M
    mkfs.xfs -q "$T/xfs.img"
    t_ok blkrep backup "$T/xfs.img" "$repo"
    t_ok blkrep mount "$p" "$dir" --volume xfs.img --writable --run 'echo new >file && cat file'
    t_stdout_is new
fi
no_traces
