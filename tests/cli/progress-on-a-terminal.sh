#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On a terminal progress is one line that is written over and cleared at the end; on a dumb one, or none, there is none, and the result is
# the same.
. "$(dirname "$0")/../lib/cli.sh"

t_need script
t_random "$T/a" 1M 1
shown() { # TERM: what a terminal of that kind is given by a sync
    rm -rf "$T/b" "$T/b.blkrep"
    TERM=$1 script -qec "$(printf '%q ' "$BLKREP" sync "$T/a" "$T/b")" /dev/null </dev/null >"$T/out" 2>"$T/err" || t_fail "sync on a terminal"
    t_file_equal "$T/a" "$T/b"
    t_stdout_has "$T/b: generation 1"
}
shown xterm
grep -q $'\r\e\\[Kscan ' "$T/out" || t_fail "no progress"
[[ $(grep -c '' "$T/out") -eq 1 ]] || t_fail "more than a line is left"
shown dumb
! grep -q $'\e' "$T/out" || t_fail "an escape sequence on a dumb terminal"
