#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The stream ends within a frame: golden/delta.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-cut.stream"
t_status 4
t_stderr_has "the stream has no END"
