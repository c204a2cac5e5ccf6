#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Something behind the last record: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" 17919 01
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "and there is more behind it"
t_stdout_has "record 40: chunk"
