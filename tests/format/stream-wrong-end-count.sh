#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An END that counts other data: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-wrong-end-count.stream"
t_status 4
t_stderr_has "the END counts other records than came"
