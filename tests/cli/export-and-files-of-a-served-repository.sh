#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A point of a repository that blkrep serve keeps is exported, mounted and looked into like one in a directory, by address and by name: by a
# writer of its volume and by a reader. When the server goes, reads fail, and go on with the same point when it is there again.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"
. "$(dirname "$0")/../lib/export.sh"

e_need nbdcopy qemu-io mkfs.ext4
export BLKREP_PASSPHRASE='not to be seen'
s_start_repository
s_pair alice --role=writer
s_pair eve --role=reader
f=$T/folder sock=$T/run/sock
mkdir -p "$f/etc" "$T/run" "$T/mnt"
echo hello >"$f/etc/fstab"
t_random "$f/big" 10M 1
t_mkfs_image "$T/fs.img" 64M "$f"
s_as alice t_ok blkrep backup "$T/fs.img" "$R"
p=$R@latest

for who in alice eve; do
    s_as "$who" t_ok blkrep files ls "$p:/etc"
    t_stdout_has fstab
    s_as "$who" t_ok blkrep files get "$p:/big" "$T/big-$who"
    t_file_equal "$f/big" "$T/big-$who"
    s_as "$who" e_export "$who" "$p" --socket "$sock"
    t_ok nbdcopy "$E_URI" "$T/copied"
    t_file_equal "$T/fs.img" "$T/copied"
    t_end "$T_PID"
    t_status 0
done
printf '[repository there]\npath = %s\n' "$R" >"$T/client.conf"
chmod 600 "$T/client.conf"
s_as eve t_ok blkrep files ls there@latest:/etc --config "$T/client.conf"
# shellcheck disable=SC2016 # for the command's shell
s_as eve t_ok blkrep export there@latest --config "$T/client.conf" --socket "$sock" --run 'nbdinfo --size "$uri"'
t_stdout_is 67108864
# shellcheck disable=SC2016 # for nbdkit's shell
t_ok "${BLKREP_NBDKIT:-nbdkit}" -U - "${BLKREP%/*}/nbdkit-blkrep-plugin.so" "$p" state="$T/client-eve" --run 'nbdinfo --size "$uri"'
t_stdout_is 67108864

# the server goes, and another point is made before it is asked again
cp "$T/fs.img" "$T/is.0"
s_as eve e_export gone "$p" --socket "$sock"
exporting=$T_PID
t_ok qemu-io -r -f raw -c 'read 0 4096' "$E_URI"
s_stop
! timeout 60 nbdcopy "$E_URI" "$T/copied" 2>"$T/err" || t_fail "a point was copied without its server"
t_random_at "$T/fs.img" 9000000 5000 2
t_ok blkrep backup "$T/fs.img" "$T/main"
s_start
sleep 2.5 # RETRY_NS of tools/nbdkit/plugin.c
t_run nbdcopy "$E_URI" "$T/copied"
[[ $T_STATUS -eq 0 ]] || t_fail "it does not go on: $(cat "$T/gone.err")"
t_file_equal "$T/is.0" "$T/copied"
t_end "$exporting"

# not a client of this server
mkdir "$T/client-mallory"
s_as mallory t_run blkrep export "$p" --socket "$sock"
t_status 5
t_stderr_has "$S_ADDR"

if [[ $EUID -eq 0 && -e /dev/fuse ]] && command -v nbdfuse >/dev/null; then
    s_as alice t_ok blkrep mount "$p" "$T/mnt" --run "cat etc/fstab"
    t_stdout_is hello
    s_as eve t_ok blkrep mount "$p~1" "$T/mnt" --run "cmp big $f/big"
fi
