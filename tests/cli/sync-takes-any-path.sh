#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Paths with spaces, newlines, quotes, bytes that are no UTF-8 and a leading dash are paths like any other; JSON stays valid.
. "$(dirname "$0")/../lib/cli.sh"

mkdir "$T/d" && cd "$T/d"
# shellcheck disable=SC2016 # not to be expanded
for name in 'with space' $'new\nline' $'tab\t' 'qu"o'\''te' $'no\xffutf8\xfe' '*' '%s%n' '$(reboot)' ünïcödé '-dash' '--json' '..x' "$(printf 'l%.0s' {1..200})"; do
    t_random "./$name" 70000 3
    t_ok blkrep sync --json -- "$name" "$name.to"
    tail -n 1 "$T/out" | jq -e . >/dev/null || t_fail "no JSON"
    [[ $(wc -l <"$T/out") -ge 1 && $(tail -n 1 "$T/out" | jq -r .type) == exit ]] || t_fail "the exit object is not one line"
    t_file_equal "./$name" "./$name.to"
    printf x >>"./$name"
    t_ok blkrep sync -- "$name" "$name.to"
    t_file_equal "./$name" "./$name.to"
    t_ok blkrep verify -- "$name.to"
    t_ok blkrep status --json -- "$name.to"
    jq -e . "$T/out" >/dev/null || t_fail "status prints no JSON"
done
t_ok blkrep status
# what says it to people keeps one line a line
t_run blkrep sync $'not\nthere' to
t_status 1
[[ $(wc -l <"$T/err") -eq 2 ]] || t_fail "a newline in a name breaks the message"
# a name too long to keep its state beside it, and one that is not a name at all
long=$(printf 'l%.0s' {1..250})
: >"$long"
t_run blkrep sync -- "$long" x
t_status 2
t_run blkrep sync '' x
t_status 2
t_run blkrep sync -- 'with space' no/such/folder/x
t_status 1
t_stderr_has "no/such/folder"
t_run blkrep sync -- 'with space' /
[[ $T_STATUS -ne 0 ]] || t_fail "a folder was taken for a replica"
t_run blkrep sync -- 'with space' .
[[ $T_STATUS -ne 0 ]] || t_fail "a folder was taken for a replica"
t_run blkrep sync -- . x2
[[ $T_STATUS -ne 0 && ! -e x2 ]] || t_fail "a folder was taken for a source"
t_run blkrep sync -- /dev/null x3
[[ $T_STATUS -ne 0 && ! -e x3 ]] || t_fail "a character device was taken for a source"
mkfifo pipe
t_run blkrep sync -- pipe x4
[[ $T_STATUS -ne 0 && ! -e x4 ]] || t_fail "a pipe was taken for a source"
