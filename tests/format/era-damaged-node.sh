#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One byte of a B-tree node flipped: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 89016 01
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "B-tree node in block 21: damaged"
