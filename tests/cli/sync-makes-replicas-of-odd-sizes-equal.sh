#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A replica is byte for byte its source at every odd size, at the first copy and after a delta.
. "$(dirname "$0")/../lib/cli.sh"

for size in 0 1 511 4095 4097 65535 65537 1048577; do
    t_random "$T/a" 0 1
    t_stream "$size" "$size" >"$T/a"
    t_ok blkrep sync --json "$T/a" "$T/b.$size"
    t_json_is size_bytes "$size"
    t_json_is generation 1
    t_json_is bytes_durable "$size"
    t_file_equal "$T/a" "$T/b.$size"
    [[ $size -eq 0 ]] || printf X | dd of="$T/a" bs=1 seek=$((size - 1)) conv=notrunc status=none
    t_ok blkrep sync --json "$T/a" "$T/b.$size"
    t_file_equal "$T/a" "$T/b.$size"
    t_ok blkrep verify "$T/b.$size"
done
