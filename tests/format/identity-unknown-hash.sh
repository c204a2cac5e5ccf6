#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A hash that this program does not know: golden/applying.identity with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/identity-unknown-hash.identity"
t_status 1
t_stderr_has "identity slot: hash 2"
