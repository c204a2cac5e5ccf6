#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A superblock that claims more data blocks than the array has: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 180 01010000 superblock
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "another number of entries"
