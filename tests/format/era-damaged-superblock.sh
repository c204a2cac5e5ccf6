#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One byte of the superblock flipped: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 2000 01
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "dm-era superblock in block 0: damaged"
