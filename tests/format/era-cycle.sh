#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A leaf whose child is itself: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 88064 1500000000000000 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "metadata block 21: it is reached twice"
