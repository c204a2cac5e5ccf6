#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What another user planted as the state of a source or replica is not used: a folder or link NAME.blkrep, records in it, links for files
# that are to be made, a state folder that is not ours alone. Nothing behind a link is touched, and nothing new is readable by others.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_need setpriv
place=$(mktemp -d -p /var/tmp blkrep-t.XXXXXX) # where another user can go
t_undo+=("rm -rf $(printf %q "$place")")
chmod 1777 "$place"
other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
other true || t_skip "no other user can be had"
mkdir "$T/victim"
echo secret >"$T/victim/file"
t_random "$place/a" 300K 1
t_random "$place/b0" 300K 2
refused() { # STATUS WORDS ARGS...: and the victim is as it was
    local status=$1 words=$2
    shift 2
    t_run blkrep "$@"
    t_status "$status"
    t_stderr_has "$words"
    [[ $(cat "$T/victim"/*) == secret && $(ls "$T/victim") == file ]] || t_fail "something behind a link was changed"
}

other ln -s "$T/victim" "$place/b.blkrep"
refused 3 "is no folder" sync "$place/a" "$place/b"
[[ ! -e $place/b ]] || t_fail "a refused target was made"
rm "$place/b.blkrep"

other mkdir -m 755 "$place/b.blkrep"
for verb in "sync $place/a" verify finish adopt "forget --yes" status; do
    cp "$place/b0" "$place/b"
    # shellcheck disable=SC2086 # words
    refused 3 "may be forged" $verb "$place/b"
    cmp -s "$place/b0" "$place/b" || t_fail "$verb changed the target"
done
rm -rf "$place/b" "$place/b.blkrep"
mkdir "$place/b.blkrep" && chmod 777 "$place/b.blkrep"
refused 3 "may be forged" sync "$place/a" "$place/b"
[[ ! -e $place/b ]] || t_fail "a refused target was made"
rm -rf "$place/b.blkrep"
other mkdir "$place/a.blkrep"
refused 3 "may be forged" sync "$place/a" "$place/b"
refused 3 "may be forged" send "$place/a"
rm -rf "$place/a.blkrep"

# whoever may write the replica may write its state: that is no more
chmod 775 "$place/a" && mkdir -m 775 "$place/a.blkrep"
t_ok blkrep sync "$place/a" "$place/b"
chmod 644 "$place/a"
refused 3 "may be forged" sync "$place/a" "$place/b"
chmod 700 "$place/a.blkrep"
t_ok blkrep sync "$place/a" "$place/b"

# links in the place of what is to be made
other ln -s "$T/victim/file" "$place/b.blkrep-new"
t_ok blkrep sync --force-full "$place/a" "$place/b"
other ln -s "$T/victim/new" "$place/c"
refused 1 "leads nowhere" sync "$place/a" "$place/c"
rm "$place/c"
[[ $(cat "$T/victim/file") == secret ]] || t_fail "a link was followed"

# the state folder
chmod 770 "$BLKREP_STATE"
for verb in "sync $place/a $place/b" "token create" "client list" serve; do
    # shellcheck disable=SC2086 # words
    refused 1 "chmod 700" $verb
done
chmod 700 "$BLKREP_STATE"
mkdir "$T/theirs" && chown 65534 "$T/theirs"
refused 1 "runuser -u" status --state="$T/theirs"
refused 1 "runuser -u" token create --state="$T/theirs"
[[ -z $(ls "$T/theirs") ]] || t_fail "files of root in another user's state"

# and what is made is closed, whatever the umask
umask 0
t_ok blkrep sync "$place/a" "$place/new"
BLKREP_STATE=$T/fresh t_ok blkrep token create
BLKREP_STATE=$T/fresh t_ok blkrep sync "$place/a" "$place/new"
open=$(find "$place/new" "$place/new.blkrep" "$T/fresh" -perm /077)
[[ -z $open ]] || t_fail "others may open $open"
