#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# State folders that are lost or damaged cost a compare or are told by name, never the replica: source's, replica's, a slot, both, the tree.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

flip() { # FILE OFFSET: one byte is another
    printf '%b' "\\x$(printf %02x $((0x$(xxd -s "$2" -l 1 -p "$1") ^ 0x40)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
t_need xxd
t_random "$T/a" 2M 1
next() { t_random_at "$T/a" 1M 4096 "$RANDOM"; }
t_ok blkrep sync "$T/a" "$T/b"
next
t_ok blkrep sync "$T/a" "$T/b"
# what the source knows of the replica: copied from the replica again, nothing shipped twice
rm "$T"/a.blkrep/to-*
next
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is fallback_reason state-lost
t_le "$(t_json bytes_shipped)" 65536 "shipped with the page hashes lost"
t_file_equal "$T/a" "$T/b"
# the source's own, damaged anywhere
for file in "$T"/a.blkrep/to-*.identity "$T"/a.blkrep/to-*.tree.*; do
    flip "$file" 40
    [[ $file != *.identity ]] || flip "$file" 4136
    next
    t_ok blkrep sync --json "$T/a" "$T/b"
    t_le "$(t_json bytes_shipped)" 65536 "shipped with the page hashes lost"
    t_file_equal "$T/a" "$T/b"
done
# one slot of the replica's identity: the other one, or the source, helps
for offset in 40 4136; do
    flip "$T/b.blkrep/identity" $offset
    t_ok blkrep verify "$T/b"
    next
    t_ok blkrep sync "$T/a" "$T/b"
    t_file_equal "$T/a" "$T/b"
done
# both: refused by name, bytes untouched; forced anew
cp "$T/b" "$T/before"
flip "$T/b.blkrep/identity" 40
flip "$T/b.blkrep/identity" 4136
for verb in verify finish; do
    t_run blkrep $verb "$T/b"
    t_status 4
    t_stderr_has "$T/b"
done
next
t_run blkrep sync --json "$T/a" "$T/b"
t_refused 4 CORRUPT
t_file_equal "$T/b" "$T/before"
t_ok blkrep status
t_ok blkrep sync --force-full --overwrite "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
# the replica's tree: never taken for good
flip "$T"/b.blkrep/tree.* 200 2>/dev/null || true
next
t_run blkrep sync "$T/a" "$T/b"
[[ $T_STATUS -eq 0 || $T_STATUS -eq 4 ]] || t_fail "a damaged tree"
[[ $T_STATUS -eq 0 ]] || t_ok blkrep sync --force-full "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
# all of the replica's state: it is a file like any other then
rm -rf "$T/b.blkrep"
t_run blkrep sync --json "$T/a" "$T/b"
t_refused 3 TARGET_FOREIGN
t_ok blkrep sync --overwrite "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
# all of the source's state: it is another volume then
rm -rf "$T/a.blkrep"
t_run blkrep sync --json "$T/a" "$T/b"
t_refused 3 TARGET_FOREIGN
t_ok blkrep sync --overwrite "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
