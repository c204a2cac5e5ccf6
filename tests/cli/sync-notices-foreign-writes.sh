#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A replica that something else wrote to is refused before a delta (status 3, offset named), times restored or not; --force-full makes it anew.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 4M 1
foreign() { # OFFSET HOW: a byte of the replica is changed; the next delta is refused, nothing of it is written
    t_ok blkrep sync "$T/a" "$T/b"
    cp -p "$T/b" "$T/times"
    printf 'FOREIGN' | dd of="$T/b" bs=1 seek="$1" conv=notrunc status=none
    [[ $2 == seen ]] || touch -r "$T/times" "$T/b"
    cp "$T/b" "$T/before"
    t_random_at "$T/a" "$(($1 / 4096 * 4096))" 4096 "$RANDOM"
    t_run blkrep sync --json "$T/a" "$T/b"
    t_refused 3 FOREIGN_WRITE
    t_stderr_has "at byte"
    t_stderr_has --force-full
    t_file_equal "$T/b" "$T/before"
    t_ok blkrep sync --json --force-full "$T/a" "$T/b"
    t_json_is fallback_reason forced
    t_file_equal "$T/a" "$T/b"
    t_ok blkrep verify "$T/b"
}
foreign 2000000 seen
foreign 2000000 hidden
foreign 10 hidden
foreign 4194000 seen
# grown or cut behind our back
for size in 4194305 100; do
    t_ok blkrep sync "$T/a" "$T/b"
    truncate -s "$size" "$T/b"
    t_random_at "$T/a" 0 4096 "$RANDOM"
    t_run blkrep sync --json "$T/a" "$T/b"
    t_refused 3 FOREIGN_WRITE
    [[ $(stat -c %s "$T/b") == "$size" ]] || t_fail "the replica was changed"
    t_ok blkrep sync --force-full "$T/a" "$T/b"
    t_file_equal "$T/a" "$T/b"
done
# moved times alone, a copy over it, another owner's mode: proven, not refused
touch "$T/b"
t_ok blkrep sync "$T/a" "$T/b"
cp "$T/b" "$T/n" && mv "$T/n" "$T/b"
chmod 640 "$T/b"
t_random_at "$T/a" 0 4096 4
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is bytes_shipped 4096
t_file_equal "$T/a" "$T/b"
