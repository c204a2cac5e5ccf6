#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A state that nobody defined: golden/applying.identity with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/identity-bad-state.identity"
t_status 4
t_stderr_has "identity slot: bad state"
