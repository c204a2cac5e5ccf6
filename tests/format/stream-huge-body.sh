#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A frame that claims a body of 2 GB: golden/full.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-huge-body.stream"
t_status 4
t_stderr_has "are allowed"
