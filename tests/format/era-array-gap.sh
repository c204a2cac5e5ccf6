#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An array that does not begin at 0: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 86048 01 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "an array with a gap"
