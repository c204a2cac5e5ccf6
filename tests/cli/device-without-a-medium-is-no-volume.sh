#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A device that lost its medium has a size of 0. It is refused as source and target, and its replica keeps every byte; a file may be empty.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_root
t_random "$T/disk" 1M 1
cp "$T/disk" "$T/old"
t_loop "$T/disk"
t_ok blkrep sync "$T_LOOP" "$T/replica"
: >"$T/disk"
losetup -c "$T_LOOP"
t_run blkrep sync --json "$T_LOOP" "$T/replica"
t_refused 1 NOT_FOUND
t_stderr_has "$T_LOOP has no medium"
t_file_equal "$T/old" "$T/replica"
t_run blkrep sync --json "$T_LOOP" "$T/new"
t_refused 1 NOT_FOUND
[[ ! -e $T/new && ! -e $T/new.blkrep ]] || t_fail "a refused source left a target behind"
t_run blkrep send "$T_LOOP"
t_status 1
: >"$T/empty"
t_run blkrep sync --json "$T/empty" "$T_LOOP"
t_refused 1 NOT_FOUND
t_ok blkrep sync "$T/empty" "$T/new"
t_file_equal "$T/empty" "$T/new"
# the medium is back
cp "$T/old" "$T/disk"
losetup -c "$T_LOOP"
t_ok blkrep sync --json "$T_LOOP" "$T/replica"
t_json_is bytes_shipped 0
