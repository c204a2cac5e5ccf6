#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A source that is larger or smaller at the next run gives a replica of that size, data behind the old end included.
. "$(dirname "$0")/../lib/cli.sh"

t_random "$T/a" 1M 1
t_ok blkrep sync "$T/a" "$T/b"
for size in 1M 3000000 3000001 70000 65536 65535 1 0 200000; do
    truncate -s "$(t_bytes "$size")" "$T/a"
    t_ok blkrep sync --json "$T/a" "$T/b"
    t_json_is size_bytes "$(t_bytes "$size")"
    t_file_equal "$T/a" "$T/b"
    [[ $size == 0 ]] || t_random_at "$T/a" 0 "$(($(t_bytes "$size") < 5000 ? $(t_bytes "$size") : 5000))" "$(t_bytes "$size")"
done
t_ok blkrep sync "$T/a" "$T/b"
t_random "$T/a" 2M 7 # grown with data
t_ok blkrep sync "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
t_ok blkrep verify "$T/b"
