#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# forget drops what is known and keeps the bytes; adopt takes a moved replica over only when every block is proven.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 1M 1
t_ok blkrep sync "$T/a" "$T/b"
t_run blkrep forget "$T/b" # nobody there to ask
t_status 3
t_stderr_has --yes
t_ok blkrep verify "$T/b"
t_ok blkrep forget --yes "$T/b"
t_file_equal "$T/a" "$T/b"
[[ ! -e $T/b.blkrep ]] || t_fail "state is left"
t_run blkrep verify "$T/b"
t_status 1
t_run blkrep forget --yes "$T/b"
t_status 1
t_run blkrep forget --yes "$T/none"
t_status 1
t_stderr_has "$T/none"
t_run blkrep sync "$T/a" "$T/b"
t_status 3
t_ok blkrep sync --overwrite "$T/a" "$T/b"
# moved with its folder
mkdir "$T/new"
mv "$T/b" "$T/b.blkrep" "$T/new/"
t_ok blkrep adopt "$T/new/b"
t_ok blkrep sync --json "$T/a" "$T/new/b"
t_json_is bytes_shipped 0
# copied without it
cp "$T/new/b" "$T/copy"
t_run blkrep adopt "$T/copy"
t_status 1
t_stderr_has --from
t_ok blkrep adopt --from="$T/new/b.blkrep" "$T/copy"
t_ok blkrep verify "$T/copy"
# not what it was
cp "$T/new/b" "$T/bad"
t_random_at "$T/bad" 4096 10 3
cp "$T/bad" "$T/bad.before"
t_run blkrep adopt --from="$T/new/b.blkrep" "$T/bad"
[[ $T_STATUS -eq 4 || $T_STATUS -eq 3 ]] || t_fail "a changed copy was adopted"
t_file_equal "$T/bad" "$T/bad.before"
t_run blkrep adopt --from="$T/nowhere" "$T/bad"
[[ $T_STATUS -ne 0 ]] || t_fail "adopted from nowhere"
