#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a replica staged for itself is no stream: receive refuses golden/staged.stage.
. "$(dirname "$0")/../lib/cli.sh"
t_run_in "$T_TOP/tests/format/golden/staged.stage" blkrep receive "$T/b"
t_status 4
t_stderr_has "what a replica staged for its own use"
