#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every page of blkrep manual is there, is made of the program's own tables, and is troff that mandoc has nothing to say against; the pages
# name each other truly.
. "$(dirname "$0")/../lib/cli.sh"

t_need mandoc

mkdir "$T/man"
t_ok blkrep manual
cp "$T/out" "$T/list"
while read -r page; do
    t_ok blkrep manual "$page"
    [[ -s $T/out ]] || t_fail "$page is empty"
    cp "$T/out" "$T/man/$page"
done <"$T/list"
cp "$T_TOP"/tools/man/*.[1-8] "$T/man/"
rm "$T/man/bash-completion"
[[ -e $T/man/blkrep.1 && -e $T/man/blkrep.conf.5 && -e $T/man/blkrep-errors.7 && -e $T/man/blkrep-stream.5 ]] || t_fail "a page lacks"

for page in "$T"/man/*; do
    t_ok mandoc -Tlint -Wwarning "$page"
    t_stdout_empty
    mandoc -Tutf8 -O width=80 "$page" | sed 's/.\x08//g' >"$T/text"
    ! awk 'length($0) > 80 { exit 1 }' "$T/text" && t_fail "${page##*/} does not fit 80 columns: $(awk 'length($0) > 80' "$T/text" | head -n 1)"
    grep -q '^NAME' "$T/text" || t_fail "${page##*/} has no NAME"
    # a backquote left over is a `word` that was not closed
    ! grep -q '`' "$T/text" || t_fail "${page##*/} shows a backquote"
done

# each blkrep page that a page names exists
for page in "$T"/man/*; do
    mandoc -Tutf8 -O width=1000 "$page" | sed 's/.\x08//g' >"$T/text"
    while read -r name section; do
        [[ -e $T/man/$name.$section ]] || t_fail "${page##*/} names $name($section), which does not exist"
    done < <(grep -oE '\bblkrep[a-z.-]*\([1-8]\)' "$T/text" | sed 's/(\(.\))/ \1/' | sort -u)
done

# a verb's page has each of its options, and --help the same ones
while read -r page; do
    [[ $page == blkrep-*.1 ]] || continue
    verb=${page#blkrep-} verb=${verb%.1}
    read -r -a words <<<"${verb//-/ }"
    t_ok blkrep "${words[@]}" --help
    grep -oE '^  --[a-z-]+' "$T/out" | tr -d ' ' | sort >"$T/help"
    mandoc -Tutf8 -O width=80 "$T/man/$page" | sed 's/.\x08//g' | awk '/^[A-Z]/ { on = /^OPTIONS/ } on' |
        grep -oE '^       --[a-z-]+' | tr -d ' ' | sort >"$T/page"
    [[ $(wc -l <"$T/help") -ge 5 ]] || t_fail "$verb --help shows fewer options than every verb has"
    cmp -s "$T/help" "$T/page" || t_fail "$verb: --help and $page differ: $(diff "$T/help" "$T/page" | tr '\n' ' ')"
done <"$T/list"

# every name of an error is on blkrep-errors(7) with its exit status
mandoc -Tutf8 -O width=80 "$T/man/blkrep-errors.7" | sed 's/.\x08//g' >"$T/text"
while read -r name status; do
    grep -qE "^       $name \(status $status\)" "$T/text" || t_fail "blkrep-errors(7) lacks $name with status $status"
done <<'ERRORS'
USAGE 2
REFUSED 3
VERIFY 4
PEER 5
NO_SPACE 6
BUSY 7
GAPS 8
ERRORS

t_run blkrep manual no-such-page
t_status 1
t_stderr_has "no-such-page"
t_run blkrep manual blkrep.1 --json
t_status 2
