# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# kill -9 of blkrep, alone or with its helper and everybody but the watchdog, at the changes that a verb makes to the stack
# (lib/kill_at_change.c). After each: within five seconds no device is suspended, the source can be read and written, what was written before
# and between is in the replica, the same verb again does its work or finds it done, and in the end nothing is left.
#
# The tests that source this call attached_kill_main STEP TRACKERS WHOM [VERBS]: every STEP-th change, from a first one that the seed draws.
# With in_use=1 the device is one of device-mapper that somebody has open: the stack is slipped under it, and it is itself the volume.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

in_use=''

device() { if [[ -n $in_use ]]; then echo /dev/mapper/used; else echo /dev/vm/source; fi; }
plain_table() { echo "0 $(blockdev --getsz /dev/vm/source) linear $(cat "/sys/class/block/$(basename "$(readlink -f /dev/vm/source)")/dev") 0"; }

attach_it() { blkrep attach data "$(device)" --tracker "$tracker" --cow "$cow" --cow-size 24M --json; }
sync_it() { blkrep sync data /dev/vm/target --overwrite --yes --recheck 64K --json; }

# Does the stack stand? Its node may outlive it: a guest has no udev, and whoever was to remove the node was killed.
has_top() {
    if [[ -n $in_use ]]; then
        [[ $(dmsetup table used) == *" snapshot-origin "* ]]
    else
        [[ -n $(dmsetup table data 2>/dev/null) ]]
    fi
}

# top - where the volume's users find it now
top() { if [[ -z $in_use ]] && has_top; then echo /dev/mapper/data; else device; fi; }

# none_left - of blkrep's; a device that was in use has its own table
none_left() {
    nothing_left ${in_use:+used}
    [[ -z $in_use || $(dmsetup table used) == "$(plain_table)" ]] || fail "the table is not the device's own: $(dmsetup table used)"
}

# alive WHAT - the source can be read and written, and shows the write before this one
alive() {
    nothing_suspended
    stamp "$(top)" $((writes += 1)) 4 16384 || fail "$1: the source can't be written"
    timeout 10 dd if="$(top)" of=/dev/null bs=1M iflag=direct status=none || fail "$1: the source can't be read"
}

# again WHAT COMMAND... - it must succeed now
again() {
    local what=$1 status=0
    shift
    "$@" >"$T/out" 2>"$T/err" || status=$?
    [[ $status -eq 0 ]] || fail "$what; then $*: status $status: $(cat "$T/out" "$T/err"; dmsetup ls; tail -3 /mnt/state/audit.ndjson)"
}

# once_more WHAT DONE COMMAND... - the same verb again: it does its work, or is told that it is done, and DONE finds it so
once_more() {
    local what=$1 is_done=$2 status=0
    shift 2
    "$@" >"$T/out" 2>"$T/err" || status=$?
    [[ $status -eq 0 ]] || $is_done || fail "$what; then again: status $status: $(cat "$T/out" "$T/err"; dmsetup ls; tail -3 /mnt/state/audit.ndjson)"
}

# sweep WHO BEFORE DONE AFTER COMMAND... - BEFORE and AFTER make and check the state around each
sweep() {
    local who=$1 before=$2 is_done=$3 after=$4 n reached count=1 what
    shift 4
    $before
    kill_at_change "$T/count" 0 all "$@" >"$T/out" 2>"$T/err" || fail "$*: status $?: $(cat "$T/out" "$T/err")"
    read -r count _ <"$T/count"
    [[ $count -gt 3 ]] || fail "$*: only $count changes were seen"
    for ((n = 1 + $(vm_random $((step < count ? step : count)) "$who $* $tracker"); n <= count; n += step)); do
        $before
        rm -f "$T/count"
        kill_at_change "$T/count" "$n" "$who" "$@" >"$T/out" 2>"$T/err"
        [[ -s $T/count ]] || fail "$*: killed at change $n: not everybody ended: $(cat "$T/err")"
        what="$tracker, $*: $who killed at change $(cat "$T/count") of $count"
        echo "$what"
        read -r reached _ <"$T/count"
        [[ $reached -eq $n ]] || missed=$((missed + 1)) # it made fewer changes than the first time
        alive "$what"
        once_more "$what" "$is_done" "$@"
        $after "$what"
        swept=$((swept + 1))
    done
}

detached() {
    [[ ! -e $BLKREP_STATE/volumes/data ]] || again "before" blkrep detach data
    none_left
}
attached() { has_top || again "before" attach_it; }
synced() { attached && again "before" sync_it; }
# What a run left must be right: the next one finds no difference that it was not told of.
then_synced() {
    alive "$1"
    again "$1" sync_it
    is tracker_caught false
    same "$1" /dev/vm/source /dev/vm/target
}
then_none() {
    none_left
    alive "$1"
}
has_snapshot() { blkrep snapshot list data >"$T/list" && grep ' s1 ' "$T/list" | grep -qv lost; }
has_none() { blkrep snapshot list data >"$T/list" && ! grep -q ' s1 ' "$T/list"; }
has_no_volume() { [[ ! -e $BLKREP_STATE/volumes/data ]]; }
with_snapshot() { synced && { has_snapshot || again "before" blkrep snapshot create data --name s1; }; }
without_snapshot() { synced && { has_none || again "before" blkrep snapshot remove data@s1; }; }

attached_kill_main() {
    step=$1 writes=0 swept=0 missed=0
    local who verbs=" ${4:-attach sync create remove detach} "
    home_mount
    if [[ -n $in_use ]]; then
        dmsetup create used --table "$(plain_table)" || fail "dmsetup"
        exec 8<>/dev/mapper/used || fail "cannot open the device"
    fi
    for tracker in $2; do
        if [[ $tracker == cow ]]; then cow=/mnt/area; else cow=/dev/vm/area; fi
        # Folders and files that only the first attach makes are there before changes are counted.
        again "before" attach_it
        again "before" blkrep detach data
        for who in $3; do
            [[ $verbs != *" attach "* ]] || sweep "$who" detached has_top then_synced blkrep attach data "$(device)" --tracker "$tracker" --cow "$cow" --cow-size 24M
            [[ $verbs != *" sync "* ]] || sweep "$who" synced false then_synced blkrep sync data /dev/vm/target --overwrite --yes --recheck 64K
            [[ $verbs != *" create "* ]] || sweep "$who" without_snapshot has_snapshot then_synced blkrep snapshot create data --name s1
            [[ $verbs != *" remove "* ]] || sweep "$who" with_snapshot has_none then_synced blkrep snapshot remove data@s1
            [[ $verbs != *" detach "* ]] || sweep "$who" synced has_no_volume then_none blkrep detach data
        done
    done
    echo "$swept kills, seed $VM_SEED"
    [[ $missed -le $((swept / 20)) ]] || fail "$missed of $swept times nobody was killed: the changes are not the same each time"
}
