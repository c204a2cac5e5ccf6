#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A chunk size of three sectors: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" 12 03000000
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "a chunk size of 1536 bytes"
