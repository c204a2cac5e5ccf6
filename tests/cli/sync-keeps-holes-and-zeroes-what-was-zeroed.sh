#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Holes are neither read, shipped nor allocated; a range that became zero, by a hole or by zeros, reads as zero on the replica.
. "$(dirname "$0")/../lib/cli.sh"
t_need fallocate

t_hole "$T/a" 64M
t_random_at "$T/a" 1M 1M 1
t_random_at "$T/a" 40M 1M 2
t_ok blkrep sync --json "$T/a" "$T/b"
t_le "$(t_json bytes_read)" $((4 << 20)) "bytes read of a file with 2 MiB of data"
t_json_is bytes_shipped $((2 << 20))
t_le "$(($(stat -c %b "$T/b") * 512))" $((4 << 20)) "allocated by the replica"
t_file_equal "$T/a" "$T/b"
fallocate --punch-hole --offset 1M --length 512K "$T/a"
dd if=/dev/zero of="$T/a" bs=1M seek=40 count=1 conv=notrunc status=none
dd if=/dev/zero of="$T/a" bs=4096 seek=300 count=1 conv=notrunc status=none
t_ok blkrep sync --json "$T/a" "$T/b"
t_le "$(t_json bytes_shipped)" $((64 << 10)) "shipped for zeros"
t_file_equal "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
