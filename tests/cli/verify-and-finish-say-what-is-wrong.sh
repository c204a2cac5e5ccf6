#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# verify names the first bad block and how many there are (status 4); a name that is no replica is not found (status 1), nothing is made.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d"
t_random "$T/a" 1M 1
t_random "$T/d/plain" 5000 2
t_remember "$T/d"
for verb in verify finish; do
    t_run blkrep $verb --json "$T/d/none"
    t_refused 1 NOT_FOUND
    t_stderr_has "$T/d/none"
    t_run blkrep $verb --json "$T/d/plain"
    t_refused 1 NOT_FOUND
    t_run blkrep $verb blkrep://example.invalid/x
    t_status 2
    t_run blkrep $verb
    t_status 2
done
t_nothing_changed "$T/d" # not even a folder beside it
t_ok blkrep sync "$T/a" "$T/b"
t_ok blkrep finish "$T/b"
t_stdout_has "nothing to do"
t_ok blkrep verify --json "$T/b"
t_json_is bad_blocks 0
t_json_is state complete
cp -p "$T/b" "$T/times"
for at in 70000 900000; do printf x | dd of="$T/b" bs=1 seek=$at conv=notrunc status=none; done
touch -r "$T/times" "$T/b"
t_run blkrep verify --json "$T/b"
t_refused 4 VERIFY
t_json_is bad_blocks 2
t_json_is error.offset_bytes 65536
t_ok blkrep status --audit
t_ok blkrep sync --force-full "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
