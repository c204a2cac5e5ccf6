#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A device that ends before its trees: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" cut 81920
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "of 20"
