#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One byte of an array block flipped: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 81824 01
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "array block in block 19: damaged"
