#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node of more entries than fit: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 86032 fd000000 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "more entries than fit"
