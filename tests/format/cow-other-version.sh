#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A store of version 2: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" 8 02000000
t_run blkrep dump "$T/image"
t_status 1
t_stderr_has "snapshot store of version 2"
