#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
# A delta that was cut goes on: what had come and is still right is not shipped again, whatever cut the run, the source may have changed
# meanwhile, and what was kept may be damaged, of another version, or forgotten.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d"
a=$T/d/a b=$T/d/b side=$T/d/b.blkrep
seed=100

# cut SIGNAL [FILE BYTES]: a run of the delta, ended when so much of it has come (default: 5 MiB of the stage)
cut() {
    t_background run blkrep sync --json --bwlimit=2M "$a" "$b"
    t_wait_for 20 t_has_bytes "$side/${2:-stage}" $((${3:-5} << 20))
    t_end "$T_PID" "$1"
    [[ $T_STATUS -ne 0 ]] || t_fail "the run was over before it could be cut"
}
change() { # change: 12 MiB of the source become others
    seed=$((seed + 1))
    t_random_at "$a" 2M 12M "$seed"
}
nothing_left() {
    [[ ! -e $side/stage && ! -e $side/stage.cut && ! -e $side/cut.1 ]] || t_fail "something is left: $(ls "$side")"
}
ends_equal() { # ends_equal [OPTION...]: the next run makes both equal and leaves nothing beside the replica
    t_ok blkrep sync --json "$@" "$a" "$b"
    t_file_equal "$a" "$b"
    nothing_left
}
goes_on() { # goes_on MIB: it also keeps at least that, and ships the rest
    ends_equal
    t_json_is resumed true
    t_le $(($1 << 20)) "$(t_json bytes_resumed)" "to be kept"
    [[ $(($(t_json bytes_resumed) + $(t_json bytes_shipped))) -eq $(t_json bytes_changed) ]] || t_fail "kept and shipped are not what changed"
}
held() { # what status says is kept
    t_ok blkrep status --json "$b"
    jq -r 'select(.type == "replica") | .held_bytes' "$T/out"
}
back() { # back: to how it was after the cut that was saved
    rm -rf "$T/d"
    cp -a "$T/saved" "$T/d"
}

t_random "$a" 16M 1
t_ok blkrep sync "$a" "$b"
[[ $(held) -eq 0 ]] || t_fail "something is held of nothing"

# ended in order, and killed; the first is looked at
change
cut TERM
t_le $((5 << 20)) "$(held)" "what status says is kept"
t_ok blkrep status "$b"
t_stdout_has "kept for the next run"
t_ok blkrep verify "$b" # it is the old version all the while
goes_on 5
[[ $(held) -eq 0 ]] || t_fail "something is held after the end"
t_ok blkrep sync "$a" "$b"
t_stdout_has "is current"
change
cp "$b" "$T/old"
cut KILL
cp -a "$T/d" "$T/saved"
goes_on 3

# cut once more; what is gone on with can be looked at, and is no stream
back
cut KILL stage.cut 7
t_run blkrep dump "$side/stage.cut"
t_stdout_has "delta stream"
t_run_in "$side/stage.cut" blkrep receive "$T/c"
[[ $T_STATUS -ne 0 ]] || t_fail "a cut stage passed for a stream"
goes_on 5

# the source is another one now: where it lay staged, where it did not, and longer
back
t_random_at "$a" 3M 64K 7
t_random_at "$a" 10M 4K 8
t_random_at "$a" 16M 300000 9
ends_equal
t_json_is resumed true
t_le $((2 << 20)) "$(t_json bytes_resumed)" "to be kept"
back
truncate -s 5000000 "$a"
ends_equal
t_json_is resumed true

# damage costs shipping; junk is nothing
back
printf 'xxxxxxxx' | dd of="$side/stage" bs=1 seek=2500000 conv=notrunc status=none
truncate -s $((4 << 20)) "$side/stage"
ends_equal
t_le "$(t_json bytes_resumed)" $((2 << 20)) "kept of a damaged stage"
back
head -c 100000 /dev/urandom >"$side/stage.cut"
ends_equal

# of another version: put back after the replica moved on
back
goes_on 3
cp "$T/saved/b.blkrep/stage" "$side/stage.cut"
change
ends_equal
t_json_is bytes_resumed 0
t_json_is resumed false

# a whole new replica instead of the delta; a source that is again as the replica is; a replica that is forgotten
back
ends_equal --force-full
t_json_is resumed false
back
cp "$T/old" "$a"
ends_equal
t_json_is new_version false
back
t_ok blkrep forget --yes "$b"
[[ ! -e $side ]] || t_fail "forget left $(ls "$side")"
