#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A run that leaves the volume: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-run-behind-end.stream"
t_status 4
t_stderr_has "in a volume of 41 blocks"
