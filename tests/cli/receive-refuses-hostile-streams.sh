#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stream that is cut, flipped, reordered, replayed, foreign or no stream at all is refused with its status; the replica stays as it is.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 1M 1
"$BLKREP" send "$T/a" >"$T/full" 2>"$T/err" || t_fail "send"
t_random_at "$T/a" 65536 8192 2
"$BLKREP" send --since=last "$T/a" >"$T/d1" || t_fail "send"
cp "$T/a" "$T/a1"
t_random_at "$T/a" 0 8192 3
"$BLKREP" send --since=last "$T/a" >"$T/d2" || t_fail "send"
take() { t_run_in "$1" blkrep receive --json "$T/b"; }
take "$T/d1" # nothing is there that it could start from
[[ $T_STATUS -eq 3 ]] || t_fail "a delta without its parent"
[[ ! -s $T/b ]] || t_fail "a delta without its parent wrote something"
take "$T/full"
t_status 0
take "$T/d2" # out of order
t_refused 3 WRONG_PARENT
t_stderr_has "blkrep sync"
take "$T/d1"
t_status 0
t_file_equal "$T/a1" "$T/b"
size=$(stat -c %s "$T/d2")
for len in 0 1 15 16 100 $((size / 2)) $((size - 1)); do
    head -c "$len" "$T/d2" >"$T/cut"
    take "$T/cut"
    t_status 4
    t_file_equal "$T/a1" "$T/b"
done
for ((at = 0; at < size; at += size / 12 + 1)); do
    cp "$T/d2" "$T/flip"
    byte=$((0x$(xxd -s "$at" -l 1 -p "$T/flip") ^ 0x10))
    printf '%b' "\\x$(printf %02x "$byte")" | dd of="$T/flip" bs=1 seek="$at" conv=notrunc status=none
    take "$T/flip"
    [[ $T_STATUS -eq 4 || $T_STATUS -eq 1 ]] || t_fail "a flipped bit at $at gave status $T_STATUS"
    t_file_equal "$T/a1" "$T/b"
done
t_random "$T/noise" 100K 5
take "$T/noise"
[[ $T_STATUS -eq 4 || $T_STATUS -eq 1 ]] || t_fail "noise gave status $T_STATUS"
t_file_equal "$T/a1" "$T/b"
take "$T/d2"
t_status 0
t_file_equal "$T/a" "$T/b"
take "$T/d2" # replayed: told, and harmless
[[ $T_STATUS -eq 0 || $T_STATUS -eq 3 ]] || t_fail "a replayed delta gave status $T_STATUS"
t_file_equal "$T/a" "$T/b"
take "$T/d1"
t_status 3
t_file_equal "$T/a" "$T/b"
# another volume's
t_random "$T/other" 1M 9
"$BLKREP" send "$T/other" >"$T/foreign" || t_fail "send"
take "$T/foreign"
t_refused 3 TARGET_FOREIGN
t_file_equal "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
# through a pipe
"$BLKREP" send "$T/other" | "$BLKREP" receive "$T/c" >/dev/null || t_fail "through a pipe"
t_file_equal "$T/other" "$T/c"
# its own words on stdout are refused where they would mix with the stream
t_run blkrep send --json "$T/a"
t_status 2
