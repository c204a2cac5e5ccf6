#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A source that somebody has open for writing is refused with status 3 and the process is named; --live-source marks the version `none`.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

t_random "$T/a" 1M 1
exec 7<>"$T/a"
t_background writer sleep 60 # has it open too
t_run blkrep sync --json "$T/a" "$T/b"
t_refused 3 SOURCE_IN_USE
t_stderr_has "open for writing"
t_stderr_has --live-source
[[ ! -e $T/b && ! -e $T/b.blkrep && ! -e $T/a.blkrep ]] || t_fail "a refused run left something"
t_run blkrep send "$T/a"
t_status 3
[[ ! -s $T/out ]] || t_fail "a refused send wrote a stream"
t_ok blkrep sync --json --live-source "$T/a" "$T/b"
t_json_is consistency none
t_ok blkrep status "$T/b"
t_stdout_has "consistency none"
t_ok blkrep status --json "$T/b"
[[ $(head -n 1 "$T/out" | jq -r .consistency) == none ]] || t_fail "status forgets that the version may be a mix"
# a second live run over the same bytes does not better it
t_ok blkrep sync --json --live-source "$T/a" "$T/b"
t_json_is consistency none
t_json_is new_version false
exec 7>&-
t_end "$T_PID"
# a clean run proves the same bytes and makes a new version; the old one stays what it was
t_ok blkrep sync --json "$T/a" "$T/b"
t_json_is consistency clean
t_json_is generation 2
# and a live run over a clean version without changes doesn't spoil it
t_ok blkrep sync --json --live-source "$T/a" "$T/b"
t_json_is consistency clean
