#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A volume larger than any: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-size-impossible.stream"
t_status 4
t_stderr_has "larger than any volume"
