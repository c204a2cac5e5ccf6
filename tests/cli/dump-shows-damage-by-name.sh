#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dump prints streams and identities as text; what is cut, flipped or something else is refused with its status, never printed as good.
. "$(dirname "$0")/../lib/cli.sh"

t_random "$T/a" 1M 1
t_ok blkrep sync "$T/a" "$T/b"
"$BLKREP" send "$T/a" >"$T/s" 2>"$T/err" || t_fail "send"
t_ok blkrep dump "$T/s"
t_ok blkrep dump "$T/b.blkrep/identity"
t_stdout_has complete
head -c 100000 "$T/s" >"$T/cut"
t_run blkrep dump "$T/cut"
t_status 4
t_run blkrep dump "$T/a"
[[ $T_STATUS -ne 0 ]] || t_fail "noise was dumped as something"
t_run blkrep dump "$T/none"
t_status 1
t_stderr_has "$T/none"
t_run blkrep dump
t_status 2
