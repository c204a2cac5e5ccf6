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
    head -n 1 "$T/out" | jq -e '.unreadable_blocks == 16 and .gaps == [{"offset_bytes": 3145728, "len_bytes": 1048576}]' >/dev/null ||
        t_fail "status does not tell the gaps"
    t_ok blkrep status "$T/b"
    t_stdout_has "gaps               16 blocks"
    t_stdout_has "bytes 3145728-4194303"
    t_ok blkrep status
    t_stdout_has "gaps: 16 blocks"
    t_run blkrep verify --json "$T/b"
    t_refused 8 GAPS
    t_stderr_has "bytes 3145728-4194303"
    t_json_is error.offset_bytes 3145728
    t_json_is unreadable_blocks 16
    t_json_is bad_blocks 0
    t_json_is 'gaps[0].len_bytes' 1048576
    printf x | dd of="$T/b" bs=1 seek=70000 conv=notrunc status=none # what is there is proven all the same
    t_run blkrep verify --json "$T/b"
    t_refused 4 VERIFY
    dd if="$T/whole" of="$T/b" bs=1 skip=70000 seek=70000 count=1 conv=notrunc status=none
    t_run blkrep verify "$T/b"
    t_status 8
    t_unloop "$T_LOOP"
    cp "$T/whole" "$T/fresh" && cat "$T/fresh" >"$T/disk"
    t_loop "$T/disk"
    t_ok blkrep sync --json --io=$io "$T_LOOP" "$T/b"
    t_json_is unreadable_blocks 0
    t_ok blkrep verify --json "$T/b"
    t_file_equal "$T/whole" "$T/b"
    t_unloop "$T_LOOP"
    "$BLKREP" forget --yes "$T/b" >/dev/null
done
