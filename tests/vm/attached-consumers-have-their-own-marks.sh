#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all cpus=1 disk=source=24M disk=area=64M disk=home=64M disk=often=24M disk=seldom=24M disk=other=24M tools=dmsetup,mke2fs,jq,lvm,thin_check,thin_delta,thin_dump modules=dm-snapshot,dm-era,dm-thin-pool timeout=300
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# Several consumers of one volume: a replica that is synced each time, one that is synced every third time, and a stream of `send` that `receive`
# makes a third of. Each reads what changed since its own mark and not since another's, each is the volume in the end, and a stream that starts
# where no mark is reads everything and says why. And without --tracker, attach takes the tracker that fits the device.

# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount

# named_is MIB - what the tracker named in the last run; with dm-era a write touches whole blocks of 1 MiB, and none is missing
named_is() { [[ $(field bytes_tracked) -eq $(($1 << 20)) ]] || fail "$(field bytes_tracked) bytes were named, not $1 MiB: $(cat "$T/out")"; }

# change MIB LABEL - the MiB at that place gets other content
change() { vm_pattern $((1 << 20)) "$2" | dd of=/dev/mapper/data bs=1M seek="$1" iflag=fullblock oflag=direct conv=notrunc status=none || fail "a write failed"; }

# sent SINCE... - a stream into $T/stream, its receiver's replica
sent() {
    "$@" --json --progress=3 --recheck 0 >"$T/stream" 2>"$T/err" 3>"$T/out" || fail "$*: $(cat "$T/err" "$T/out")"
    blkrep receive /dev/vm/other --overwrite --yes <"$T/stream" >"$T/received" 2>&1 || fail "receive: $(cat "$T/received")"
}

for tracker in era cow; do
    vm_pattern $((24 << 20)) "source $tracker" | dd of=/dev/vm/source bs=1M iflag=fullblock oflag=direct status=none
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    for to in often seldom; do run blkrep sync data "/dev/vm/$to" --overwrite --yes; done
    sent blkrep send data
    for ((i = 1; i <= 3; i++)); do
        change $i "$tracker $i"
        run blkrep sync data /dev/vm/often --recheck 0
        is tracker "$tracker"
        is fallback_reason null
        named_is $((i == 1 ? 1 : 2)) # and what came after the run before
        change $((10 + i)) "$tracker again $i"
    done
    run blkrep sync data /dev/vm/seldom --recheck 0
    is fallback_reason null
    named_is 6
    change 20 "$tracker sent"
    sent blkrep send data --since=last
    is tracker "$tracker"
    is fallback_reason null
    named_is 7
    run blkrep sync data /dev/vm/often --recheck 0
    named_is 2
    run blkrep sync data /dev/vm/seldom --recheck 0
    named_is 1
    for to in often seldom other; do same "$tracker" /dev/mapper/data "/dev/vm/$to"; done
    run blkrep status data
    [[ $(jq -r 'select(.consumers) | .consumers | length' "$T/out") -eq 3 ]] || fail "not three consumers: $(cat "$T/out")"

    # One that goes takes its mark along and nobody else's.
    run blkrep forget /dev/vm/seldom --yes
    change 21 "$tracker alone"
    run blkrep sync data /dev/vm/often --recheck 0
    is fallback_reason null
    named_is 1
    sent blkrep send data
    is full true
    same "$tracker, a full stream" /dev/mapper/data /dev/vm/other
    run blkrep detach data
    nothing_left
    for to in often other; do run blkrep forget /dev/vm/$to --yes; done
done

# ---- auto -------------------------------------------------------------------------------------------------------------------------------
# tracker_of DEVICE OPTION... - what attach takes when it is asked for nothing
tracker_of() {
    run blkrep attach data "$@"
    run blkrep sync data /dev/vm/often --overwrite --yes
    field tracker >"$T/tracker"
    run blkrep detach data
    run blkrep forget /dev/vm/often --yes
}
for disk in source often seldom; do dd if=/dev/zero of=/dev/vm/$disk bs=64K count=1 oflag=direct conv=notrunc status=none; done
tracker_of /dev/vm/source --cow /dev/vm/area
[[ $(cat "$T/tracker") == cow ]] || fail "a plain device whose area is another disk: $(cat "$T/tracker")"
lvm vgcreate -q vg "$(readlink -f /dev/vm/source)" "$(readlink -f /dev/vm/seldom)" && lvm lvcreate -q -y -L 8M -n linear vg &&
    lvm lvcreate -q -y -n pool --type thin-pool -L 12M -c 64k vg && lvm lvcreate -q -y -n thin -V 8M --thinpool vg/pool || fail "a volume group"
tracker_of /dev/vg/linear
[[ $(cat "$T/tracker") == cow ]] || fail "a linear volume: $(cat "$T/tracker")"
tracker_of /dev/vg/thin
[[ $(cat "$T/tracker") == thin ]] || fail "a thin volume: $(cat "$T/tracker")"
