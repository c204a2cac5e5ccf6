#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Single files of an ext4 file system come out of a point without root and without a restore: small, large, sparse, empty ones; through links that
# stay inside; of a partition, a logical one too; whatever their names hold. What is no regular file, or not there, or damaged, is refused by name and
# leaves nothing; a file system that was in use is named so.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/export.sh"

PATH=$PATH:/usr/sbin:/sbin
t_need mkfs.ext4 sfdisk debugfs
repo=$T/repo f=$T/folder
mkdir -p "$f/etc/deep/er" "$T/out.d"
echo 'hello' >"$f/etc/fstab"
t_random "$f/etc/big" 20M 7
t_hole "$f/etc/sparse" 5M
t_hole "$f/etc/beyond" 5G # more than 32 bits of bytes
t_random_at "$f/etc/beyond" 4400000000 70000 9
t_random_at "$f/etc/sparse" 3000000 1000 8
: >"$f/etc/empty"
ln -s fstab "$f/etc/link"
ln -s /etc/deep/../../etc/fstab "$f/absolute"
ln -s ../../../../../../../../etc/passwd "$f/outside"
ln -s loop "$f/loop"
ln -s "$(printf 'x%.0s' {1..200})/y" "$f/long"
mkfifo "$f/pipe"
printf 'odd' >"$f/etc/$(printf 'a\033[31m\nb')"
printf 'x' >"$f/etc/deep/er/x"
chmod 640 "$f/etc/fstab"
touch -d @1000000000 "$f/etc/fstab"
t_mkfs_image "$T/fs.img" 64M "$f"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/fs.img" "$repo"
p=$repo@latest

t_ok blkrep files ls "$p:/" --volume fs.img
t_stdout_has "absolute -> /etc/deep/../../etc/fstab"
t_stdout_has "p0644"
t_ok blkrep files ls "$p:/etc" --volume fs.img
t_stdout_has '"a\x1b[31m\nb"'
! grep -q $'\033' "$T/out" || t_fail "a name moves the terminal"
t_ok blkrep files ls "$p:/etc/fstab" --volume fs.img --json
[[ $(head -n 1 "$T/out" | jq -r '[.type, .name, .kind, .mode, .size_bytes, .mtime_unix] | join(" ")') == "entry fstab file 0640 6 1000000000" ]] ||
    t_fail "another entry"
t_json_is filesystem ext4
t_json_is partition 0
t_json_is entries 1
t_json_is journal_pending false

get() { t_ok blkrep files get "$p:$1" "$T/out.d/got" --volume fs.img --overwrite; }
for name in fstab big sparse empty; do
    get "/etc/$name"
    t_file_equal "$f/etc/$name" "$T/out.d/got"
done
[[ $(stat -c '%a %Y' "$T/out.d/got") == "$(stat -c '%a' "$f/etc/empty") $(stat -c %Y "$f/etc/empty")" ]] || t_fail "other permissions or time"
get /etc/beyond
[[ $(stat -c %s "$T/out.d/got") == $((5 << 30)) ]] || t_fail "another size"
e_slice "$T/out.d/got" 4399000000 2000000 | cmp - <(e_slice "$f/etc/beyond" 4399000000 2000000) || t_fail "other bytes beyond 4 GiB"
t_le "$(($(stat -c %b "$T/out.d/got") * 512))" 300000 "room that a sparse file takes"
get /etc/sparse
t_le "$(($(stat -c %b "$T/out.d/got") * 512))" 200000 "room that a sparse file takes"
for path in /etc/link /absolute /etc/deep/er/../../fstab /../../etc/fstab //etc//fstab; do
    get "$path"
    t_file_equal "$f/etc/fstab" "$T/out.d/got"
done
get "$(printf '/etc/a\033[31m\nb')"
t_stdout_is "$T/out.d/got: 3 B"
(cd "$T/out.d" && t_ok blkrep files get "$p:/etc/fstab" --volume fs.img && t_file_equal fstab "$f/etc/fstab")
"$BLKREP" files get "$p:/etc/big" - --volume fs.img 2>/dev/null | cmp - "$f/etc/big" || t_fail "standard output got something else"

# nothing is replaced unasked, or written through a link; what can't be had leaves nothing
rm -rf "$T/out.d" && mkdir "$T/out.d"
echo mine >"$T/out.d/mine"
ln -s mine "$T/out.d/pointer"
for case in "/etc/fstab mine 3 EXISTS" "/etc/fstab pointer 3 EXISTS" "/none new 1 NOT_FOUND" "/etc/fstab/x new 1 NOT_FOUND" "/etc new 1 UNSUPPORTED" \
    "/pipe new 1 UNSUPPORTED" "/outside new 1 NOT_FOUND" "/loop new 1 NOT_FOUND"; do
    read -r path to status name <<<"$case"
    t_run blkrep files get "$p:$path" "$T/out.d/$to" --volume fs.img --json
    t_status "$status"
    t_json_is error.name "$name"
done
[[ $(ls -A "$T/out.d") == $'mine\npointer' && $(cat "$T/out.d/mine") == mine ]] || t_fail "something was left or replaced"

# a disk with partitions, one of them logical
t_hole "$T/disk.img" 100M
sfdisk -q "$T/disk.img" <<'TABLE'
label: dos
start=2048, size=8192, type=82
start=16384, size=180000, type=5
start=20480, size=131072, type=83
TABLE
at=$(sfdisk -J "$T/disk.img" | jq '.partitiontable.partitions[] | select(.node | endswith("5")) | .start')
dd if="$T/fs.img" of="$T/disk.img" bs=512 seek="$at" conv=notrunc,sparse status=none
t_ok blkrep backup "$T/disk.img" "$repo"
t_ok blkrep files get "$p:/etc/fstab" "$T/out.d/got" --volume disk.img --json
t_json_is partition 5
t_file_equal "$f/etc/fstab" "$T/out.d/got"
t_run blkrep files ls "$p:/" --volume disk.img --partition 1
t_status 1
t_stderr_has "no file system"
t_run blkrep files ls "$p:/" --volume disk.img --partition 9 --json
t_json_is error.name NOT_FOUND
t_hole "$T/gpt.img" 160M
sfdisk -q "$T/gpt.img" <<'TABLE'
label: gpt
start=2048, size=131072
start=133120, size=131072
TABLE
for at in 2048 133120; do dd if="$T/fs.img" of="$T/gpt.img" bs=512 seek=$at conv=notrunc,sparse status=none; done
t_ok blkrep backup "$T/gpt.img" "$repo"
t_run blkrep files ls "$p:/" --volume gpt.img
t_status 2
t_stderr_has "1 (ext4), 2 (ext4)"
t_ok blkrep files ls "$p:/" --volume gpt.img --partition 2
t_random "$T/noise.img" 1M 9
t_ok blkrep backup "$T/noise.img" "$repo"
t_run blkrep files ls "$p:/" --volume noise.img --json
t_json_is error.name NOT_FOUND
t_run blkrep files ls "$p:/" --volume noise.img --partition 0 --json
t_json_is error.name UNSUPPORTED

# it was in use
cp "$T/fs.img" "$T/used.img"
debugfs -w -R 'feature needs_recovery' "$T/used.img" >/dev/null 2>&1
t_ok blkrep backup "$T/used.img" "$repo"
t_ok blkrep files ls "$p:/" --volume used.img --no-mount --json
t_json_is journal_pending true
t_json_is mounted false
t_stderr_has "journal"

# a damaged pack: the file that needs it is refused, and leaves nothing
rm -rf "$repo" "$BLKREP_STATE" "$T/fs.img.blkrep"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/fs.img" "$repo"
pack=$(find "$repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1)
e_flip "${pack#* }" 9000000
rm -f "$T/out.d/"*
t_run blkrep files get "$p:/etc/big" "$T/out.d/got" --json
t_status 4
t_json_is error.name CORRUPT
[[ -z $(ls -A "$T/out.d") ]] || t_fail "a part of a file was left"
