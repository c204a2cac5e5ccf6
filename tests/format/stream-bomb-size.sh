#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A compressed frame that claims to become 2 GB: golden/delta.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-bomb-size.stream"
t_status 4
t_stderr_has "are allowed"
