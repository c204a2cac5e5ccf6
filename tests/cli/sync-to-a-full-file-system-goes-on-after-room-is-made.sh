#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A full target gives status 6 and keeps the old version whole; the same command goes on after room is made. A full state folder gives
# status 6 before anything is changed.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_mount tmpfs "$T/small" size=6M
t_random "$T/a" 2M 1
t_ok blkrep sync "$T/a" "$T/small/b"
# a small delta fits where a large one would not
t_random_at "$T/a" 0 4096 2
t_ok blkrep sync "$T/a" "$T/small/b"
t_file_equal "$T/a" "$T/small/b"
cp "$T/small/b" "$T/old"
head -c 100M /dev/zero >"$T/small/ballast" 2>/dev/null || true
t_random "$T/a" 2M 3
t_run blkrep sync --json "$T/a" "$T/small/b"
t_refused 6 NO_SPACE
t_stderr_has "$T/small/b"
t_file_equal "$T/small/b" "$T/old"
rm "$T/small/ballast"
t_ok blkrep verify "$T/small/b"
t_ok blkrep sync "$T/a" "$T/small/b"
t_file_equal "$T/a" "$T/small/b"
# a first copy that does not fit
t_random "$T/big" 8M 4
t_run blkrep sync --json "$T/big" "$T/small/c"
t_refused 6 NO_SPACE
t_file_equal "$T/a" "$T/small/b"
umount "$T/small"
t_mount tmpfs "$T/small" size=20M
t_ok blkrep sync --json "$T/big" "$T/small/c"
t_file_equal "$T/big" "$T/small/c"
# the state folder
t_mount tmpfs "$T/statefs" size=64K
head -c 1M /dev/zero >"$T/statefs/ballast" 2>/dev/null || true
mkdir "$T/d"
t_random "$T/d/a" 1M 5
t_remember "$T/d"
t_run blkrep sync --json --state="$T/statefs" "$T/d/a" "$T/d/b"
t_refused 6 NO_SPACE
t_stderr_has "$T/statefs"
t_nothing_changed "$T/d"
