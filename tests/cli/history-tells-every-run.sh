#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# history: each run with its outcome, stages and figures; one that fails, one that is killed in the middle of its scan and shows where; what only
# reads is known on its host; another host, and this one with its state lost, see the rest. A folder of runs that can't be written fails nothing.
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo v=$T/volume
t_random "$v" 2M 1
t_ok blkrep init "$repo" --key-file "$T/key"
h() { # [OPTIONS]: the runs, a line "verb outcome stage" each
    t_ok blkrep history "$repo" --key-file "$T/key" --json "$@"
    jq -r 'select(.type == "run") | "\(.verb) \(.outcome) \(.stage)"' "$T/out" >"$T/runs"
}
is() { diff "$T/runs" - <<<"$1" >&2 || t_fail "other runs"; }

h
[[ ! -s $T/runs ]] || t_fail "runs of a new repository"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key" --json
point=$(t_json point) volume=$(t_json volume)
t_ok blkrep restore "$repo@latest" "$T/back" --key-file "$T/key"
t_ok blkrep verify "$repo" --key-file "$T/key"
t_run blkrep backup "$T/nothing" "$repo" --key-file "$T/key"
t_status 1
t_ok blkrep backup "$v" "$repo" --key-file "$T/key" --dry-run # changes nothing, and is no run to be told
h
is 'backup done commit
restore done restore
verify done look
backup failed null'
jq -se "map(select(.type == \"run\" and .verb == \"backup\" and .point == \"$point\"))[0] | .volume == \"$volume\" and .status == 0 and .figures.size_bytes == 2097152 and .seconds > 0 and (.stages | map(.stage) == [\"plan\", \"scan\", \"commit\"]) and .host == \"$(uname -n)\" and .subject == \"$v\"" "$T/out" >/dev/null || t_fail "the backup is told otherwise"
h --failed
is 'backup failed null'
[[ $(jq -r 'select(.type == "run") | .errorname' "$T/out") == NOT_FOUND ]] || t_fail "not what failed"
h --volume volume
[[ $(wc -l <"$T/runs") -ge 1 ]] || t_fail "no run of that volume"
h --volume "${volume:0:8}"
is 'backup done commit'
h --since 2001-01-01
[[ $(wc -l <"$T/runs") -eq 4 ]] || t_fail "since a day of before"
h --since "$(date -u -d tomorrow +%FT%TZ)"
[[ ! -s $T/runs ]] || t_fail "since tomorrow"
t_ok blkrep history "$repo" --key-file "$T/key"
t_stdout_has "BEGUN"
grep -q '""' "$T/out" && t_fail "a target, a source or a stage that is none"
grep -q "backup  *done  *commit  *${point:0:8} " "$T/out" || t_fail "no point of a backup"
grep -q "backup  *failed  *-  *- " "$T/out" || t_fail "a stage of a run that had none"
t_stdout_lacks "(data read)"
[[ $(wc -l <"$T/out") -eq 5 ]] || t_fail "not a line for each run"

t_ok blkrep verify "$repo" --key-file "$T/key" --data
t_ok blkrep history "$repo" --key-file "$T/key"
t_stdout_has "$repo (data read)"
rm "$(grep -l '"verify"' "$BLKREP_STATE"/repositories/*/runs/* | xargs ls -t | head -n 1)"

# killed while it scans: held up by a limit on what it stores
t_random "$v" 8M 2
t_background slow "$BLKREP" backup "$v" "$repo" --key-file "$T/key" --bwlimit 1M --json
t_wait_for 20 grep -q '"phase":"scan"' "$T/slow.out"
h
[[ $(tail -n 1 "$T/runs") == 'backup running scan' ]] || t_fail "a run that goes on: $(tail -n 1 "$T/runs")"
kill -KILL "$T_PID"
wait "$T_PID" 2>/dev/null || true
h --failed
is 'backup failed null
backup died scan'
# on another host it is open, until the next run of this one
BLKREP_STATE=$T/elsewhere h
[[ $(tail -n 1 "$T/runs") == 'backup open null' ]] || t_fail "on another host: $(tail -n 1 "$T/runs")"
grep -q restore "$T/runs" && t_fail "what only read is known elsewhere"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"
BLKREP_STATE=$T/elsewhere h --failed
is 'backup died scan'
t_ok blkrep history --json
[[ $(jq -r 'select(.type == "run") | .verb' "$T/out" | sort | paste -sd ' ') == "backup restore verify" ]] || t_fail "what this host keeps itself"

# a restore over a file, killed in its middle: what it was, and where to
for i in {1..40}; do cat "$v"; done >"$T/large" # 320 MiB
t_ok blkrep backup "$T/large" "$repo" --key-file "$T/key" --json
large=$(t_json point)
head -c 320M /dev/zero | tr '\0' x >"$T/in-place"
t_background killed "$BLKREP" restore "$repo@$large" "$T/in-place" --overwrite --delta --key-file "$T/key"
restoring() { grep -l '"stage":"restore"' "$BLKREP_STATE"/repositories/*/runs/* | xargs grep -l '"target":.*in-place'; }
t_wait_for 20 restoring
kill -KILL "$T_PID"
wait "$T_PID" 2>/dev/null || true
h --failed
[[ $(tail -n 1 "$T/runs") == 'restore died restore' ]] || t_fail "a restore that was killed: $(tail -n 1 "$T/runs")"
jq -se "map(select(.type == \"run\")) | last | .target == \"$(realpath "$T/in-place")\" and .point == \"$large\" and .ended == null" "$T/out" >/dev/null || t_fail "the restore that died is told otherwise"
t_ok blkrep history "$repo" --key-file "$T/key" --failed
t_stdout_has "-> $(realpath "$T/in-place")"
t_ok blkrep restore "$repo@$large" "$T/in-place" --overwrite --delta --key-file "$T/key"
t_file_equal "$T/large" "$T/in-place"
rm "$T/large" "$T/in-place"
t_ok blkrep prune "$repo@$large" --yes --key-file "$T/key"

# notes of old runs go with a prune, those of each host by number and age; a dry run tells how many
notes() { find "$repo/history" -type f | wc -l; }
before=$(notes)
t_ok blkrep prune "$repo" --key-file "$T/key" --keep-runs 4 --dry-run --json
t_json_is runs_remembered 4
would=$(t_json runs_forgotten)
[[ $would -gt 0 && $(notes) -eq $before ]] || t_fail "a dry run removed notes, or would remove none"
last=$(find "$repo/history" -name '*-99' | head -n 1)
printf '%s\n' "$last" "${last%-99}-00" >"$T/aged" # both of one run
xargs touch -d '2 years ago' <"$T/aged"
t_ok blkrep prune "$repo" --key-file "$T/key" --json
t_json_is runs_forgotten 1
while read -r file; do [[ ! -e $file ]] || t_fail "a note of two years ago is there"; done <"$T/aged"
t_ok blkrep prune "$repo" --key-file "$T/key" --keep-runs 3 --json
t_json_is runs_remembered 3
[[ $(notes) -le 8 ]] || t_fail "$(notes) notes of 3 runs and this one" # its own are put behind
BLKREP_STATE=$T/elsewhere h
[[ $(tail -n 1 "$T/runs") == 'prune done history' ]] || t_fail "the newest run is not told: $(tail -n 1 "$T/runs")"
# one that can't remove them goes on all the same
rm -rf "$repo/history" && touch "$repo/history"
t_ok blkrep prune "$repo" --key-file "$T/key" --keep-runs 0
t_stderr_has "notes of old runs stay"
rm "$repo/history" "$BLKREP_STATE"/repositories/*/runs/*
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"

# the state lost: what the repository has is told
rm -rf "$BLKREP_STATE"
h
is 'backup done commit
backup done commit
backup done commit'
t_ok blkrep dump "$repo" --object "$(cd "$repo" && find history -type f | head -n 1)" --key-file "$T/key"
t_stdout_has '"verb":"backup"'

# a note that was changed is named, and hides no other
note=$(find "$repo/history" -type f -name '*-99' | head -n 1)
chmod u+w "$note" && printf x | dd of="$note" bs=1 seek=100 conv=notrunc status=none
h
t_json_is damaged 1
[[ $(wc -l <"$T/runs") -eq 3 ]] || t_fail "a damaged note hid others"

# nothing fails because it could not be noted
runs=$(find "$BLKREP_STATE/repositories" -type d -name runs)
rm -rf "$runs" && touch "$runs"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"
rm -rf "$repo/history" && touch "$repo/history"
t_ok blkrep backup "$v" "$repo" --key-file "$T/key"
