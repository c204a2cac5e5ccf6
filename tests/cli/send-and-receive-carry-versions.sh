#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A full stream makes a replica, deltas bring it on, through files and pipes, also ones that were made non-blocking; a stream that was missed
# is refused and a full one puts it right; a stream that failed to leave is not what the next one starts from.
. "$(dirname "$0")/../lib/cli.sh"

send() { "$BLKREP" send "$@" 2>"$T/err"; }
t_random "$T/a" 3M 1
send "$T/a" >"$T/full"
t_run_in "$T/full" blkrep receive "$T/r"
t_status 0
t_file_equal "$T/a" "$T/r"
t_random_at "$T/a" 1M 8K 2
send "$T/a" --since=last >"$T/delta"
[[ $(stat -c %s "$T/delta") -lt 20000 ]] || t_fail "a delta of $(stat -c %s "$T/delta") bytes"
t_run_in "$T/delta" blkrep receive --json "$T/r"
t_status 0
t_json_is generation 2
t_json_is full false
t_file_equal "$T/a" "$T/r"
t_run_in "$T/delta" blkrep receive --json "$T/r" # again: there already
t_status 0
t_json_is new_version false
t_run_in "$T/delta" blkrep receive "$T/none"
t_status 3
[[ ! -e $T/none ]] || t_fail "a refused stream left a file"

# one that did not leave whole is not taken for sent
t_random_at "$T/a" 0 2M 3
T_STATUS=0
send "$T/a" --since=last >/dev/full || T_STATUS=$?
t_status 6
T_STATUS=0
{ send "$T/a" --since=last || echo $? >"$T/rc"; } | head -c 1000 >/dev/null
[[ $(cat "$T/rc") == 5 ]] || t_fail "status $(cat "$T/rc") of a send whose reader went"
send "$T/a" --since=last | t_run_in /dev/stdin blkrep receive --json "$T/r"
t_file_equal "$T/a" "$T/r"

# one that was missed
t_random_at "$T/a" 0 4K 4
send "$T/a" --since=last >/dev/null
t_random_at "$T/a" 0 4K 5
send "$T/a" --since=last >"$T/delta"
t_run_in "$T/delta" blkrep receive "$T/r"
t_status 3
t_run blkrep send --since=00000000 "$T/a"
t_status 1
t_stderr_has "the one sent last is"
send "$T/a" >"$T/full"
t_run_in "$T/full" blkrep receive "$T/r"
t_status 0
t_file_equal "$T/a" "$T/r"

# descriptors that do not block: a slow reader, a slow writer
t_random "$T/big" 8M 6
t_need perl
# shellcheck disable=SC2016 # perl's variables
unblocked='use Fcntl; for my $fh ($ARGV[0] eq "in" ? *STDIN : *STDOUT) { fcntl($fh, F_SETFL, fcntl($fh, F_GETFL, 0) | O_NONBLOCK) or die }
           shift; exec @ARGV or die'
perl -e "$unblocked" out "$BLKREP" send "$T/big" 2>"$T/err" | { sleep 0.3 && cat; } >"$T/stream"
{ head -c 100000 "$T/stream" && sleep 0.3 && tail -c +100001 "$T/stream"; } | perl -e "$unblocked" in "$BLKREP" receive "$T/b" >"$T/out" 2>"$T/err" ||
    t_fail "a descriptor that does not block"
t_file_equal "$T/big" "$T/b"

# stdout carries the stream: the exit object goes to the descriptor of --progress, and nothing of it into the stream
t_run blkrep send --json "$T/a"
t_status 2
"$BLKREP" send --json --progress=3 "$T/a" 3>"$T/events" >"$T/stream" 2>"$T/err" || t_fail "send --json --progress=3"
t_run_in "$T/stream" blkrep receive "$T/r"
t_status 0
cp "$T/events" "$T/out"
t_json_is verb send
t_json_is status 0
t_json_is tracker scan
t_json_is full true
t_json_is stream_bytes "$(stat -c %s "$T/stream")"
[[ $(grep -c '"exit"' "$T/events") -eq 1 ]] || t_fail "not one exit object"
"$BLKREP" send --json --progress=3 "$T/nothing" 3>"$T/events" >"$T/stream" 2>"$T/err" && t_fail "nothing was sent"
cp "$T/events" "$T/out"
t_json_is error.name NOT_FOUND
[[ ! -s $T/stream ]] || t_fail "a stream of nothing"
t_run blkrep send "$T/nothing"
t_status 1
