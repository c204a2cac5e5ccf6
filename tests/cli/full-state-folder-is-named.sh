#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A state folder without room, beside the source, of this host, or of a device's replica, gives status 6 and is named; the replica is what it
# was, and the same command goes on after room is made. To a server likewise, with either side's folder full.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

fill() { head -c 100M /dev/zero >"$1/ballast" 2>/dev/null || true; }
full() { # full FOLDER COMMAND ARGS...: status 6, that folder is named, and what to do
    t_run "${@:2}"
    t_refused 6 NO_SPACE
    t_json error.text | grep -F "$1" >/dev/null || t_fail "$1 is not named"
    t_stderr_has "make room"
}
# beside the source: a first copy, then a delta
t_mount tmpfs "$T/srcfs" size=6M
t_random "$T/srcfs/a" 2M 1
fill "$T/srcfs"
full "$T/srcfs" blkrep sync --json "$T/srcfs/a" "$T/b"
[[ ! -s $T/b ]] || [[ $(t_state "$T/b") == incomplete ]] || t_fail "half a replica that does not say so"
rm "$T/srcfs/ballast"
t_ok blkrep sync "$T/srcfs/a" "$T/b"
t_file_equal "$T/srcfs/a" "$T/b"
cp "$T/b" "$T/old"
t_random_at "$T/srcfs/a" 0 256K 2
fill "$T/srcfs"
full "$T/srcfs" blkrep sync --json "$T/srcfs/a" "$T/b"
t_file_equal "$T/old" "$T/b"
t_ok blkrep verify "$T/b"
rm "$T/srcfs/ballast"
t_ok blkrep sync --json "$T/srcfs/a" "$T/b"
t_file_equal "$T/srcfs/a" "$T/b"

# the same to a server
s_start
s_pair web
s_as web t_ok blkrep sync "$T/srcfs/a" "$S_URL/db"
cp "$T/replicas/db" "$T/old"
t_random_at "$T/srcfs/a" 0 256K 3
fill "$T/srcfs"
s_as web full "$T/srcfs" blkrep sync --json "$T/srcfs/a" "$S_URL/db"
t_file_equal "$T/old" "$T/replicas/db"
rm "$T/srcfs/ballast"
s_as web t_ok blkrep sync --json --verify "$T/srcfs/a" "$S_URL/db"
t_file_equal "$T/srcfs/a" "$T/replicas/db"
s_stop

# this host's: nothing is begun; with no room for more than the audit trail a device's replica keeps its version
t_mount tmpfs "$T/st" size=2M,mode=700
export BLKREP_STATE=$T/st
t_hole "$T/disk" 4M
t_loop "$T/disk"
disk=$T_LOOP
t_ok blkrep sync "$T/srcfs/a" "$disk"
cp "$T/disk" "$T/old"
fill "$T/st"
t_random_at "$T/srcfs/a" 0 1M 4
full "$T/st" blkrep sync --json "$T/srcfs/a" "$disk"
truncate -s -300K "$T/st/ballast"
full "$T/st" blkrep sync --json "$T/srcfs/a" "$disk"
sync "$disk"
t_file_equal "$T/old" "$T/disk"
t_ok blkrep verify "$disk"
rm "$T/st/ballast"
t_ok blkrep sync --json --verify "$T/srcfs/a" "$disk"
t_ok blkrep status --audit
