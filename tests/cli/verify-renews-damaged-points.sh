#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep verify --repair REPO2: a point whose own record is damaged is made anew from the other repository's, with its id, number, times, tags and
# root, over the data that is there; whichever of the two is the copy, with damaged data too, held or not. What REPO2 lacks, or a server does not let
# this client do, changes nothing. kill -9 at every step, and a full disk, leave what the next run ends.
# timeout: 480
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_kill_memory
repo=$K/repo second=$K/second
flip() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); at = int(sys.argv[2]); f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 8]))' "$1" "$2"; }
field() { jq -r "select(.type == \"exit\") | .$1" "$T/out"; }
is() { [[ $(field "$1") == "$2" ]] || t_fail "$1 is $(field "$1") instead of $2"; }
object() { echo "$1"/points/*/"${id[$2]//-/}"; } # REPO N
harm() { flip "$(object "$1" "$2")" "${3:-200}"; }
repair() { t_run blkrep verify "$repo" --repair "$second" --to-key-file "$K/key" --json "$@"; }
facts() { # of every point: what must stay
    blkrep_points "$1" "${@:2}" | jq -S 'select(.type == "point") | {id, number, volume, pointtype, taken, root, size_bytes, host, tags, source}'
}
blkrep_points() { "$BLKREP" points "$@" --json 2>/dev/null; }
all_read() {
    local n
    for n in "${!id[@]}"; do
        t_ok blkrep restore "$repo@${id[n]}" "$K/back" --overwrite
        t_file_equal "$K/image.$n" "$K/back"
    done
}
again() {
    rm -rf "$repo" "$second" "$BLKREP_STATE"
    cp -r "$K/good.state" "$BLKREP_STATE"
    cp -r "$K/good" "$repo"
    cp -r "$K/good.second" "$second"
}
whole() { # all is as it was, nothing is left to do, and a prune does its work
    t_status 0
    is complete true
    all_read
    facts "$repo" >"$T/facts.now"
    diff "$T/facts" "$T/facts.now" >&2 || t_fail "a point is not what it was"
    repair
    t_status 0
    is points_renewed 0
    is bytes_repaired 0
    t_ok blkrep prune "$repo"
    t_ok blkrep verify "$repo" --data
    all_read
}

t_ok blkrep init "$repo" --encryption none
t_ok blkrep init "$second" --key-file "$K/key"
t_random "$K/disk.img" 3M 1
for n in {0..4}; do
    type=incremental
    [[ $n -ne 2 && $n -ne 4 ]] || type=full # in a domain of its own; the last one alone in it
    t_ok blkrep backup "$K/disk.img" "$repo" --json --tag "n$n" --type $type
    id[n]=$(field point)
    [[ $n -ne 0 ]] || first=$(echo "$repo"/packs/*/*)
    cp "$K/disk.img" "$K/image.$n"
    t_random_at "$K/disk.img" $((n * 700000)) 100000 $((n + 5))
done
t_ok blkrep copy "$repo" "$second" --to-key-file "$K/key"
cp -r "$repo" "$K/good"
cp -r "$second" "$K/good.second"
cp -r "$BLKREP_STATE" "$K/good.state"
facts "$repo" >"$T/facts"

# one in the middle, the first one, several, cut short, empty: no data is stored again
for harm in '1' '2' '0 1' 'cut' 'empty' 'held'; do
    again
    case $harm in
    cut) truncate -s 100 "$(object "$repo" 1)" ;;
    empty) : >"$(object "$repo" 1)" ;;
    held)
        t_ok blkrep hold "$repo@${id[1]}"
        harm "$repo" 1
        ;;
    *) for n in $harm; do harm "$repo" "$n"; done ;;
    esac
    t_run blkrep verify "$repo"
    t_status 4
    t_run blkrep prune "$repo"
    t_status 4
    repair
    t_status 0
    is points 5
    is bytes_repaired 0
    is source "$second"
    is points_renewed "$(wc -w <<<"${harm/held/1}")"
    whole
    if [[ $harm == held ]]; then
        t_run blkrep prune "$repo@${id[1]}" --yes
        t_refused_plainly=$T_STATUS
        [[ $t_refused_plainly -eq 3 ]] || t_fail "a hold did not hold the point that was made anew"
    fi
done
jq -se 'any(.[]; .act == "repair" and .points_renewed == 1)' "$BLKREP_STATE/audit.ndjson" >/dev/null || t_fail "no audit line"

# the newest one: this host has seen it, so the other state must be meant; once is enough
again
harm "$repo" 4
cp -r "$repo" "$K/before"
repair
t_refused 4 ROLLBACK
diff -r "$K/before/points" "$repo/points" || t_fail "a refused repair changed something"
# Nothing else is in its domain, which only its own record knew: its data is stored again
repair --accept-rollback
is points_renewed 1
is rolled_back 0
[[ $(field bytes_repaired) -gt 3000000 ]] || t_fail "the data of a domain that nobody knows was found"
whole
t_ok blkrep backup "$K/disk.img" "$repo"
t_ok blkrep points "$repo" --json
is rolled_back 0

# the copy is mended from the original as well, also where both lost data
again
flip "$first" 3000
harm "$repo" 0
harm "$second" 1
t_run blkrep verify "$second" --repair "$repo" --key-file "$K/key" --json
t_status 0
is points_renewed 1
repair
is points_renewed 1
whole
t_ok blkrep verify "$second" --data --key-file "$K/key"

# damaged on both sides, and one that REPO2 never had
again
harm "$repo" 1
harm "$second" 1
repair
t_status 4
is points_renewed 0
again
harm "$repo" 1
t_ok blkrep prune "$second@${id[1]}" --yes --key-file "$K/key"
cp -r "$repo/points" "$K/points"
repair
t_status 4
is points_renewed 0
diff -r "$K/points" "$repo/points" || t_fail "a point was removed that REPO2 has not"
# a source can't say what a point is
t_run blkrep verify "$repo" --repair "$K/image.1"
t_status 4
t_stderr_has "from another repository alone"
diff -r "$K/points" "$repo/points" || t_fail "a point was removed for a source"

# killed: looked for is the step at which the old record goes; at it, all around it, and elsewhere, the next run ends what was begun
if t_kill_can; then
    killed=0 gone=0
    kill_at() { # N
        local rc=0
        again
        harm "$repo" 1
        cp "$(object "$repo" 1)" "$K/harmed"
        "$T/kill_at" "$T/count" "$1" "$BLKREP" verify "$repo" --repair "$second" --to-key-file "$K/key" >"$T/out" 2>"$T/err" || rc=$?
        killed=$((killed + (rc == 137)))
        [[ -e $(object "$repo" 1) ]] || gone=$((gone + 1))
    }
    is_missed() { # the point that went with the repair: no verb takes what is left for whole, nor lets its data go
        t_run blkrep verify "$repo"
        t_status 4
        t_stderr_has "point ${id[1]:0:8} is gone since its repair was cut"
        t_run blkrep verify "$repo" --repair "$K/image.1"
        t_status 4
        t_run blkrep prune "$repo" --dry-run
        t_status 4
        t_stderr_has "gone since their repair was cut"
        [[ -z ${given_up:-} ]] || return 0
        given_up=1
        cp -r "$repo" "$K/cut" && cp -r "$BLKREP_STATE" "$K/cut.state"
        t_ok blkrep prune "$repo" --remove-damaged
        t_ok blkrep verify "$repo"
        rm -rf "$repo" "$BLKREP_STATE" && mv "$K/cut" "$repo" && mv "$K/cut.state" "$BLKREP_STATE"
    }
    killed_all=0 gone_all=0
    for round in 1 2 3; do # the step is not always the same: what waits makes more of them
        kill_at 0
        steps=()
        low=1 high=$(cat "$T/count")
        for at in $low $((high / 2)) $((high - 2)); do steps+=("$at"); done
        while [[ $((high - low)) -gt 1 ]]; do
            at=$(((low + high) / 2))
            kill_at $at
            if cmp -s "$K/harmed" "$(object "$repo" 1)"; then low=$at; else high=$at; fi
        done
        for ((at = high - 3; at < high + 9; at++)); do steps+=("$at"); done
        killed=0 gone=0
        for at in "${steps[@]}"; do
            kill_at "$at"
            [[ -e $(object "$repo" 1) ]] || is_missed
            repair
            t_status 0
            facts "$repo" >"$T/facts.now"
            diff "$T/facts" "$T/facts.now" >&2 || t_fail "after a kill at $at of round $round a point is not what it was"
        done
        killed_all=$((killed_all + killed)) gone_all=$((gone_all + gone))
        [[ $killed_all -lt 10 || $gone_all -lt 1 ]] || break
    done
    [[ $killed_all -ge 10 && $gone_all -ge 1 ]] || t_fail "$killed_all were killed, $gone_all between the old record and the new one"
    whole
fi

# what a prune removed is not brought back
again
t_ok blkrep prune "$repo@${id[1]}" --yes
harm "$repo" 0
repair
is points_renewed 1
[[ ! -e $(object "$repo" 1) ]] || t_fail "a point that was removed is there again"

# a full disk: the damaged record stays until there is room
if [[ $(id -u) -eq 0 ]]; then
    t_mount tmpfs "$T/small" size=12M
    again
    harm "$repo" 1
    mv "$repo" "$T/small/repo"
    repo=$T/small/repo
    free=$(df --output=avail -B1 "$T/small" | tail -n 1)
    dd if=/dev/zero of="$T/small/fill" bs=64K count=$((free / 65536 - 4)) status=none
    t_remember "$repo/points"
    repair
    t_refused 6 NO_SPACE
    t_nothing_changed "$repo/points"
    rm "$T/small/fill"
    repair
    is points_renewed 1
    whole
    repo=$K/repo
fi

# behind a server: a writer may not replace a record, an operator may
again
export BLKREP_PASSPHRASE=served
s_configure "[repository main]" "path = $T/main" "serve = yes"
s_start
s_pair boss --role=admin
s_pair writer
s_pair operator --role=operator
R=$S_URL/main
s_as boss t_ok blkrep init "$R"
cp "$K/image.0" "$T/disk.img"
s_as writer t_ok blkrep backup "$T/disk.img" "$R"
cp "$K/image.1" "$T/disk.img"
s_as writer t_ok blkrep backup "$T/disk.img" "$R"
s_as writer t_ok blkrep init "$T/mine" --encryption none
s_as writer t_ok blkrep copy "$R" "$T/mine"
id[0]=$(s_as writer "$BLKREP" points "$R" --json | jq -r 'select(.type == "point" and .number == 1) | .id')
harm "$T/main" 0
cp -r "$T/main/points" "$T/points"
s_as writer t_run blkrep verify "$R" --repair "$T/mine" --json
t_status 4
is points_renewed 0
t_stderr_has "the client's role"
diff -r "$T/points" "$T/main/points" || t_fail "a writer removed a point"
s_as operator t_run blkrep verify "$R" --repair "$T/mine" --json
t_status 0
is points_renewed 1
s_as writer t_ok blkrep restore "$R@${id[0]}" "$T/back" --overwrite
t_file_equal "$K/image.0" "$T/back"
echo 'damaged points come back from a copy'
