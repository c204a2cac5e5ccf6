#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A frame without its magic: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-bad-frame-magic.stream"
t_status 4
t_stderr_has "no frame begins here"
