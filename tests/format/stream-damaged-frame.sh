#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One byte of a frame flipped: golden/delta.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-damaged-frame.stream"
t_status 4
t_stderr_has "is damaged or of another stream"
