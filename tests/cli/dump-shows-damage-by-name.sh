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
# who reads no further is not read for: the descriptor's place is where dump stopped
t_random "$T/big" 16M 2
"$BLKREP" send "$T/big" >"$T/long" 2>/dev/null
exec 8<"$T/long"
t_last="dump to a full disk"
T_STATUS=0
"$BLKREP" dump --blocks - <&8 >/dev/full 2>"$T/err" || T_STATUS=$?
t_status 1
t_stderr_has "stdout"
[[ $(wc -c <&8) -gt 0 ]] || t_fail "all of it was read for nobody"
exec 8<&-
