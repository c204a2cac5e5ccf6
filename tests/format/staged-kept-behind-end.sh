#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A KEPT record of blocks that the volume does not have: golden/staged.stage with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/staged-kept-behind-end.stage"
t_status 4
t_stderr_has "a KEPT that is not as the format says"
