#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=data=16M disk=logs=16M disk=area_data=48M disk=area_logs=48M disk=home=32M disk=to_data=16M disk=to_logs=16M tools=dmsetup,mke2fs,jq modules=dm-snapshot,dm-era timeout=240
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A snapshot of two volumes at once, one with tracker era and one with cow, while one writer goes from one to the other: one cut point explains
# every sector of both, and of the replicas made of them. A group that can't be had whole leaves nothing.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
run blkrep attach data /dev/vm/data --tracker era --cow /dev/vm/area_data
run blkrep attach logs /dev/vm/logs --tracker cow --cow /dev/vm/area_logs
for name in data logs; do keep_image /dev/mapper/$name "$T/base.$name"; done
ordered write 1 131072 5 /dev/mapper/data /dev/mapper/logs >"$T/count" &
writer=$!
for ((i = 1; i <= 3; i++)); do
    run blkrep snapshot create logs data --name "g$i" --store 20M
    jq -r '.snapshots[]? | .volume + " " + .path' "$T/out" >"$T/paths"
    while read -r name path; do keep_image "$path" "$T/image.$name"; done <"$T/paths"
    ordered check 1 131072 "$T/base.data" "$T/base.logs" -- "$T/image.data" "$T/image.logs" || fail "round $i"
    for name in data logs; do
        run blkrep sync "$name@g$i" "/dev/vm/to_$name" --overwrite --yes
        same "round $i" "$T/image.$name" "/dev/vm/to_$name"
        run blkrep snapshot remove "$name@g$i"
    done
done

# One of two has the name taken: the other must not get it, whichever is first.
run blkrep snapshot create logs --name half --store 4M
run_is 7 blkrep snapshot create data logs --name half --store 4M
run blkrep snapshot list data
is snapshots 0
run blkrep snapshot remove logs@half

kill -TERM $writer
wait $writer || fail "the writer saw an error"
echo "$(cat "$T/count") writes"
nothing_suspended
for name in data logs; do run blkrep detach $name; done
nothing_left
