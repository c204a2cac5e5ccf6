#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A B-tree node that says that it belongs into another block: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 86024 0500000000000000 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "B-tree node in block 21: it belongs into another block"
