#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node with values of another size: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 86040 0c000000 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "values of another size"
