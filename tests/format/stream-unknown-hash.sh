#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A hash that this program does not know: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-unknown-hash.stream"
t_status 1
t_stderr_has "this program knows 1 (SHA-256)"
