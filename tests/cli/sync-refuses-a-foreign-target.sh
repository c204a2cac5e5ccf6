#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A target that holds anything is refused without --overwrite: status 3, what it holds is named, and not even a folder is left.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d"
t_random "$T/a" 1M 1
t_random "$T/d/file" 100000 2
t_mkfs_image "$T/d/ext4" 4M
t_hole "$T/d/holes" 1M
t_remember "$T/d"
t_run blkrep sync --json "$T/a" "$T/d/file"
t_refused 3 TARGET_FOREIGN
t_stderr_has "a file of"
t_stderr_has --overwrite
t_nothing_changed "$T/d"
t_run blkrep sync --json "$T/a" "$T/d/ext4"
t_refused 3 TARGET_FOREIGN
t_stderr_has ext4
t_nothing_changed "$T/d"
t_run blkrep sync --json "$T/a" "$T/d/holes"
t_refused 3 TARGET_FOREIGN
t_nothing_changed "$T/d"
# another volume's replica
t_random "$T/other" 1M 3
t_ok blkrep sync "$T/other" "$T/d/replica"
before=$(find "$T/d" -type f -print0 | sort -z | xargs -0 sha256sum)
t_run blkrep sync --json "$T/a" "$T/d/replica"
t_refused 3 TARGET_FOREIGN
t_stderr_has "another volume"
[[ $(find "$T/d" -type f -print0 | sort -z | xargs -0 sha256sum) == "$before" ]] || t_fail "another volume's replica was changed"
# accepted when it is named, and then it is a replica like any other
t_ok blkrep sync --overwrite "$T/a" "$T/d/file"
t_file_equal "$T/a" "$T/d/file"
t_ok blkrep sync --overwrite "$T/a" "$T/d/ext4"
t_file_equal "$T/a" "$T/d/ext4"
t_ok blkrep sync --overwrite "$T/a" "$T/d/replica"
t_file_equal "$T/a" "$T/d/replica"
t_ok blkrep verify "$T/d/replica"
t_ok blkrep sync --json "$T/a" "$T/d/replica"
t_json_is bytes_shipped 0
