#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Metadata of version 2: golden/kernel.era with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.era" "$T/image" 40 02000000 superblock
t_run blkrep dump "$T/image"
t_status 1
t_stderr_has "version 2"
