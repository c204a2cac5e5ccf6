#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
# A sparse volume of 15 TiB costs what it holds: each verb takes seconds and the memory that any volume takes, data at both ends and in the middle
# come back, holes stay holes. And a volume of which every block changes every time costs its data each time, which a prune gives back.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/points.sh"

t_need python3
v=$T/volume repo=$T/repo
t_ok blkrep init "$repo" --encryption none
truncate -s 15T "$v" 2>/dev/null || t_skip "no file of 15 TiB here"
t_random "$T/data" 3M 1
place() { # FILE OFFSET: the data there
    dd if="$T/data" of="$1" bs=1M seek="$2" oflag=seek_bytes conv=notrunc status=none
}
size=$((15 << 40))
ends=(0 $((7 << 40)) $((size - 3 * 1024 * 1024)))
for at in "${ends[@]}"; do place "$v" "$at"; done

# within WORDS...: the command succeeds within a minute, with less than 256 MiB resident
cost='import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)'
within() {
    local began=$SECONDS
    python3 -c "$cost" "$T/cost" "$BLKREP" "$@" --json >"$T/out" 2>"$T/err" || t_fail "$* failed: $(cat "$T/err")"
    [[ $BLKREP == *asan* ]] || t_le "$(cat "$T/cost")" $((256 * 1024)) "KiB that $1 took" # a sanitizer takes several times that
    t_le $((SECONDS - began)) 60 "seconds that $1 took"
}
within backup "$v" "$repo"
t_le "$(t_json bytes_stored)" $((4 * 1024 * 1024)) "stored"
first=$(t_json point)
printf changed | dd of="$v" bs=1 seek=$((7 << 40)) conv=notrunc status=none
within backup "$v" "$repo"
t_le "$(t_json bytes_stored)" 100000 "stored for a page"
t_json_is bytes_changed 4096
within verify --data "$repo"
within diff "$repo@latest~1" "$repo@latest"
t_json_is bytes_differ 65536
within restore "$repo@$first" "$T/back" --overwrite
[[ $(stat -c %s "$T/back") -eq $size ]] || t_fail "another size"
t_le "$(du -sk "$T/back" | cut -f1)" 16000 "KiB that the restored file takes"
for at in "${ends[@]}"; do
    cmp <(dd if="$T/back" iflag=skip_bytes,count_bytes skip="$at" count=3M bs=1M status=none) "$T/data" || t_fail "the data at $at"
done
within restore "$repo@latest" "$T/back" --overwrite --delta
cmp -n 7 <(dd if="$T/back" iflag=skip_bytes skip=$((7 << 40)) bs=7 count=1 status=none) <(printf changed) || t_fail "what changed did not come"
within prune "$repo" --keep-last 1
t_json_is points_removed 1
rm -f "$v" "$T/back"

# every block changes every time
v=$T/restless
for run in 1 2 3 4; do
    t_random "$v" 8M $((10 + run))
    backup
    t_le $((8 * 1024 * 1024)) "$stored" "what a run of new data stores"
    t_le "$stored" $((9 * 1024 * 1024)) "and no more"
done
for run in 0 1 2 3; do
    t_ok blkrep restore "$repo@${point[run]}" "$T/back" --overwrite
    t_file_equal "$T/is.$run" "$T/back"
done
before=$(du -sk "$repo/packs" | cut -f1)
t_ok blkrep prune "$repo" --keep-last 1
t_le $((23 * 1024)) $((before - $(du -sk "$repo/packs" | cut -f1))) "KiB that came back"
t_ok blkrep restore "$repo@latest" "$T/back" --overwrite --volume restless
t_file_equal "$v" "$T/back"
