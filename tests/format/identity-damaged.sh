#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Both slots with one byte flipped: golden/applying.identity with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/identity-damaged.identity"
t_status 4
t_stderr_has "identity slot: damaged"
