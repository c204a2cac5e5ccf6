#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A flag in the superblock that is not known: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 4 01000000 superblock
t_run blkrep dump "$T/image"
t_status 1
t_stderr_has "with flags 1"
