#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A B-tree node whose block the space map calls free: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 16405 20 bitmap
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "metadata block 21: it is part of a tree, and free by the space map"
