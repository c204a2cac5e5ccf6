#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Device to device, file to device and device to file, with sectors of 512 and 4096 bytes: first copy, delta, zeros, growth, a new loop name.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
for sector in 512 4096; do
    t_random "$T/s$sector" 4M 1
    t_hole "$T/t$sector" 6M
    t_loop "$T/s$sector" "$sector"
    source=$T_LOOP
    t_loop "$T/t$sector" "$sector"
    target=$T_LOOP
    t_ok blkrep sync --json "$source" "$target"
    t_json_is size_bytes $((4 << 20))
    cmp -n $((4 << 20)) "$source" "$target" || t_fail "first copy"
    dd if=/dev/zero of="$source" bs=64K seek=5 count=2 oflag=direct status=none
    t_stream 4096 7 | dd of="$source" bs=4096 seek=900 iflag=fullblock oflag=direct status=none
    t_ok blkrep sync --json "$source" "$target"
    t_json_is bytes_shipped 4096
    cmp -n $((4 << 20)) "$source" "$target" || t_fail "delta"
    t_ok blkrep verify "$target"
    t_ok blkrep sync --io=aio "$source" "$T/file$sector"
    t_file_equal "$source" "$T/file$sector"
    t_ok blkrep status --json "$target"
    # other records may tell of the same name: loop devices of the first round had it
    [[ $(jq -r --arg replica "$target" 'select(.type == "replica" and .replica == $replica) | .state_bytes' "$T/out") -gt 0 ]] ||
        t_fail "a device's state takes no room"
    # the same disk by another name is the same replica
    t_unloop "$target"
    t_loop "$T/t$sector" "$sector"
    t_ok blkrep sync --json "$source" "$T_LOOP"
    t_json_is bytes_shipped 0
    # forced: on a device the old version is lost first, so it must be accepted
    t_run blkrep sync --json --force-full "$source" "$T_LOOP"
    t_refused 3 REFUSED
    t_stderr_has --overwrite
    t_ok blkrep verify "$T_LOOP"
    t_ok blkrep sync --force-full --overwrite --yes "$source" "$T_LOOP"
    cmp -n $((4 << 20)) "$source" "$T_LOOP" || t_fail "forced"
    # written by something else: noticed before a delta
    t_stream 4096 8 | dd of="$T_LOOP" bs=4096 seek=0 iflag=fullblock oflag=direct status=none
    t_stream 4096 9 | dd of="$source" bs=4096 seek=0 iflag=fullblock oflag=direct status=none
    t_run blkrep sync --json "$source" "$T_LOOP"
    t_refused 3 FOREIGN_WRITE
    t_unloop "$T_LOOP"
    t_unloop "$source"
done
