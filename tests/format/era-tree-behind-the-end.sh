#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A root behind the end of the device: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 208 2000000000000000 superblock
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "goes on in metadata block 32 of 32"
