#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=all disk=leg=24M disk=second=24M disk=area=80M disk=home=32M disk=target=24M tools=dmsetup,mke2fs modules=dm-snapshot,dm-era,dm-multipath,dm-round-robin,sd_mod cpus=1 timeout=240
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A multipath device and SCSI disks (as iSCSI makes them), attached: one that has another name after a "boot" is found by its WWID, with its
# tracking whole; one that has been swapped for another is refused, by name, and nothing is built over it; a path of a multipath
# device is not attached in its stead; and when a path fails while the volume is written to and synced, nobody sees an error.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
leg=$(readlink -f /dev/vm/leg) second=$(readlink -f /dev/vm/second)

# multipath NAME WWID LEG... - a multipath device with those paths, which take turns, as multipathd makes it
multipath() {
    local name=$1 wwid=$2 leg size paths=''
    shift 2
    size=$(blockdev --getsz "$1")
    for leg; do paths+=" $(<"/sys/class/block/${leg##*/}/dev") 1"; done
    dmsetup create "$name" -u "mpath-$wwid" --table "0 $size multipath 0 0 1 1 round-robin 0 $# 1$paths" || fail "multipath: $(dmesg | tail -3)"
}

# ---- multipath
multipath mpatha 3600508b400105e210000900000490000 "$leg"
run blkrep attach data /dev/mapper/mpatha --tracker era --cow /dev/vm/area
is path /dev/mapper/data
run_is 3 blkrep attach leg "$leg" --cow /dev/vm/area
vm_pattern $((2 << 20)) one | dd of=/dev/mapper/data bs=1M oflag=direct status=none || fail "write"
run blkrep sync data /dev/vm/target --overwrite --yes
is fallback_reason first-copy
vm_pattern 65536 two | dd of=/dev/mapper/data bs=64k seek=40 oflag=direct status=none || fail "write"
run blkrep detach data --keep

# Another name: what has it now is another disk, and the volume's own is called otherwise.
dmsetup rename mpatha mpathb || fail "rename"
multipath mpatha 3600508b400105e21ffffffffffffffff "$second"
run blkrep attach --all
is device /dev/mapper/mpathb
is tracking_lost null
says "found by its WWID"
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
below bytes_read $((8 << 20))
same "a replica after a change of names" /dev/mapper/data /dev/vm/target
run blkrep detach data --keep

# Gone, and another one there.
dmsetup remove mpathb && dmsetup remove mpatha && multipath mpathb 3600508b400105e21ffffffffffffffff "$second" || fail "swap"
run_is 3 blkrep attach data
says "another disk"
[[ ! -e /dev/mapper/data ]] || fail "the other disk has the volume's name"
run_is 3 blkrep attach --all
[[ ! -e /dev/mapper/data ]] || fail "the other disk has the volume's name"
dmsetup remove mpathb && multipath mpathc 3600508b400105e210000900000490000 "$leg" || fail "back"
run blkrep attach data
is device /dev/mapper/mpathc
run blkrep sync data /dev/vm/target
same "a replica after a refusal" /dev/mapper/data /dev/vm/target
run blkrep detach data
dmsetup remove mpathc
nothing_left

# ---- SCSI: two disks change their names
modprobe scsi_debug dev_size_mb=24 num_tgts=2 per_host_store=0 || fail "scsi_debug"
for _ in {1..100}; do [[ -b /dev/sda && -b /dev/sdb ]] && break || sleep 0.1; done
[[ -s /sys/block/sda/device/wwid ]] || fail "scsi_debug has no WWID: $(ls /sys/block/sda/device 2>&1)"
first=$(<"/sys/block/sda/device/wwid") host=/sys/class/scsi_host/$(basename "$(readlink -f /sys/block/sda/device/../..)")
run blkrep attach data /dev/sda --tracker era --cow /dev/vm/area
run blkrep sync data /dev/vm/target --overwrite --yes
run blkrep detach data --keep
ids=()
for disk in sda sdb; do
    id=$(basename "$(readlink -f "/sys/block/$disk/device")")
    ids+=("${id#*:}")
    echo 1 >"/sys/block/$disk/device/delete" || fail "delete $disk"
done
for _ in {1..50}; do [[ ! -e /sys/block/sda && ! -e /sys/block/sdb ]] && break || sleep 0.1; done
echo "${ids[1]//:/ }" >"$host/scan" && echo "${ids[0]//:/ }" >"$host/scan" || fail "scan"
for _ in {1..100}; do [[ -b /dev/sda && -b /dev/sdb ]] && break || sleep 0.1; done
[[ $(<"/sys/block/sdb/device/wwid") == "$first" ]] || fail "the disks did not change their names"
run blkrep attach data
is device /dev/sdb
is tracking_lost null
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
run blkrep detach data
nothing_left

# ---- two paths to one disk (all disks of scsi_debug have one memory), and the first goes away under the writes
multipath mpatha 3600508b400105e210000900000490001 /dev/sda /dev/sdb
paths() { dmsetup status mpatha | grep -oE '8:[0-9]+ [AF]' | tr '\n' ' '; }
[[ $(paths) == "8:0 A 8:16 A " ]] || fail "not two active paths: $(dmsetup status mpatha)"
run blkrep attach data /dev/mapper/mpatha --tracker era --cow /dev/vm/area
for path in /dev/sda /dev/sdb; do run_is 3 blkrep attach path "$path" --cow /dev/vm/leg; done
run blkrep sync data /dev/vm/target --overwrite --yes
(
    writes=0
    while [[ ! -e $T/enough ]]; do
        stamp /dev/mapper/data $((writes += 1)) 8 65536 || exit 1
        echo "$writes"
    done
) >"$T/writes" &
writer=$!
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
before=$(wc -l <"$T/writes")
echo offline >/sys/block/sda/device/state || fail "a path can't be taken away"
for ((i = 0; i < 2; i++)); do
    run blkrep sync data /dev/vm/target --recheck 1M
    is fallback_reason null
    is tracker_caught false
done
[[ $(paths) == "8:0 F 8:16 A " ]] || fail "the path did not fail: $(dmsetup status mpatha)"
for _ in {1..100}; do [[ $(wc -l <"$T/writes") -gt $((before + 4)) ]] && break || sleep 0.1; done
: >"$T/enough"
wait $writer || fail "a write failed with the path: $(dmesg | tail -5)"
[[ $(wc -l <"$T/writes") -gt $((before + 4)) ]] || fail "nothing was written without the path"
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
same "a replica after a path failed" /dev/mapper/data /dev/vm/target
echo "$before rounds of writes before the path failed, $(($(wc -l <"$T/writes") - before)) after it"

# It comes back, and now the other one goes.
echo running >/sys/block/sda/device/state && dmsetup message mpatha 0 reinstate_path 8:0 && echo offline >/sys/block/sdb/device/state ||
    fail "the paths can't be changed"
stamp /dev/mapper/data 1000 20 65536 || fail "a write failed with the second path"
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
same "a replica after the other path failed" /dev/mapper/data /dev/vm/target
run blkrep detach data
dmsetup remove mpatha
nothing_left
