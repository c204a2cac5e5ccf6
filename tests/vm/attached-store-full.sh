#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=32M disk=area=12M disk=home=64M disk=target=32M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era timeout=300
#
# The place for stores is too small for what is written. Never does the volume itself see an error, and never is a run refused for ever: a view
# leaves room for the next one, it gets the room of the oldest mark when it needs it, what overflowed is named with status 6 by whoever
# wanted it, is in the audit log, and the run after compares everything.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached_full.sh
. /vm/lib/attached_full.sh

echo "== cow: one run after the other, each leaves room for the next"
run blkrep attach data /dev/vm/source --tracker cow --cow /dev/vm/area
run blkrep sync data /dev/vm/target --overwrite --yes
for i in 1 2; do
    overwrite "$i" 1 "run $i"
    run blkrep sync data /dev/vm/target --recheck 64K
    is fallback_reason null
done
equal "after three runs"

echo "== cow: the view takes the room of the mark and is read to its end"
overwrite 16 2 "before"
sync_in_time 0 6 1.5
replica_is "$T/view" "overtaken"
gone_audited mark "no-room|store-overflowed"
run blkrep sync data /dev/vm/target --recheck 64K
equal "after a run that was overtaken"

echo "== cow: the mark makes room also for a run that reads old data from it"
# On a machine that is busy with something else the room may be needed before anything was read: then once more.
for ((old = 0, round = 0; round < 4 && !old; round++)); do
    rm /mnt/state/devices/*/to-*.tree.* || fail "no trees"
    gone=$(grep -c '"act":"snapshot-gone"' /mnt/state/audit.ndjson)
    overwrite 16 2 "old data $round"
    sync_in_time 0 5 2
    old=$(field bytes_read_old)
    replica_is "$T/view" "overtaken with old data at hand"
    [[ $(grep -c '"act":"snapshot-gone"' /mnt/state/audit.ndjson) -gt $gone ]] || fail "the mark was not given up: $(cat /mnt/state/audit.ndjson)"
    run blkrep sync data /dev/vm/target --recheck 64K
    equal "after a run that was overtaken with old data at hand"
done
[[ $old -gt 0 ]] || fail "no old data was read in $round runs"

echo "== cow: a view that all of the room is not enough for"
overwrite 16 2 "more"
sync_in_time 6 15 0
says "larger area"
run blkrep sync data /dev/vm/target --recheck 64K
equal "after a run whose view overflowed"

echo "== cow: the mark overflows while no run is under way"
overwrite 0 14 "between"
run blkrep sync data /dev/vm/target --recheck 64K
is fallback_reason snapshot-gone
gone_audited mark store-overflowed
equal "after the mark overflowed"
run blkrep sync data /dev/vm/target --recheck 64K
is fallback_reason null

echo "== a user's snapshot overflows: it is named, and the volume's own runs go on"
run blkrep snapshot create data --name s1
overwrite 0 20 "over s1"
run_is 6 blkrep sync data@s1 /dev/vm/target
says "s1 of data overflowed"
run blkrep sync data /dev/vm/target --recheck 64K
is fallback_reason snapshot-gone
equal "beside a user's snapshot that overflowed"
blkrep snapshot list data | tee "$T/list"
grep -q "s1 .*lost" "$T/list" || fail "the list does not say that s1 is lost"
run_is 7 blkrep snapshot create data --name s1
run_is 6 blkrep sync data@s1 /dev/vm/target
run blkrep snapshot remove data@s1
run blkrep snapshot create data --name s1
run blkrep snapshot remove data@s1
run blkrep detach data
nothing_left
