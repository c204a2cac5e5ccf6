#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A stream of version 2: golden/full.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-other-version.stream"
t_status 1
t_stderr_has "a stream of version 2; this program knows version 1"
