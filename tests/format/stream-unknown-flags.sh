#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A frame with a flag that nobody defined: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-unknown-flags.stream"
t_status 1
t_stderr_has "a frame with unknown flags 0x80"
