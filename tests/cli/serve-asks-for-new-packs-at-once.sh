#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A host that has never seen a served repository reads the directories of all its packs in a few turns, not in four for each: over a link on which a
# turn takes 100 ms, twenty-four packs would cost 10 seconds. Directories that are longer than what is read of a pack's end come too.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"
t_need python3

export BLKREP_PASSPHRASE=served
s_configure "[repository main]" "path = $T/main" "serve = yes"
t_ok blkrep init "$T/main"
t_random "$T/v" 2M 1
for ((i = 0; i < 24; i++)); do
    t_random_at "$T/v" $((4096 * i)) 4096 $((100 + i))
    BLKREP_STATE=$T/writer t_ok blkrep backup "$T/v" "$T/main"
done
# 1,100 overlays in a pack: a directory of more than 64 KiB
t_random "$T/wide" 72M 2
BLKREP_STATE=$T/writer t_ok blkrep backup "$T/wide" "$T/main"
python3 -c 'import sys
with open(sys.argv[1], "r+b") as wide:
    for block in range(1100):
        wide.seek(block * 65536)
        wide.write(b"%d" % block)' "$T/wide"
BLKREP_STATE=$T/writer t_ok blkrep backup "$T/wide" "$T/main"

s_start
t_background link python3 "$(dirname "$0")/../lib/delay.py" "$S_PORT" 0.05
t_wait_for 10 test -s "$T/link.out"
link=127.0.0.1:$(cat "$T/link.out")
slow=blkrep://$link/main
s_token "$T/token" --role=reader
s_as far t_run_in "$T/token" blkrep pair --name=far "$link"
t_status 0
begun=$(date +%s%N)
s_as far t_ok blkrep points "$slow" --json
t_json_is points 26
took=$((($(date +%s%N) - begun) / 1000000))
echo "opening and listing took $took ms"
s_as far t_ok blkrep restore "$slow@latest" "$T/back" --volume wide
t_file_equal "$T/wide" "$T/back"
begun=$(date +%s%N)
s_as far t_ok blkrep points "$slow" --json
again=$((($(date +%s%N) - begun) / 1000000))
echo "with the index at hand $again ms"
# What is left is for the points themselves, in both.
t_le $((took - again)) 5000 "milliseconds that the directories of 26 packs took"
s_stop
