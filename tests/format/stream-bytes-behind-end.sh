#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A byte too many: golden/full.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-bytes-behind-end.stream"
t_status 4
t_stderr_has "bytes behind the END"
