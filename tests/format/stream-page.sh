#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep-stream(5) is enough to write a reader: one that was (stream-page.py) reads every golden stream as blkrep does and refuses each
# flipped bit and each cut; the page's transcript is a stream, and the one that engine/codec/stream.h shows.
. "$(dirname "$0")/../lib/cli.sh"

t_need python3
cd "$T_TOP/tests/format" || exit 1
page=$T_TOP/tools/man/blkrep-stream.5

read_by_page() { t_run python3 stream-page.py "$@" && t_status 0; }

streams=0
for stream in golden/*.stream; do
    read_by_page dump "$stream"
    diff "$stream.dump" "$T/out" >&2 || t_fail "the page's reader reads $stream otherwise than blkrep dump"
    read_by_page defects "$stream"
    streams=$((streams + 1))
done
[[ $streams -ge 3 ]] || t_fail "golden streams were removed; they are kept for ever"

python3 stream-page.py transcript "$page" >"$T/transcript"
sed -n 's#^//   [0-9a-f]\{4\}  \([0-9a-f ]*\).*#\1#p' "$T_TOP/engine/codec/stream.h" | tr -d ' \n' >"$T/header.hex"
od -An -v -tx1 "$T/transcript" | tr -d ' \n' >"$T/page.hex"
[[ -s $T/page.hex ]] || t_fail "the page shows no transcript"
t_file_equal "$T/page.hex" "$T/header.hex"

read_by_page dump "$T/transcript"
cp "$T/out" "$T/by-page"
t_ok blkrep dump --blocks "$T/transcript"
t_file_equal "$T/by-page" "$T/out"
