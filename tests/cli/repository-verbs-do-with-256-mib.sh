#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every verb of a repository, all at its defaults, in a control group with 256 MiB of memory, page cache counted, and no swap: none is ended by the
# kernel for want of it, and what is restored is what was there. Volume and packs are several times as large as that.
# plain: sanitizers take several times the memory
# timeout: 600
. "$(dirname "$0")/../lib/cli.sh"

T_RUN_LIMIT=200
limited=$(dirname "$0")/../lib/limited
t_run "$limited" --check
[[ $T_STATUS -eq 0 ]] || t_skip "$(tail -n 1 "$T/err")"
export BLKREP_PASSPHRASE=limited # scrypt takes 64 MiB or more, too

seen() { awk -v key="$1" '$1 == key { print $2 }' "$T/report"; }
# within STATUS VERB ARGS...
within() {
    local status=$1
    shift
    t_run "$limited" "$limit" "$T/report" "$BLKREP" "$@"
    [[ $(seen killed) -eq 0 ]] || t_fail "blkrep $1 did not do with $limit bytes"
    t_status "$status"
    t_le "$(seen peak_anon)" "$limit" "memory of blkrep $1" # were it not counted, it would be 0
    t_le 1048576 "$(seen peak_anon)" "memory of blkrep $1"
    echo "blkrep $1: $(($(seen peak_anon) >> 20)) MiB"
}

# That there is a limit: with less than the buffers take, the kernel ends it.
t_random "$T/disk.img" 640M 1
t_random "$T/piece" 64K 2
for n in {0..99}; do # some of it compresses, and is there several times
    dd if="$T/piece" of="$T/disk.img" bs=64K seek=$((n * 60)) conv=notrunc status=none
done
limit=$(t_bytes 256M)
within 0 init "$T/repo"
t_run "$limited" "$(t_bytes 24M)" "$T/report" "$BLKREP" backup "$T/disk.img" "$T/repo"
[[ $(seen killed) -gt 0 && $T_STATUS -eq 137 ]] || t_fail "a limit of 24 MiB was not there"

within 0 backup "$T/disk.img" "$T/repo" --json
cp "$T/disk.img" "$T/first.img"
first=$(t_json point)
for n in {0..199}; do
    t_random_at "$T/disk.img" $((n * 3 * 1048576)) 4096 $((n + 10))
done
within 0 backup "$T/disk.img" "$T/repo"
t_random_at "$T/disk.img" 300M 200M 3
within 0 backup "$T/disk.img" "$T/repo" --type differential
within 0 points "$T/repo"
within 0 diff "$T/repo@$first" "$T/repo@latest"
within 0 verify "$T/repo" --data
within 0 restore "$T/repo@$first" "$T/back.img"
t_file_equal "$T/first.img" "$T/back.img"
rm "$T/first.img"
within 0 restore "$T/repo@latest" "$T/back.img" --delta --overwrite
t_file_equal "$T/disk.img" "$T/back.img"
rm "$T/back.img"
within 0 init "$T/second"
within 0 copy "$T/repo" "$T/second"
within 0 prune "$T/repo" --keep-last 1 --max-unused 0
within 0 stats "$T/repo"
# All that is known of it here was lost.
rm -r "$BLKREP_STATE"
within 0 verify "$T/repo" --data
within 0 restore "$T/repo@latest" "$T/back.img"
t_file_equal "$T/disk.img" "$T/back.img"
