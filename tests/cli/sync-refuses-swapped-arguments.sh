#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The replica named as source of its own origin is refused (status 3), whatever overrides are given; the origin keeps its bytes.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d"
t_random "$T/d/a" 1M 1
t_ok blkrep sync "$T/d/a" "$T/d/b"
t_random_at "$T/d/a" 4096 4096 2 # what would be lost
t_remember "$T/d/a" "$T/d/b"
for options in "" --overwrite "--overwrite --yes --force-full" --dry-run --live-source; do
    # shellcheck disable=SC2086 # several words on purpose
    t_run blkrep sync --json $options "$T/d/b" "$T/d/a"
    t_refused 3 SWAPPED
    t_stderr_has "$T/d/b"
    t_nothing_changed "$T/d/a" "$T/d/b"
done
t_ok blkrep sync "$T/d/a" "$T/d/b"
t_file_equal "$T/d/a" "$T/d/b"
# failback is named: forget first, then it is another source
t_stderr_lacks forget
t_run blkrep sync "$T/d/b" "$T/d/a"
t_stderr_has forget
