#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Neither full nor with a parent: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-no-parent.stream"
t_status 4
t_stderr_has "neither full nor with a parent"
