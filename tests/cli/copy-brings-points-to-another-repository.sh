#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A copied point is the same point under other keys: id, number, root, time, tags and content; what the target has is not read or stored again,
# pages that changed stay pages; a copy that was killed goes on; what is damaged is not copied. A point sent as a stream and received is it too.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"

v=$T/volume repo=$T/repo second=$T/second
t_ok blkrep init "$repo" --encryption none
t_ok blkrep init "$second" --key-file "$T/key"
n=0
backup() {
    t_ok blkrep backup "$v" "$repo" --json "$@"
    cp --sparse=always "$v" "$T/is.$n"
    point[n]=$(t_json point)
    n=$((n + 1))
}
facts() { # REPO [OPTIONS]: what both must say of each point
    "$BLKREP" points "$@" --json | jq -c 'select(.type == "point") | {id, volume, source, host, taken, number, pointtype, consistency, tracker, size_bytes, bytes_changed, unreadable_blocks, root, tags}'
}
copy() { t_ok blkrep copy "$repo" "$second" --to-key-file "$T/key" --json "$@"; }
restored() { # REPO: every point of it is what it was
    local i
    for ((i = 0; i < n; i++)); do
        t_ok blkrep restore "$1@${point[i]}" "$T/back" --overwrite "${@:2}"
        t_file_equal "$T/is.$i" "$T/back"
    done
}

t_random "$v" 6M 1
truncate -s 12M "$v"
backup --tag one,two
for i in 1 2 3; do
    t_random_at "$v" $((65536 * 5 + 8192 * i)) 4096 $((10 + i))
    t_random_at "$v" $((65536 * 20 + 100)) 10 $((20 + i))
    backup
done
head -c 200000 /dev/zero | dd of="$v" bs=1 seek=1000000 conv=notrunc status=none
backup --type differential
truncate -s 12582999 "$v"
t_random_at "$v" 12582990 9 31
backup
truncate -s 1234567 "$v"
backup
backup --type full
t_random_at "$v" 65536 4096 40
backup

t_ok blkrep copy "$repo" "$second" --to-key-file "$T/key" --dry-run --json
t_json_is copied 0
t_ok blkrep copy "$repo" "$second" --to-key-file "$T/key" --dry-run
t_stderr_has "points would be copied, 0 are there; nothing was stored"
[[ $("$BLKREP" points "$second" --key-file "$T/key" 2>/dev/null | wc -l) -eq 0 ]] || t_fail "a dry run copied"
copy "${point[0]}"
t_json_is copied 1
stored=$(t_json bytes_stored)
copy "${point[1]}" "${point[2]}" "${point[3]}"
t_json_is copied 3
t_le "$(t_json bytes_stored)" 120000 "what three points of some changed pages add"
copy
t_json_is copied $((n - 4))
t_json_is present 4
t_le "$(t_json bytes_stored)" $((stored + 500000)) "what the others add"
copy
t_json_is copied 0
t_json_is present "$n"
t_json_is bytes_stored 0
diff <(facts "$repo") <(facts "$second" --key-file "$T/key") || t_fail "the copies say something else"
restored "$second" --key-file "$T/key"
t_ok blkrep verify "$second" --data --key-file "$T/key"
# nothing of the state is needed, nor of the first repository
mv "$repo" "$T/away"
BLKREP_STATE=$T/fresh restored "$second" --key-file "$T/key"
mv "$T/away" "$repo"

# killed while it copies: whole points stay, and the next run goes on; a pack that it left is a prune's
t_random "$T/big" 40M 7
t_ok blkrep backup "$T/big" "$repo"
for wait in 0.05 0.15 0.3; do
    timeout -s KILL "$wait" "$BLKREP" copy "$repo" "$second" --to-key-file "$T/key" --volume big >"$T/out" 2>"$T/err" || true
done
copy --volume big
before=$(du -sb "$second/packs" | cut -f 1)
t_le "$before" $((4 * 50000000)) "what the copy and what was killed take"
find "$second" -name 'tmp-*' -exec touch -d '2 hours ago' {} +
t_ok blkrep prune "$second" --key-file "$T/key" --grace 1h
[[ -z $(find "$second" -name 'tmp-*') ]] || t_fail "what killed writers left half written is still there"
t_le "$(du -sb "$second/packs" | cut -f 1)" 55000000 "what the copy takes"
t_ok blkrep restore "$second@latest" "$T/back" --volume big --overwrite --key-file "$T/key"
t_file_equal "$T/big" "$T/back"

# with the least memory that is accepted, and not with less
t_ok blkrep init "$T/small" --encryption none
t_run blkrep copy "$repo" "$T/small" --buffers 3
t_status 2
t_stderr_has "--buffers must be between 4 and 1024"
t_ok blkrep copy "$repo" "$T/small" --buffers 4
restored "$T/small"
rm -r "$T/small"

# stopped for longer than a grace: it is given up, and the point comes all the same, found by whoever copies, repairs or receives
given=$T/given
t_ok blkrep init "$given" --encryption none
seq 4500000 >"$T/once" && truncate -s 32M "$T/once" # at level 19 this takes its time
t_ok blkrep backup "$T/once" "$repo" --json
once=$(t_json point)
t_background stopped "$BLKREP" copy "$repo" "$given" "$once" --volume once --compress 19
t_wait_for 20 bash -c "find '$given/leases' -type f ! -name 'tmp-*' | grep -q ."
kill -STOP "$T_PID"
t_ok blkrep prune "$given" --grace 0s
t_stderr_has "is taken for dead"
t_ok blkrep copy "$repo" "$given" "$once" --volume once --json
t_json_is copied 1
copy=$(jq -r 'select(.type == "point") | .copy' "$T/out")
[[ $copy != "$once" && ${copy:0:34} == "${once:0:34}" ]] || t_fail "the copy of $once is $copy"
kill -CONT "$T_PID"
T_STATUS=0
wait "$T_PID" || T_STATUS=$?
[[ $T_STATUS -ne 0 ]] || t_fail "a copy that was given up did not fail"
t_ok blkrep copy "$repo" "$given" "$once" --volume once --json
t_json_is present 1
t_ok blkrep restore "$given@${once:0:8}" "$T/back" --overwrite
t_file_equal "$T/once" "$T/back"
t_random_at "$T/once" 4096 4096 18
t_ok blkrep backup "$T/once" "$repo" --json
twice=$(t_json point)
t_ok bash -c "'$BLKREP' send '$repo@$twice' --since '$once' | '$BLKREP' receive '$given'"
t_ok blkrep copy "$repo" "$given" "$twice" --volume once --json
t_json_is present 1
t_ok bash -c "'$BLKREP' send '$repo@$once' | '$BLKREP' receive '$given' --json"
t_json_is new_version false
t_json_is point "$copy"
# pruned there and wanted back
t_ok blkrep prune "$given@$copy" --yes
t_ok blkrep copy "$repo" "$given" "$once" --volume once --json
t_json_is copied 1
t_ok blkrep restore "$given@$copy" "$T/back" --overwrite
t_ok blkrep verify "$given" --data

# streams: full, then a delta, as replica and as points of a third repository
third=$T/third
t_ok blkrep init "$third" --encryption none
t_ok bash -c "'$BLKREP' send '$repo@${point[2]}' >'$T/full'"
t_ok bash -c "'$BLKREP' send '$repo@${point[4]}' --since '${point[2]}' >'$T/delta'"
t_ok bash -c "'$BLKREP' send '$repo@${point[6]}' --since '${point[4]}' >'$T/shrunk'"
t_le "$(stat -c %s "$T/delta")" 90000 "a delta of some changed pages"
t_run_in "$T/full" blkrep receive "$T/replica"
t_status 0
t_file_equal "$T/is.2" "$T/replica"
t_ok blkrep diff "$repo@${point[2]}" "$T/replica" --json
t_json_is same true
t_run_in "$T/delta" blkrep receive "$T/replica"
t_status 0
t_file_equal "$T/is.4" "$T/replica"
t_run_in "$T/shrunk" blkrep receive "$T/replica"
t_status 0
t_file_equal "$T/is.6" "$T/replica"
t_ok blkrep verify "$T/replica"
t_run_in "$T/delta" blkrep receive "$third"
t_status 3
t_run_in "$T/full" blkrep receive "$third" --tag arrived --json
t_status 0
t_json_is point "${point[2]}"
t_json_is new_version true
t_run_in "$T/full" blkrep receive "$third" --json
t_status 0
t_json_is new_version false
t_run_in "$T/delta" blkrep receive "$third" --json
t_status 0
t_le "$(t_json bytes_written)" 90000 "what the delta stored"
t_run_in "$T/shrunk" blkrep receive "$third"
t_status 0
for i in 2 4 6; do
    t_ok blkrep restore "$third@${point[i]}" "$T/back" --overwrite
    t_file_equal "$T/is.$i" "$T/back"
    [[ $(facts "$third" | jq -r "select(.id == \"${point[i]}\") | .root") == $(facts "$repo" | jq -r "select(.id == \"${point[i]}\") | .root") ]] || t_fail "another root"
done
head -c 100000 "$T/full" >"$T/cut"
t_ok blkrep init "$T/fourth" --encryption none
t_run_in "$T/cut" blkrep receive "$T/fourth"
[[ $T_STATUS -ne 0 ]] || t_fail "a stream that was cut was taken"
[[ $("$BLKREP" points "$T/fourth" 2>/dev/null | wc -l) -eq 0 ]] || t_fail "a stream that was cut made a point"
# a source's own streams become points too, one after the other
t_ok bash -c "'$BLKREP' send '$T/big' | '$BLKREP' receive '$T/fourth'"
t_random_at "$T/big" 5000000 5000 8
t_ok bash -c "'$BLKREP' send '$T/big' --since last | '$BLKREP' receive '$T/fourth'"
t_ok blkrep restore "$T/fourth@latest" "$T/back" --overwrite
t_file_equal "$T/big" "$T/back"
t_ok blkrep verify "$T/fourth" --data

# damaged: nothing is copied of it
pack=$(find "$repo/packs" -type f -size +20M | head -n 1)
chmod u+w "$pack"
t_random_at "$pack" 1000000 100 9
BLKREP_PASSPHRASE=x t_ok blkrep init "$T/fifth"
BLKREP_TO_PASSPHRASE=x t_run blkrep copy "$repo" "$T/fifth" --volume big
t_status 4
[[ $(BLKREP_PASSPHRASE=x "$BLKREP" points "$T/fifth" 2>/dev/null | wc -l) -eq 0 ]] || t_fail "a damaged point was copied"
t_run blkrep copy "$repo" "$repo"
[[ $T_STATUS -eq 2 || $T_STATUS -eq 3 ]] || t_fail "one repository was taken for two"
BLKREP_TO_PASSPHRASE=wrong t_run blkrep copy "$repo" "$T/fifth"
t_status 1
