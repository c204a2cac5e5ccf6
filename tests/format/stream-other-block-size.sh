#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Another block size: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-other-block-size.stream"
t_status 1
t_stderr_has "blocks of 131072"
