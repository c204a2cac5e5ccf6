#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A sector size of 513: golden/applying.identity with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/identity-bad-sector-size.identity"
t_status 4
t_stderr_has "identity slot: bad sector size"
