#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What README files point to exists: every link to a file of the tree, and every script and make target that is shown.
# plain: about the text of README files
. "$(dirname "$0")/../lib/cli.sh"

cd "$T_TOP"
checked=0
for readme in README.md tests/README.md engine/README.md tests/bench/README.md; do
    [[ -f $readme ]] || continue
    while read -r link; do
        [[ $link == *://* || $link == '#'* ]] && continue
        [[ -e $(dirname "$readme")/${link%%#*} ]] || t_fail "$readme links to $link, which does not exist"
        checked=$((checked + 1))
    done < <(grep -oE '\]\([^)]+\)' "$readme" | sed 's/^](//; s/)$//')
    while read -r script; do
        [[ -x $script ]] || t_fail "$readme shows $script, which can't be run"
        checked=$((checked + 1))
    done < <(grep -oE '\bscripts/[a-z][a-z-]*' "$readme" | grep -vx scripts/lib | sort -u)
    while read -r target; do
        grep -qE "^$target:.*## " Makefile || t_fail "$readme shows make $target, which make help does not list"
        checked=$((checked + 1))
    done < <(grep -oE '\bmake [a-z_]+`' "$readme" | sed 's/^make //; s/`$//' | sort -u)
done
[[ $checked -gt 5 ]] || t_fail "only $checked things were found to check"
