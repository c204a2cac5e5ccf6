#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep prune: which points go is what the rules say, told before (--dry-run) as it is done; held points, the newest and those that are not
# judged stay; space comes back; beside a backup that runs, and one that was stopped for longer than any grace; what a killed run left goes.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo
t_ok blkrep init "$repo" --encryption none

# what is stored, in KiB
stored() { du -sk "$repo/packs" | cut -f1; }
objects() { find "$repo/$1" -type f 2>/dev/null | wc -l; }
ids() { # oldest first, of disk.img
    t_ok blkrep points "$repo" --volume disk.img --json
    jq -r 'select(.type == "point") | .id' "$T/out"
}
kept() { jq -r 'select(.type == "point" and .keep) | .id' "$T/out"; }
file_of() { find "$repo/points" -name "${1//-/}"; }
# every point that is there reads as its image did
all_read() {
    local id
    t_ok blkrep verify "$repo" --data
    for id in $(ids); do
        t_ok blkrep restore "$repo@$id" "$T/back" --overwrite
        cmp "$T/back" "$T/image.$id" >&2 || t_fail "point $id reads otherwise"
    done
}

# Sixteen points, two a day, as the repository tells the days.
t_random "$T/disk.img" 4M 1
t_random "$T/other.img" 1M 99
t_ok blkrep backup "$T/other.img" "$repo"
for n in {0..15}; do
    t_random "$T/piece" 512K $((n + 10))
    dd if="$T/piece" of="$T/disk.img" bs=64K seek=$((n * 5 % 50)) conv=notrunc status=none
    t_ok blkrep backup "$T/disk.img" "$repo" --json
    id=$(jq -r 'select(.type == "exit") | .point' "$T/out")
    cp "$T/disk.img" "$T/image.$id"
    touch -d "$(printf '2026-10-%02d %02d:00' $((n / 2 + 1)) $((n % 2 * 10 + 8)))" "$(file_of "$id")"
done
mapfile -t id < <(ids)
[[ ${#id[@]} -eq 16 ]] || t_fail "there are ${#id[@]} points"

# Nothing is changed by a dry run, which says for each point what becomes of it; then it does.
t_ok blkrep hold "$repo@${id[2]}" --why 'the auditors'
t_ok blkrep points "$repo" --volume disk.img
[[ $(grep -c '(held)' "$T/out") -eq 1 ]] || t_fail "points does not show what is held"
t_ok blkrep prune "$repo" --volume disk.img --keep-last 2 --keep-daily 4 --dry-run
t_stdout_has "(held)"
t_stdout_has "(newest, last 1, daily 2026-10-08)"
t_stdout_has "(daily 2026-10-06)"
t_stdout_has "(no rule keeps it)"
t_stdout_has "10 points would go"
t_ok blkrep prune "$repo" --volume disk.img --keep-last 2 --keep-daily 4 --dry-run --json
kept | sort >"$T/would"
printf '%s\n' "${id[2]}" "${id[9]}" "${id[11]}" "${id[13]}" "${id[14]}" "${id[15]}" | sort >"$T/wanted"
diff "$T/wanted" "$T/would" >&2 || t_fail "the rules keep other points"
[[ $(ids | wc -l) -eq 16 ]] || t_fail "a dry run removed points"
before=$(stored)
t_ok blkrep prune "$repo" --volume disk.img --keep-last 2 --keep-daily 4
[[ $(grep -c '^removed  ' "$T/out") -eq 10 ]] || t_fail "not a line for each point that went"
[[ $(stored) -lt $before ]] || t_fail "no space came back: $before KiB before, $(stored) after"
ids | sort | diff "$T/wanted" - >&2 || t_fail "the prune did not do what its dry run said"
t_ok blkrep points "$repo" --volume other.img --json
[[ $(jq -r 'select(.type == "exit") | .points' "$T/out") -eq 1 ]] || t_fail "another volume's point went"
all_read
t_ok blkrep status --audit
grep -q '"act":"prune"' "$BLKREP_STATE/audit.ndjson" || t_fail "no audit line"

# Without rules none goes. One that is named goes, unless it is held; it must be meant.
t_ok blkrep prune "$repo"
[[ $(ids | wc -l) -eq 6 ]] || t_fail "a prune without rules removed points"
t_run blkrep prune "$repo@${id[11]}"
t_status 3
t_run blkrep prune "$repo@${id[2]}" --yes
t_status 3
t_stderr_has "is held"
t_run blkrep prune "$repo@${id[11]}" --keep-last 1
t_status 2
t_ok blkrep prune "$repo@${id[11]}" --yes
[[ $(ids | wc -l) -eq 5 ]] || t_fail "the named point did not go, or others did"
t_ok blkrep hold "$repo@${id[2]}"
t_stdout_has "held already"
t_ok blkrep unhold "$repo@${id[2]}"
t_ok blkrep unhold "$repo@${id[2]}" --json
t_json_is changed false
t_ok blkrep history "$repo" --json
[[ $(jq -r 'select(.type == "run") | .verb' "$T/out" | grep hold | xargs) == "hold hold unhold unhold" ]] || t_fail "the history lacks holds"
for verb in verify prune points; do
    t_run blkrep $verb "$repo" --volume disc.img
    t_status 1
    t_stderr_has "no volume disc.img in $repo"
done
t_ok blkrep prune "$repo" --volume disk.img --keep-last 3
[[ $(ids | tr '\n' ' ') == "${id[13]} ${id[14]} ${id[15]} " ]] || t_fail "a point that is held no longer stayed"
all_read

# What a killed run left: its lease is given up by the next one of its source, its packs go.
t_random "$T/disk.img" 24M 5
killed_backup() { # until it has stored something
    local i
    t_background killed blkrep backup "$T/disk.img" "$repo" --bwlimit 6M --compress 0
    for ((i = 0; i < 600; i++)); do
        [[ $(objects leases) -eq 0 ]] || break
        sleep 0.05
    done
    [[ $(objects leases) -gt 0 ]] || t_fail "a backup took no lease: $(cat "$T/killed.err")"
    sleep 1
    kill "-$1" "$T_PID"
}
killed_backup KILL
wait "$T_PID" 2>/dev/null || true
[[ $(objects leases) -eq 1 ]] || t_fail "a killed run has no lease"
t_ok blkrep backup "$T/disk.img" "$repo" --json
id[16]=$(jq -r 'select(.type == "exit") | .point' "$T/out")
cp "$T/disk.img" "$T/image.${id[16]}"
[[ $(objects leases) -eq 0 ]] || t_fail "a lease is left"
[[ $(objects points) -eq 6 ]] || t_fail "no tombstone is there" # four of disk.img, one of other.img
t_ok blkrep points "$repo" --json
[[ $(jq -r 'select(.type == "exit") | .damaged' "$T/out") -eq 0 ]] || t_fail "a tombstone is taken for a point"

# A backup that is stopped: what it may need waits; longer than the grace, it loses.
t_random "$T/disk.img" 24M 6
killed_backup STOP
stopped=$T_PID
t_ok blkrep prune "$repo" --volume disk.img --keep-last 1 --json
[[ $(jq -r 'select(.type == "exit") | .runs_waited_for' "$T/out") -eq 1 ]] || t_fail "a run under way was not waited for"
[[ $(jq -r 'select(.type == "exit") | .bytes_waiting' "$T/out") -gt 0 ]] || t_fail "nothing waits"
[[ $(objects doomed) -eq 1 ]] || t_fail "there is no list"
all_read
t_ok blkrep backup "$T/other.img" "$repo" # others don't wait
t_ok blkrep prune "$repo" --grace 0s
t_stderr_has "is taken for dead"
[[ $(objects doomed) -eq 0 && $(objects leases) -eq 0 ]] || t_fail "a list or a lease is left"
kill -CONT "$stopped"
T_STATUS=0
wait "$stopped" || T_STATUS=$?
[[ $T_STATUS -eq 7 || $T_STATUS -eq 1 || $T_STATUS -eq 4 ]] || t_fail "a run that was given up ended with $T_STATUS"
[[ $(ids | wc -l) -eq 1 ]] || t_fail "a run that was given up made a point"
all_read
t_ok blkrep backup "$T/disk.img" "$repo" --json
id[17]=$(jq -r 'select(.type == "exit") | .point' "$T/out")
cp "$T/disk.img" "$T/image.${id[17]}"
all_read

# A point that does not open stops a prune, until it is given up.
file=$(file_of "${id[16]}")
printf 'x' | dd of="$file" bs=1 seek=100 conv=notrunc status=none
t_run blkrep prune "$repo" --keep-last 9
t_status 4
t_stderr_has "--remove-damaged"
t_stdout_lacks "removed"
t_ok blkrep prune "$repo" --keep-last 9 --remove-damaged --yes
[[ ! -e $file ]] || t_fail "the damaged point is still there"
all_read

# So does one whose tree is damaged; it can be named.
t_random "$T/disk.img" 4M 7
t_ok blkrep backup "$T/disk.img" "$repo" --json
id[18]=$(jq -r 'select(.type == "exit") | .point' "$T/out")
cp "$T/disk.img" "$T/image.${id[18]}"
newest=$(find "$repo/packs" -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
cp "$newest" "$T/kept.pack"
rm "$newest"
t_run blkrep prune "$repo" --keep-last 9
[[ $T_STATUS -eq 1 || $T_STATUS -eq 4 ]] || t_fail "status $T_STATUS of a repository that lacks a tree"
t_stderr_has "what it needs is not known"
t_ok blkrep prune "$repo@${id[18]}" --yes
all_read
echo 'prune, hold and unhold do as they say'
