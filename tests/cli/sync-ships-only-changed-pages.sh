#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A delta ships the 4 KiB pages that differ and no more; a run without changes ships nothing and makes no version.
. "$(dirname "$0")/../lib/cli.sh"

t_random "$T/a" 8M 1
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is fallback_reason first-copy
root=$(t_json root)
t_random_at "$T/a" 4096 4096 2
t_random_at "$T/a" 3M 8192 3
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is bytes_changed 12288
t_json_is bytes_shipped 12288
t_json_is bytes_written 12288
t_json_is generation 2
[[ $(tail -n 1 "$T/out" | jq .fallback_reason) == null ]] || t_fail "a delta that names a fallback"
[[ $(t_json root) != "$root" ]] || t_fail "another content has the same root"
t_file_equal "$T/a" "$T/b"
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is bytes_shipped 0
t_json_is new_version false
t_json_is generation 2
t_le 1 "$(t_json bytes_rechecked)" "the recheck of a run without changes"
# a byte back as it was: the old content has the old root
t_random "$T/a" 8M 1
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is root "$root"
t_json_is generation 3
