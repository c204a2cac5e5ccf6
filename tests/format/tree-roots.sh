#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The golden roots of version trees are what the format's text says, by a second implementation that shares nothing with the first.
# tests/unit/test_tree_golden.c holds the engine against the same file.
. "$(dirname "$0")/../lib/cli.sh"

command -v python3 >/dev/null || t_skip "python3 is not installed"
cd "$T_TOP/tests/format" || exit 1
[[ $(wc -l <golden/tree-roots.txt) -ge 26 ]] || t_fail "golden roots were removed; they are kept for ever"
python3 tree-roots.py <golden/tree-roots.txt >"$T/roots"
diff golden/tree-roots.txt "$T/roots" || t_fail "golden/tree-roots.txt does not hold the roots that the format's text gives"
