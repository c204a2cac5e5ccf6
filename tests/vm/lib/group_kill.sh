# shellcheck shell=bash
# shellcheck disable=SC2015,SC2154 # "A && B || fail": fail ends the test; names and device are of the test that sources this
# SPDX-License-Identifier: Apache-2.0
#
# blkrep and its helper are killed at some of the changes that a snapshot of several volumes makes, and at each of the last, which are those of
# the records: afterwards nothing is suspended, each can be written, either all have the snapshot or none, also when it is removed from one, the
# next one is whole, and nothing of the others is left.
#
# The tests that source this attach and sync the volumes first; ours prints what of blkrep's is there, a line each.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

# killed_create N - the snapshot k of $names, killed at change N, 0 never; $T/kills says how many there were
killed_create() {
    # shellcheck disable=SC2086 # names are words
    kill_at_change "$T/kills" "$1" all blkrep snapshot create $names --name k --store 4M >"$T/out" 2>"$T/err"
}

# who_has_it - the volumes that list it, and as neither lost nor not taken
who_has_it() {
    local name
    for name in $names; do
        if blkrep snapshot list "$name" | grep ' k ' | grep -qvE 'lost|not taken'; then echo "$name"; fi
    done
}

# removed_from_all FIRST - from FIRST, then from the others: those must still have it
removed_from_all() {
    local name
    run blkrep snapshot remove "$1@k"
    for name in $names; do
        [[ $name == "$1" ]] || run blkrep snapshot remove "$name@k"
    done
}

# group_kill_at BEFORE N - one kill; BEFORE is what ours printed before
group_kill_at() {
    local before=$1 n=$2 name has
    killed_create "$n"
    echo "killed at change $(cat "$T/kills")"
    nothing_suspended
    for name in $names; do stamp "${device[$name]}" "$n" 4 16384 || fail "$name can't be written"; done
    has=$(who_has_it)
    if [[ -n $has ]]; then
        # shellcheck disable=SC2086
        [[ $(wc -l <<<"$has") -eq $(wc -w <<<"$names") ]] || fail "after a kill at change $n only these have it: $has"
        decided=$((decided + 1))
    else
        # shellcheck disable=SC2086
        run blkrep snapshot create $names --name k --store 4M
    fi
    removed_from_all "$(tr ' ' '\n' <<<"$names" | sed -n "$((1 + n % $(wc -w <<<"$names")))p")"
    [[ $(ours) == "$before" ]] || fail "left behind after a kill at change $n: $(ours), before: $before"
}

# group_kill_main KILLS LAST - KILLS spread over all changes, and the LAST ones each
group_kill_main() {
    local before count step n kills=0
    decided=0
    before=$(ours)
    killed_create 0 || fail "$(cat "$T/err")"
    read -r count _ <"$T/kills"
    [[ $count -gt 12 ]] || fail "only $count changes were seen"
    # shellcheck disable=SC2086
    removed_from_all "${names%% *}"
    step=$(((count - $2) / $1))
    for ((n = 1 + $(vm_random "$step" kill); n <= count; n += n + step > count - $2 ? 1 : step)); do
        group_kill_at "$before" "$n"
        kills=$((kills + 1))
    done
    echo "$kills kills of $count changes, $decided after the group was decided"
    [[ $decided -gt 1 ]] || fail "no kill met the records after the window"
}
