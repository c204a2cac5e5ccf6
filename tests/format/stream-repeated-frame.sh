#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A frame sent twice: golden/delta.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-repeated-frame.stream"
t_status 4
t_stderr_has "where frame 2 is due"
