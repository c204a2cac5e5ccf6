#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A record of an unknown type that must be understood: golden/full.stream with this one defect, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-unknown-record.stream"
t_status 1
t_stderr_has "a record of type 9, which must be understood"
