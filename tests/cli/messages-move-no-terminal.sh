#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whatever a name holds, what is said of it to people is plain characters, a line a line: no cursor moves, no colour starts.
. "$(dirname "$0")/../lib/cli.sh"

evil=$'e\e[31m\n\xc2\x9bx\r'
plain() { # LINES: the last t_run said so many lines on stderr, and no control character anywhere
    ! LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]\|\xc2\x9b' "$T/out" "$T/err" || t_fail "a control character was printed"
    [[ $(wc -l <"$T/err") -eq $1 ]] || t_fail "$(wc -l <"$T/err") lines on stderr instead of $1"
}
cd "$T"
t_random a 64K 1
t_run blkrep "$evil" && plain 2
t_run blkrep sync "--$evil" && plain 2
t_run blkrep sync "--every=$evil" a b && plain 2
t_run blkrep sync "--io=$evil" a b && plain 2
t_run blkrep sync a "blkrep://h/$evil" && plain 2
t_run blkrep sync a "blkrep://$evil/n" && plain 2
t_run blkrep sync "blkrep://h/n$evil" b && plain 2
t_run blkrep pair "$evil" && plain 2
t_run blkrep client revoke "$evil" && plain 2
t_run blkrep token create "--volumes=$evil" && plain 2
for verb in verify finish forget adopt status dump send; do
    t_run blkrep "$verb" "$evil" && plain 2
done
t_ok blkrep sync a "$evil"
plain 0
[[ $(wc -l <"$T/out") -eq 1 ]] || t_fail "more than a line of result"
t_ok blkrep verify "$evil" && plain 0
t_ok blkrep status && plain 0
t_ok blkrep status "$evil" && plain 0
t_run blkrep sync a a && plain 2
printf '[volume %s]\npath = x\n' $'x\e[31m' >"$T/evil.conf"
t_run blkrep sync --config="$T/evil.conf" a b && plain 2
t_random_at "$evil" 0 10 3
t_run blkrep verify "$evil"
t_status 4
plain 2
t_ok blkrep forget --yes "$evil" && plain 0
