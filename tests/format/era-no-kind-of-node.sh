#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A node that is internal and a leaf: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 86020 03000000 node
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "neither internal nor a leaf"
