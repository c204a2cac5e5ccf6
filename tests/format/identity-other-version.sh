#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Both slots of version 2: golden/applying.identity with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/identity-other-version.identity"
t_status 1
t_stderr_has "identity slot of version 2; this program knows version 1"
