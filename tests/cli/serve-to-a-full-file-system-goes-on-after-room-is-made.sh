#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A server whose disk is full gives status 6 and keeps the old version whole, at a first copy, a delta and a growth; the same command goes on
# after room is made. A server whose state folder is full refuses before anything is changed.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_mount tmpfs "$T/small" size=6M
s_configure "[replica small]" "path = $T/small/r"
s_start
s_pair alice
full() { # full: the run ends with status 6 and names the replica
    s_as alice t_run blkrep sync --json "$T/a" "$S_URL/small"
    t_refused 6 NO_SPACE
    t_stderr_has "$S_URL/small"
}
good() { # good: it goes on, and is proven
    s_as alice t_ok blkrep sync --json --verify "$T/a" "$S_URL/small"
    t_file_equal "$T/a" "$T/small/r"
}
t_random "$T/a" 8M 1
full
mount -o remount,size=30M "$T/small"
good
t_json_is generation 1
# a delta whose stage does not fit
cp "$T/small/r" "$T/old"
head -c 100M /dev/zero >"$T/small/ballast" 2>/dev/null || true
t_random "$T/a" 8M 2
full
t_file_equal "$T/old" "$T/small/r"
rm "$T/small/ballast"
good
# a growth
cp "$T/small/r" "$T/old"
t_random "$T/a" 24M 3
full
t_file_equal "$T/old" "$T/small/r"
mount -o remount,size=80M "$T/small"
good
t_json_is generation 3
s_stop

# the state folder of the server
mv "$S_STATE" "$T/kept"
t_mount tmpfs "$S_STATE" size=256K
cp -a "$T/kept/." "$S_STATE/"
s_start
head -c 10M /dev/zero >"$S_STATE/ballast" 2>/dev/null || true
t_remember "$T/small"
t_random_at "$T/a" 0 4096 4
full
t_nothing_changed "$T/small"
rm "$S_STATE/ballast"
good
s_server t_ok blkrep status --audit
s_stop
