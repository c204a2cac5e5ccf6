#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A folder comes out of a point with all below it: permissions, times, links of both kinds, holes, fifos; owners, set-id bits and devices when root
# asks. What is there is never touched. What a forged file system names "..", or a path, or has in two places, leads nowhere; what is damaged is
# named, and the rest comes. Stopped, it leaves nothing.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/export.sh"

PATH=$PATH:/usr/sbin:/sbin
t_need mkfs.ext4 debugfs
repo=$T/repo f=$T/folder out=$T/out.d
mkdir -p "$f/top/a/b" "$f/top/empty" "$f/beside" "$out"
echo 'hello' >"$f/top/file"
t_random "$f/top/a/big" 3M 1
t_hole "$f/top/a/sparse" 6M
t_random_at "$f/top/a/sparse" 4000000 1000 2
ln "$f/top/a/big" "$f/top/a/b/same"
ln -s ../../file "$f/top/a/b/link"
ln -s /etc/passwd "$f/top/outside"
ln -s "$(printf 'y%.0s' {1..300})" "$f/top/long"
mkfifo "$f/top/pipe"
printf odd >"$f/top/$(printf 'a\033[31m\nb')"
echo secret >"$f/beside/file"
ln -s ../top "$f/beside/way"
chmod 1751 "$f/top/a"
chmod 500 "$f/top/a/b"
chmod 4755 "$f/top/file"
owner=
if [[ $(id -u) == 0 ]]; then
    owner='%U %G '
    chown 1234:70000 "$f/top/a/big" "$f/top/a/b"
    chown -h 1235:1 "$f/top/outside"
    if mknod "$f/top/null" c 1 3 2>/dev/null; then mknod "$f/top/disk" b 259 70000; fi
    chmod 4755 "$f/top/file"
fi
find "$f" -depth -exec touch -h -d '2001-02-03 04:05:06.789012345' {} +
touch -d '2050-01-01 00:00:00.5' "$f/top/a/big" # beyond 31 bits of seconds
t_hole "$T/fs.img" 64M
mkfs.ext4 -q -F -I 256 -O ^metadata_csum -d "$f" "$T/fs.img" >&2
for path in top top/a top/a/b top/empty top/file top/a/big top/a/sparse; do # mkfs writes whole seconds, in 31 bits
    debugfs -w -R "set_inode_field /$path mtime @$(stat -c %Y "$f/$path")" "$T/fs.img" >/dev/null 2>&1
    debugfs -w -R "set_inode_field /$path mtime_extra $((789012345 << 2 | $(stat -c %Y "$f/$path") + 2147483648 >> 32))" "$T/fs.img" >/dev/null 2>&1
done
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/fs.img" "$repo"
p=$repo@latest
listing() { (cd "$1" && find . ! -type d -printf "%y %m $owner%s %n %l %TY-%Tm-%Td_%TT %p\n" -o -printf "%y %m $owner%TY-%Tm-%Td_%TT %p\n" | sort); }
same() { # as the file system had it
    diff -r --no-dereference "$f/top" "$1" -x pipe -x null -x disk >&2 || t_fail "other content"
}

t_ok blkrep files get "$p:/top" "$out/top/" --recursive --volume fs.img --json
same "$out/top"
t_json_is failed 0
t_json_is copied "$(find "$f/top" | grep -c "^$f")"
diff <(listing "$out/top" | sed 's/\.[0-9]* / /') <(listing "$f/top" | sed 's/\.[0-9]* / /') | grep '^[<>]' >"$T/diff" || true
if [[ $owner ]]; then
    [[ ! -s $T/diff ]] || t_fail "other permissions, owners, times or links: $(cat "$T/diff")"
    [[ ! -e $f/top/null || $(stat -c '%t %T' "$out/top/null" "$out/top/disk") == "$(stat -c '%t %T' "$f/top/null" "$f/top/disk")" ]] || t_fail "other devices"
fi
[[ $(stat -c %y "$out/top/a/sparse") == *06.789012345* ]] || t_fail "no nanoseconds: $(stat -c %y "$out/top/a/sparse")"
[[ $(stat -c %Y "$out/top/a/big") == $(stat -c %Y "$f/top/a/big") ]] || t_fail "a time after 2038 is $(stat -c %y "$out/top/a/big")"
[[ $out/top/a/big -ef $out/top/a/b/same ]] || t_fail "a hard link became two files"
t_le "$(($(stat -c %b "$out/top/a/sparse") * 512))" 200000 "room that a sparse file takes"

# through a link in the path; by its own name here; from the root
(cd "$out" && t_ok blkrep files get "$p:/beside/way/a" --recursive --volume fs.img && diff -r "$f/top/a" a --no-dereference >&2) || t_fail "through a link"
t_ok blkrep files get "$p:/" "$out/all" --recursive --volume fs.img
t_file_equal "$out/all/beside/file" "$f/beside/file"

# refused: what is there, no name, standard output, and a folder that nobody said to take; nothing is changed
rm -rf "$out" && mkdir -p "$out/there" && echo mine >"$out/file" && ln -s there "$out/pointer" && mkdir "$out/left.blkrep-get"
t_remember "$out"
for case in "/top there 3 --recursive" "/top there 3 --recursive --overwrite" "/top file 3 --recursive --overwrite" "/top pointer 3 --recursive" \
    "/top left 3 --recursive" "/top new 1" "/top/pipe new 1 --recursive" "/none new 1 --recursive" "/top no/new 1 --recursive"; do
    read -r path to status words <<<"$case"
    # shellcheck disable=SC2086 # words
    t_run blkrep files get "$p:$path" "$out/$to" $words --volume fs.img
    t_status "$status"
done
(cd "$out" && t_run blkrep files get "$p:/" --recursive --volume fs.img && t_status 2) || t_fail "the root has a name"
t_run blkrep files get "$p:/top" - --recursive --volume fs.img
t_status 2
t_nothing_changed "$out"

# an ordinary user: his own, no set-id bits, and devices are named and left out
if [[ $owner ]] && command -v setpriv >/dev/null; then
    chmod 711 "$(dirname "$T")" && chmod 755 "$T"
    chmod -R a+rX "$repo"
    mkdir -p "$T/his/state"
    chown -R 12345 "$T/his"
    t_run setpriv --reuid 12345 --regid 12345 --clear-groups env BLKREP_STATE="$T/his/state" \
        "$BLKREP" files get "$p:/top" "$T/his/top" --recursive --volume fs.img --json
    t_status 0
    [[ ! -e $f/top/null ]] || t_json_is skipped 2
    t_json_is failed 0
    same "$T/his/top"
    [[ -z $(find "$T/his/top" ! -user 12345) && $(stat -c %a "$T/his/top/file" "$T/his/top/a") == $'755\n1751' ]] || t_fail "other owners or permissions"
fi

# forged: the bytes of names are changed behind libext2fs's back
g=$T/forged
mkdir -p "$g/d/QQ" "$g/d/zz_safe_2" "$g/d/deep/er"
echo escaped >"$g/d/QQ/file"
echo planted >"$g/d/zz_safe_2/planted"
echo good >"$g/d/good"
echo bad >"$g/d/QQescapeQQ"
echo bad >"$g/d/QQterminator"
ln -s "$T/victim" "$g/d/zz_safe_1"
mkdir "$T/victim"
t_hole "$T/forged.img" 16M
mkfs.ext4 -q -F -O ^metadata_csum,^dir_index -d "$g" "$T/forged.img" >&2
debugfs -w -R 'link /d /d/deep/er/again' "$T/forged.img" >/dev/null 2>&1
LC_ALL=C sed -i -e 's|QQescapeQQ|../escaped|g;s|QQterminator|QQ\x00erminator|g;s|zz_safe_2|zz_safe_1|g' -e 's|\(\x02\x02\)QQ\x00|\1..\x00|g' "$T/forged.img"
rm -rf "$repo" "$BLKREP_STATE" "$out" "$T/fs.img.blkrep"
mkdir "$out"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/forged.img" "$repo"
t_run blkrep files ls "$p:/d" --volume forged.img --no-mount
t_status 4
t_stdout_has " good"
t_stdout_lacks " .."
t_run blkrep files get "$p:/d" "$out/d" --recursive --volume forged.img --no-mount --json
t_status 4
t_json_is error.name CORRUPT
[[ $(t_json failed) -ge 4 ]] || t_fail "$(t_json failed) failed: $(cat "$T/err")"
t_file_equal "$out/d/good" "$g/d/good"
[[ $(ls -A "$out") == d && -z $(ls -A "$T/victim") && ! -e $T/escaped && ! -e $out/file ]] || t_fail "a name led out"
[[ -d $out/d/deep/er && ! -e $out/d/deep/er/again ]] || t_fail "a folder without an end"
t_stderr_has "two places"

# a damaged pack: the file that needs it is named, and not there; the rest is
rm -rf "$repo" "$BLKREP_STATE" "$out"
mkdir "$out"
t_ok blkrep init "$repo" --encryption none
t_random "$f/beside/first" 8M 4
t_random "$f/beside/second" 8M 5
t_random "$f/beside/third" 8M 6
t_mkfs_image "$T/damaged.img" 64M "$f"
t_ok blkrep backup "$T/damaged.img" "$repo"
pack=$(find "$repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1)
e_flip "${pack#* }" 9000000
t_run blkrep files get "$p:/beside" "$out/beside" --recursive
t_status 4
t_stderr_has "/beside/"
count=0
for name in first second third file; do
    [[ -e $out/beside/$name ]] || continue
    t_file_equal "$out/beside/$name" "$f/beside/$name"
    count=$((count + 1))
done
[[ $count == [23] ]] || t_fail "$count of four files came" # a frame may hold of two

# stopped at work, and no room: nothing is left
rm -rf "$repo" "$BLKREP_STATE" "$out"
mkdir "$out"
mkdir -p "$f/many"
for ((i = 0; i < 3000; i++)); do echo $i >"$f/many/$i"; done
t_hole "$f/many/wide" 800G
t_mkfs_image "$T/wide.img" 64M "$f"
t_ok blkrep init "$repo" --encryption none
t_ok blkrep backup "$T/wide.img" "$repo"
for signal in TERM INT; do
    t_background stopped blkrep files get "$p:/many" "$out/many" --recursive --volume wide.img --no-mount
    t_wait_for 60 test -e "$out/many.blkrep-get/0"
    t_end "$T_PID" "$signal" 30
    [[ $T_STATUS == 1 ]] || t_fail "it ended with $T_STATUS: $(cat "$T/stopped.err")"
    [[ -z $(ls -A "$out") ]] || t_fail "$signal: something is left: $(ls -A "$out")"
done
if [[ $(id -u) == 0 ]]; then
    t_mount tmpfs "$T/small" size=1m
    t_run blkrep files get "$p:/beside" "$T/small/beside" --recursive --volume wide.img
    t_status 6
    [[ -z $(ls -A "$T/small") ]] || t_fail "something is left where there was no room"
fi
