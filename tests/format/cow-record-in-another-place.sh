#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Record 5 names the data of record 6: golden/kernel.cow with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
python3 "$T_TOP/tests/format/poke.py" "$T_TOP/tests/format/golden/kernel.cow" "$T/image" 600 0800000000000000
t_run blkrep dump "$T/image"
t_status 4
t_stderr_has "names its chunk 8 where 7 belongs"
t_stdout_has "record 4: chunk 8"
