#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The first byte is another: golden/full.stream with this one defect.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-bad-preamble.stream"
t_status 4
t_stderr_has "not a format of blkrep"
