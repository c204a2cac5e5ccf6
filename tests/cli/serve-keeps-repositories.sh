#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A repository that blkrep serve keeps is used as one in a directory: made, written, listed, restored byte for byte, proven, its keys changed;
# by address and by name; what comes through the server is the same as what lies in its directory.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

export BLKREP_PASSPHRASE=served
s_configure "[repository main]" "path = $T/main" "serve = yes" "[repository local]" "path = $T/local"
s_start
s_pair boss --role=admin
s_pair writer
R=$S_URL/main

s_as writer t_run blkrep init "$R"
t_status 1
t_stderr_has "not made yet: a client that is an admin"
! grep -qF "$T/main" "$T/err" || t_fail "the server's path is told"
s_as boss t_ok blkrep init "$R"
s_as boss t_run blkrep init "$R"
t_status 3
t_random "$T/a.img" 40M 1
s_as writer t_ok blkrep backup --json "$T/a.img" "$R"
t_json_is repository "$R"
cp "$T/a.img" "$T/first"
printf changed | dd of="$T/a.img" bs=1 seek=3000000 conv=notrunc status=none
truncate -s 41M "$T/a.img"
s_as writer t_ok blkrep backup --json "$T/a.img" "$R"
bytes=$(t_json .bytes_stored)
[[ $bytes -lt 2000000 ]] || t_fail "the second point stored $bytes bytes"

s_as writer t_ok blkrep points --json "$R"
t_json_is points 2
s_as writer t_ok blkrep restore "$R@latest" "$T/back"
t_file_equal "$T/a.img" "$T/back"
s_as writer t_ok blkrep restore "$R@latest~1" "$T/back1"
t_file_equal "$T/first" "$T/back1"
s_as writer t_ok blkrep verify --data "$R"
s_as writer t_ok blkrep verify "$R@latest"

# with nothing remembered, and from the directory itself
rm -rf "$T/client-writer/repositories"
s_as writer t_ok blkrep restore "$R@latest" "$T/back2"
t_file_equal "$T/a.img" "$T/back2"
t_ok blkrep restore "$T/main@latest" "$T/back3"
t_file_equal "$T/a.img" "$T/back3"

# by a name of the client's configuration
printf '[repository there]\npath = %s\n' "$R" >"$T/client.conf"
chmod 600 "$T/client.conf"
s_as writer t_ok blkrep points --config="$T/client.conf" --json there
t_json_is points 2

# keys are an admin's
s_as boss t_ok blkrep key list --json "$R"
printf 'another\n' >"$T/another"
chmod 600 "$T/another"
s_as boss t_ok blkrep key add --new-passphrase-file="$T/another" "$R"
s_as writer t_ok blkrep points --passphrase-file="$T/another" "$R"
s_as boss t_ok blkrep key rotate "$R"
s_as writer t_ok blkrep backup "$T/a.img" "$R" --type=full
s_as writer t_ok blkrep verify --data "$R"
s_as writer t_run blkrep key shred "$R" 1 --yes
t_status 5
s_as boss t_ok blkrep key shred "$R" 1 --yes
for who in boss writer; do # the note is there for whoever asks
    s_as "$who" t_ok blkrep points --json "$R"
    t_json_is points 1
    [[ $who == writer ]] || t_stderr_lacks "not there any more" # who shredded knows
    s_as "$who" t_ok blkrep verify --data "$R"
done

# one that is not there, one that is not served, one that is a replica
s_as writer t_run blkrep points "$S_URL/none"
t_status 1
t_stderr_has "keeps no repository none"
s_as boss t_run blkrep init "$S_URL/local"
t_status 1
[[ ! -e $T/local ]] || t_fail "a repository was made that is not served"
s_as writer t_ok blkrep sync "$T/a.img" "$S_URL/replica"
s_as writer t_ok blkrep verify --json "$S_URL/replica"
t_json_is state complete

s_as writer t_run env BLKREP_PASSPHRASE=wrong "$BLKREP" points "$R"
t_status 1
t_stderr_has "not one of its keys"
s_audit server | grep '"act":"put","object":"points/' >/dev/null || t_fail "no audit line of a point"
s_stop
