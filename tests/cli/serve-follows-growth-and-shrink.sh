#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Over a session too a replica is byte for byte its source at every odd size, and follows it when it grows and shrinks; a device behind the
# server keeps what lies behind the end of a smaller source.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

s_configure
s_start
s_pair alice
for size in 0 1 511 4095 4097 65535 65537 1048577; do
    t_stream "$size" "$size" >"$T/a"
    s_as alice t_ok blkrep sync --json "$T/a" "$S_URL/odd-$size"
    t_json_is size_bytes "$size"
    t_json_is bytes_durable "$size"
    t_file_equal "$T/a" "$T/replicas/odd-$size"
    [[ $size -eq 0 ]] || printf X | dd of="$T/a" bs=1 seek=$((size - 1)) conv=notrunc status=none
    s_as alice t_ok blkrep sync --verify "$T/a" "$S_URL/odd-$size"
    t_file_equal "$T/a" "$T/replicas/odd-$size"
done
t_random "$T/b" 1M 1
s_as alice t_ok blkrep sync "$T/b" "$S_URL/db"
for size in 3000000 3000001 70000 65536 65535 1 0 200000; do
    truncate -s "$size" "$T/b"
    [[ $size -eq 0 ]] || t_random_at "$T/b" 0 "$((size < 5000 ? size : 5000))" "$size"
    s_as alice t_ok blkrep sync --json "$T/b" "$S_URL/db"
    t_json_is size_bytes "$size"
    t_file_equal "$T/b" "$T/replicas/db"
done
t_random "$T/b" 2M 7
s_as alice t_ok blkrep sync --verify "$T/b" "$S_URL/db"
t_file_equal "$T/b" "$T/replicas/db"

# a device
t_hole "$T/disk" 4M
t_random_at "$T/disk" 3M 1M 8
t_loop "$T/disk"
s_configure "[replica disk]" "path = $T_LOOP"
kill -HUP "$S_PID"
reread() { grep -q anew "$T/server.err"; }
t_wait_for 5 reread
tail -c 1M "$T_LOOP" | cksum >"$T/tail"
for size in 65535 2097152 4097; do
    t_stream "$size" "$size" >"$T/c"
    s_as alice t_ok blkrep sync --json "$T/c" "$S_URL/disk"
    cmp -n "$size" "$T/c" "$T_LOOP" || t_fail "the device differs at $size bytes"
    tail -c 1M "$T_LOOP" | cksum | cmp - "$T/tail" || t_fail "what lies behind the source's end was written to"
done
t_random "$T/c" 5M 9
s_as alice t_run blkrep sync --json "$T/c" "$S_URL/disk"
t_refused 3 TARGET_SMALL
t_stream 4097 4097 | cmp -n 4097 - "$T_LOOP" || t_fail "a refused run wrote to the device"
s_stop
