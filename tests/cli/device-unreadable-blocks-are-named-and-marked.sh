#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Blocks that can't be read fail the run and are named by offset; --continue-on-read-error saves the rest, marks them and exits with 8; a
# later run that can read them repairs the replica.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
for io in aio uring; do
    rm -rf "$T/b" "$T/b.blkrep"
    t_random "$T/disk" 4M 1
    cp "$T/disk" "$T/whole"
    t_loop "$T/disk"
    truncate -s 3M "$T/disk" # what lies behind the end of the file gives EIO on the loop device
    t_run dd if="$T_LOOP" bs=64K skip=56 count=1 iflag=direct of=/dev/null
    [[ $T_STATUS -ne 0 ]] || t_skip "a cut backing file reads as zeros here"
    t_run blkrep sync --json --io=$io "$T_LOOP" "$T/b"
    t_refused 1 SOURCE_READ
    t_json_is error.offset_bytes $((3 << 20))
    t_stderr_has "$T_LOOP"
    t_stderr_has --continue-on-read-error
    t_run blkrep sync --json --io=$io --continue-on-read-error "$T_LOOP" "$T/b"
    t_refused 8 GAPS
    t_json_is unreadable_blocks 16
    cmp -n $((3 << 20)) "$T/whole" "$T/b" || t_fail "what can be read was not saved"
    t_ok blkrep status --json "$T/b"
    t_run blkrep verify --json "$T/b"
    [[ $T_STATUS -eq 0 || $T_STATUS -eq 8 ]] || t_fail "verify of a replica with gaps"
    t_json_is unreadable_blocks 16
    t_unloop "$T_LOOP"
    cp "$T/whole" "$T/fresh" && cat "$T/fresh" >"$T/disk"
    t_loop "$T/disk"
    t_ok blkrep sync --json --io=$io "$T_LOOP" "$T/b"
    t_json_is unreadable_blocks 0
    t_file_equal "$T/whole" "$T/b"
    t_unloop "$T_LOOP"
    "$BLKREP" forget --yes "$T/b" >/dev/null
done
