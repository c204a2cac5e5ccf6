#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What goes wrong with a repository is said in words, with the status that it deserves, and leaves the repository and the target as they were.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

repo=$T/repo v=$T/volume
t_random "$v" 1M 1
refused() { # STATUS WORDS COMMAND...: nothing below the repository changes
    local status=$1 words=$2 before
    shift 2
    before=$(t_listing "$repo" 2>/dev/null)
    t_run blkrep "$@"
    t_status "$status"
    t_stderr_has "$words"
    [[ $(t_listing "$repo" 2>/dev/null) == "$before" ]] || t_fail "the repository was changed: $*"
}

# without a secret, a terminal or a repository
unset BLKREP_PASSPHRASE
T_STATUS=0
setsid "$BLKREP" init "$repo" >"$T/out" 2>"$T/err" </dev/null || T_STATUS=$?
t_status 1
t_stderr_has "no terminal to ask on"
refused 2 "goes with neither" init "$T/x" --encryption none --passphrase-file "$T/p"
echo 'the passphrase' >"$T/p"
chmod 644 "$T/p"
: >"$T/empty"
refused 1 "the first line of" init "$T/x" --passphrase-file "$T/empty"
refused 1 "opening" init "$T/x" --passphrase-file "$T/none"
t_ok blkrep init "$repo" --passphrase-file "$T/p"
t_stderr_has "others may read"
chmod 600 "$T/p"
refused 3 "exists already" init "$repo" --passphrase-file "$T/p"
t_ok blkrep init "$T/keyed" --key-file "$T/key"
[[ $(stat -c %a "$T/key") == 600 ]] || t_fail "the key file is open to others"
grep -qx '[0-9a-f]\{64\}' "$T/key" || t_fail "the key file is no key"

export BLKREP_PASSPHRASE='the passphrase'
t_ok blkrep backup "$v" "$repo"
t_ok blkrep backup "$v" "$T/keyed" --key-file "$T/key"
refused 1 "not one of its keys" points "$T/keyed" --key-file "$(sed 's/^0/1/;t;s/^./0/' "$T/key" >"$T/key2" && echo "$T/key2")"
refused 1 "no key that a passphrase opens" points "$T/keyed"
refused 1 "no key that a key file opens" points "$repo" --key-file "$T/key"
BLKREP_PASSPHRASE='wrong' refused 1 "the passphrase or key file is not one of its keys" points "$repo"
BLKREP_PASSPHRASE='wrong' refused 1 "no key at hand" backup "$v" "$repo"
refused 1 "not found" points "$T/nowhere"
mkdir "$T/folder"
refused 1 "there is no repository" points "$T/folder"
refused 1 "there is no repository" backup "$v" "$T/folder"

# a config exchanged for one that is not encrypted: nothing is read or written in the open, with a passphrase, and without where it was seen before
BLKREP_STATE=$T/thief env -u BLKREP_PASSPHRASE "$BLKREP" init "$T/open" --encryption none >"$T/out" || t_fail "init"
cp -r "$repo" "$T/exchanged"
t_ok blkrep points "$T/exchanged"
cp "$T/open/config" "$T/exchanged/config"
cp "$T/open/epochs/"* "$T/exchanged/epochs/"
refused 1 "says that it is not encrypted" points "$T/exchanged"
refused 1 "says that it is not encrypted" backup "$v" "$T/exchanged"
T_STATUS=0 # asked for on the terminal, which is not there: its place is remembered
env -u BLKREP_PASSPHRASE "$BLKREP" points "$T/exchanged" >"$T/out" 2>"$T/err" || T_STATUS=$?
t_status 1
t_stderr_has "it was when this host saw it last"
dd if="$repo/config" of="$T/exchanged/config" bs=1 skip=16 seek=16 count=16 conv=notrunc status=none # with the uuid of before
T_STATUS=0
env -u BLKREP_PASSPHRASE "$BLKREP" points "$T/exchanged" >"$T/out" 2>"$T/err" || T_STATUS=$?
t_status 1
t_stderr_has "it was when this host saw it last"

# what an init that was cut left is no hindrance
mkdir -p "$T/cut/epochs" "$T/cut/keys" "$T/cut/packs"
: >"$T/cut/keys/somebodys"
: >"$T/cut/epochs/somebodys"
cp "$repo/epochs/"* "$T/cut/epochs/"
cp "$repo/keys/"* "$T/cut/keys/"
t_ok blkrep init "$T/cut"
[[ -e $T/cut/keys/somebodys && -e $T/cut/epochs/somebodys ]] || t_fail "files of somebody were removed"
mkdir "$T/letters"
: >"$T/letters/letter"
refused 3 "it holds letter" init "$T/letters"
t_ok blkrep backup "$v" "$T/cut"
rm "$T/cut/config"
refused 3 "though no config" init "$T/cut"

# words
refused 2 "out of place" backup "$v" "$repo@latest"
refused 2 "which point" restore "$repo" "$T/new"
refused 2 "neither latest" restore "$repo@xy" "$T/new"
refused 2 "latest~N" restore "$repo@latest~x" "$T/new"
refused 1 "there are only 1" restore "$repo@latest~1" "$T/new"
refused 1 "no point is as old" restore "$repo@2001-01-01" "$T/new"
refused 1 "no point 0000" restore "$repo@0000" "$T/new"
refused 2 "a tag has" backup "$v" "$repo" --tag a,,b
refused 2 "takes 0 to 19" backup "$v" "$repo" --compress 20
refused 2 "multiple of 64 KiB" restore "$repo@latest" "$T/new" --offset 4096
refused 2 "behind the volume" restore "$repo@latest" "$T/new" --offset 1G
refused 2 "standard output" restore "$repo@latest" - --json
refused 1 "opening" backup "$T/none" "$repo"
[[ ! -e $T/new ]] || t_fail "a refused restore left a file"

# targets
t_ok blkrep sync "$v" "$T/replica"
refused 3 "holds" restore "$repo@latest" "$T/replica"
t_ok blkrep restore "$repo@latest" "$T/replica" --overwrite
t_run blkrep sync "$v" "$T/replica" # it is nobody's replica now
t_status 3
t_ok blkrep restore "$repo@latest" "$T/lonely"
[[ ! -e $T/lonely.blkrep ]] || t_fail "a restored file was given a folder of state"
: >"$T/cut.img.blkrep-restore" # of a restore that was killed
t_ok blkrep restore "$repo@latest" "$T/cut.img"
[[ ! -e $T/cut.img.blkrep-restore ]] || t_fail "a file beside was left"
t_file_equal "$v" "$T/cut.img"
cp "$v" "$T/full"
refused 3 "holds" restore "$repo@latest" "$T/full"
t_file_equal "$v" "$T/full"
refused 3 "lies in the repository" restore "$repo@latest" "$repo/packs/new"
[[ ! -e $repo/packs/new ]] || t_fail "a file was left in the repository"
refused 1 "" restore "$repo@latest" "$T/no/folder"
t_ok blkrep restore "$repo@latest" "$T/plan" --dry-run
[[ ! -e $T/plan ]] || t_fail "a dry run made its target"
t_ok blkrep backup "$v" "$repo" --dry-run
[[ $("$BLKREP" points "$repo" | wc -l) -eq 2 ]] || t_fail "a dry run made a point"

# a second volume: latest does not say whose
t_random "$T/other" 100000 2
t_ok blkrep backup "$T/other" "$repo"
refused 2 "say which with --volume" restore "$repo@latest" "$T/new"
t_ok blkrep restore "$repo@latest" "$T/new" --volume other
t_file_equal "$T/other" "$T/new"

# a newer format, and another repository's objects
cp -r "$repo" "$T/newer"
printf '\002' | dd of="$T/newer/config" bs=1 seek=8 conv=notrunc status=none
refused 1 "version 2" points "$T/newer"
t_ok blkrep init "$T/second"
cp -r "$repo/points/"* "$T/second/points/" 2>/dev/null || { mkdir "$T/second/points" && cp -r "$repo/points/"* "$T/second/points/"; }
refused 4 "another repository's" points "$T/second"

# a source that is in use, and one that may not be read
exec 3>>"$v"
refused 3 "can change while it is read" backup "$v" "$repo"
exec 3>&-
t_ok blkrep backup "$v" "$repo" --live-source
t_stdout_has "consistency: none"

# no room: nothing is left but what a next run finds
t_mount tmpfs "$T/small" size=3m
t_ok blkrep init "$T/small/repo"
t_random "$T/big" 8M 3
t_run blkrep backup "$T/big" "$T/small/repo"
t_status 6
t_stderr_has "$T/small"
! find "$T/small/repo" -name 'tmp-*' | grep . >&2 || t_fail "half written objects are left"
t_run blkrep points "$T/small/repo"
t_status 0
mount -o remount,size=64m "$T/small"
t_ok blkrep backup "$T/big" "$T/small/repo"
t_ok blkrep restore "$T/small/repo@latest" "$T/big.back"
t_file_equal "$T/big" "$T/big.back"

# read-only media: points and restore need nothing written there
mount -o remount,ro "$T/small"
t_ok blkrep points "$T/small/repo"
t_ok blkrep restore "$T/small/repo@latest" "$T/big.back" --overwrite
t_run blkrep backup "$T/big" "$T/small/repo"
t_status 1
