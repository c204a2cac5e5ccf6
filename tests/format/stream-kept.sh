#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A KEPT record in a stream: golden/staged.stage with the preamble of a stream, all checksums right.
. "$(dirname "$0")/../lib/cli.sh"
t_run blkrep dump "$T_TOP/tests/format/defects/stream-kept.stream"
t_status 1
t_stderr_has "a record of type 7, which must be understood"
