#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A valid flag that is neither 0 nor 1: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" 4 02000000
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "valid is 2"
