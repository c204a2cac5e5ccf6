#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/demo does what it says it does, also under an odd TMPDIR, shows its table at the end, and leaves nothing behind.
. "$(dirname "$0")/../lib/cli.sh"

PATH=$PATH:/usr/sbin:/sbin t_need mke2fs debugfs e2fsck jq column
mkdir "$T/an odd place"
TMPDIR="$T/an odd place" t_ok "$T_TOP/scripts/demo" --no-setup --small
t_stdout_has "byte for byte the same"
t_stdout_has "generation 2"
awk '/^first copy / && $4 > 1 { a = 1 } /^delta / && $2 > 0 && $2 < 5 && $3 < 5 { b = 1 } /^resumed / && $2 > 5 { c = 1 } END { exit !(a && b && c) }' "$T/out" ||
    t_fail "the table is not as it should be"
[[ -z $(ls -A "$T/an odd place") ]] || t_fail "left behind: $(ls -A "$T/an odd place")"
t_run "$T_TOP/scripts/demo" --nonsense
t_status 2
