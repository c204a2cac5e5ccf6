#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A block that an earlier record had: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-block-twice.stream"
t_status 4
t_stderr_has "or later is due"
