#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The second area lies behind the end of the device: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" cut 17408
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "area 1 lies behind the end"
t_stdout_has "record 31: chunk"
