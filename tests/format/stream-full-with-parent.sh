#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Full, and yet with a parent: golden/delta.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-full-with-parent.stream"
t_status 4
t_stderr_has "full, and yet with a parent"
