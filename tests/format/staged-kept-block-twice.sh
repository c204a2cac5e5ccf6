#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A KEPT record of a block that came as DATA: golden/staged.stage with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/staged-kept-block-twice.stage"
t_status 4
t_stderr_has "block 1 comes when block 2 or later is due"
