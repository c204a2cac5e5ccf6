#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=all disk=leg=24M disk=second=24M disk=area=80M disk=home=32M disk=target=24M tools=dmsetup,mke2fs,jq modules=dm-snapshot,dm-era,dm-multipath,dm-round-robin,sd_mod timeout=200
#
# A multipath device and SCSI disks (as iSCSI makes them), attached: one that has another name after a "boot" is found by its WWID, with its
# tracking whole; one that has been swapped for another is refused, by name, and nothing is built over it; and a path of a multipath
# device is not attached in its stead.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
leg=$(readlink -f /dev/vm/leg) second=$(readlink -f /dev/vm/second)

# multipath NAME WWID LEG - a multipath device with one path, as multipathd makes it
multipath() {
    local size
    size=$(blockdev --getsz "$3")
    dmsetup create "$1" -u "mpath-$2" --table "0 $size multipath 0 0 1 1 round-robin 0 1 1 $(<"/sys/class/block/${3##*/}/dev") 1" ||
        fail "multipath: $(dmesg | tail -3)"
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
[[ -s /sys/block/sda/device/wwid ]] || skip "scsi_debug has no WWID here"
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
