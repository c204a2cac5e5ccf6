#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=source=48M disk=area=160M disk=pv=640M disk=home=32M disk=to_plain=48M disk=to_db=96M tools=dmsetup,lvm,mke2fs,e2fsck,resize2fs,timeout modules=dm-snapshot,dm-era cpus=1 timeout=600
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A device of device-mapper that is mounted and written to gets the stack slipped under it: it keeps its path, no write fails, runs ship what
# changed, and a detach gives it its own table back, under the writer's hands. So does a logical volume, by the command that `blkrep doctor`
# prints, with its place in its own group. When LVM puts a table of its own back (a refresh, a longer volume, a snapshot of LVM's) nothing is tracked:
# the next run says so and ends, the next attach ends the chain, everything is compared, and no table of before comes back.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

# writer NAME - writes and flushes in /run/NAME until writer_end; what failed is in $T/failed.NAME
writer() {
    local name=$1
    : >"$T/go.$name" && : >"$T/failed.$name" && echo 0 >"$T/count.$name"
    vm_pattern 16384 "$name" >"$T/block"
    (
        for ((i = 1; ; i++)); do
            [[ -e $T/go.$name ]] || exit 0
            { echo "$i" && cat "$T/block"; } >"/run/$name/w$((i % 8))" && sync "/run/$name/w$((i % 8))" || echo "write $i" >>"$T/failed.$name"
            echo "$i" >"$T/count.$name"
        done
    ) 2>>"$T/failed.$name" &
    writers[$name]=$!
}

# writes_on NAME - within a minute it has written some more, and nothing failed
writes_on() {
    local before i
    before=$(<"$T/count.$1")
    for ((i = 0; i < 600; i++)); do
        [[ ! -s $T/failed.$1 ]] || fail "$1: a write failed: $(cat "$T/failed.$1"; dmesg | tail -5)"
        [[ $(<"$T/count.$1") -lt $((before + 3)) ]] || return 0
        sleep 0.1
    done
    fail "$1: the writer hangs at $before: $(dmsetup info; dmesg | tail -5)"
}

writer_end() {
    writes_on "$1"
    rm "$T/go.$1"
    wait "${writers[$1]}"
    [[ ! -s $T/failed.$1 ]] || fail "$1: a write failed: $(cat "$T/failed.$1")"
}

table() { dmsetup table "$1" || fail "no table of $1"; }

# kind WORD DEVICE - its table is one target of that kind
kind() { [[ $(table "$2") == "0 "*" $1 "* && $(table "$2" | wc -l) -eq 1 ]] || fail "$2 is no $1: $(table "$2")"; }

# shipped NAME TARGET [REASON] - a snapshot is synced while it is written to; the replica is it, and a clean file system
shipped() {
    local path reason=${3:-null}
    run blkrep snapshot create "$1" --name s1
    path=$(field 'snapshots[0].path')
    run blkrep sync "$1@s1" "$2" --recheck 1M
    is tracker "$tracker"
    is fallback_reason "$reason"
    is tracker_caught false
    is consistency clean
    [[ $reason != null ]] || below bytes_read $((20 << 20))
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp -n "$(blockdev --getsize64 "$path")" "$path" "$2" || fail "the replica of $1 is not the snapshot that it was made of: $(cat "$T/out")"
    e2fsck -fn "$2" >"$T/fsck" 2>&1 || fail "the replica of $1 is no clean file system: $(cat "$T/fsck")"
    blkrep snapshot remove "$1@s1" || fail "snapshot remove"
    nothing_suspended
    writes_on "$1"
}

# down NAME - a run and `blkrep status` say that nothing is tracked, and LVM's table is left alone
down() {
    local before
    before=$(table data-db)
    run_is 1 blkrep sync db /dev/vm/to_db
    says "its stack does not stand: run blkrep attach db"
    # the service says it, once
    timeout -s INT 9 blkrep watch >"$T/watch" 2>&1
    [[ $(grep -c "volume db: its stack does not stand" "$T/watch") -eq 1 ]] || fail "watch says of a stack that is gone: $(cat "$T/watch")"
    blkrep status db --json >"$T/out" || true
    [[ $(json_field "$T/out" type=volume,volume=db state) == down ]] || fail "status calls it something else: $(cat "$T/out")"
    [[ $(table data-db) == "$before" ]] || fail "a table changed: $(table data-db)"
    writes_on db
}

# up_again - the stack is slipped under it anew, and the chain ended
up_again() {
    run blkrep attach db
    is tracking_lost stack-removed
    is online true
    kind snapshot-origin data-db
    nothing_suspended
    writes_on db
}

declare -A writers
home_mount

# A device made with dmsetup
tracker=cow
dmsetup create plain --table "0 $((48 * 2048)) linear /dev/vm/source 0" || fail "create"
before=$(table plain)
mke2fs -q -F -t ext4 /dev/mapper/plain && mkdir -p /run/plain && mount -t ext4 /dev/mapper/plain /run/plain || fail "ext4"
vm_pattern $((8 << 20)) first >/run/plain/first
writer plain
run blkrep attach plain /dev/mapper/plain --tracker cow --cow /dev/vm/area
is online true
is path /dev/mapper/plain
kind snapshot-origin plain
nothing_suspended
writes_on plain
run blkrep sync plain /dev/vm/to_plain --overwrite --yes
is fallback_reason first-copy
vm_pattern $((2 << 20)) more >/run/plain/more
shipped plain /dev/vm/to_plain
vm_pattern $((1 << 20)) again >/run/plain/more
shipped plain /dev/vm/to_plain
run blkrep attach plain
is tracking_lost null
run blkrep detach plain
[[ $(table plain) == "$before" ]] || fail "the table was $before and is $(table plain)"
nothing_suspended
writer_end plain
nothing_left plain
umount /run/plain && e2fsck -fn /dev/mapper/plain >"$T/fsck" 2>&1 || fail "the source: $(cat "$T/fsck")"
dmsetup remove plain || fail "remove"

# A logical volume, as doctor says
tracker=era
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n db -L 48M data || fail "LVM"
before=$(table data-db)
mke2fs -q -F -t ext4 /dev/mapper/data-db && mkdir -p /run/db && mount -t ext4 /dev/mapper/data-db /run/db || fail "ext4"
vm_pattern $((8 << 20)) first >/run/db/first
blkrep doctor --json /dev/mapper/data-db >"$T/doctor" || fail "doctor"
command=$(json_field "$T/doctor" '' 'devices[0].plans[0].commands[0]')
[[ $command == *" --cow=vg:data" ]] || fail "doctor prints: $command"
writer db
run bash -c "$command \"\$@\"" doctor
is volume db
is online true
is tracker era
is path /dev/mapper/data-db
kind snapshot-origin data-db
nothing_suspended
writes_on db
run blkrep sync db /dev/vm/to_db --overwrite --yes
is fallback_reason first-copy
vm_pattern $((2 << 20)) more >/run/db/more
shipped db /dev/vm/to_db
# The place grows in the group.
size() { blockdev --getsize64 /dev/mapper/data-blkrep--db--area; }
small=$(size)
run blkrep snapshot create db --name large --store 160M
[[ $(size) -gt $small ]] || fail "the place did not grow: $small, $(size)"
shipped db /dev/vm/to_db

# LVM's own table is back: what is written now no tracker sees, and the snapshot is none any more.
lvm lvchange --refresh data/db || fail "refresh"
kind linear data-db
vm_pattern $((1 << 20)) unseen >/run/db/first && sync
down
up_again
run_is 6 blkrep sync db@large /dev/vm/to_db
says "written to while its stack was away"
blkrep snapshot remove db@large || fail "snapshot remove"
shipped db /dev/vm/to_db stack-removed
shipped db /dev/vm/to_db

# A snapshot of LVM's has a snapshot-origin for a table too, another one.
lvm lvcreate -q -y -s -n byhand -L 32M data/db || fail "lvcreate --snapshot"
kind snapshot-origin data-db
vm_pattern $((1 << 20)) unseen2 >/run/db/first && sync
down
lvm lvremove -q -y data/byhand || fail "lvremove"
up_again
shipped db /dev/vm/to_db stack-removed

# It grows: LVM's longer table stays, and the stack takes the new size. What a detach finds of LVM's it leaves, too.
lvm lvextend -q -L 80M data/db || fail "lvextend"
before=$(table data-db)
down
up_again
is size_bytes $((80 << 20))
resize2fs /dev/mapper/data-db >"$T/resize" 2>&1 || fail "resize2fs: $(cat "$T/resize")"
shipped db /dev/vm/to_db stack-removed
shipped db /dev/vm/to_db
run blkrep detach db
[[ $(table data-db) == "$before" ]] || fail "the table was $before and is $(table data-db)"
nothing_suspended
writes_on db
nothing_left data-db
run blkrep attach db /dev/mapper/data-db --tracker era --cow /dev/vm/area
is online true
lvm lvextend -q -L 96M data/db || fail "lvextend"
before=$(table data-db)
run blkrep detach db
[[ $(table data-db) == "$before" ]] || fail "detach took the table of LVM, $before, away: $(table data-db)"
nothing_suspended
writer_end db
[[ $(lvm lvs --noheadings -o lv_name data | tr -d ' \n') == db ]] || fail "left in the group: $(lvm lvs data)"
nothing_left data-db
umount /run/db && e2fsck -fn /dev/mapper/data-db >"$T/fsck" 2>&1 || fail "the source: $(cat "$T/fsck")"
! dmesg | grep -E 'EXT4-fs error|I/O error|Aborting journal' || fail "the kernel saw errors"
