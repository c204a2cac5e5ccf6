#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2001,SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=pv=160M tools=dmsetup,lvm,thin_check,mke2fs modules=dm-snapshot,dm-thin-pool,dm-delay timeout=240
#
# LVM's snapshots that a window of blkrep-dm-helper makes anew, on a disk that gets slow: they are of the window's moment, and LVM's commands find
# everything as they left it; whatever is no such snapshot, or was touched meanwhile, is refused. When the freeze hangs, or the suspender is killed,
# both origins are ACTIVE again and written to, and LVM removes what is left.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
M=$((1 << 20)) sectors=$((159 << 11)) # not from the disk's start: LVM must find its label in one place
disk=$(readlink -f /dev/vm/pv)

# delay MS - how long a write or flush of the group's disk takes
delay() {
    dmsetup reload slow --table "0 $sectors delay $disk 2048 0 $disk 2048 $1 $disk 2048 $1" && dmsetup suspend --nolockfs slow &&
        dmsetup resume slow || fail "the slow disk"
}
modprobe dm-delay || skip "this kernel has no dm-delay"
dmsetup create slow --table "0 $sectors delay $disk 2048 0 $disk 2048 0 $disk 2048 0" || fail "dm-delay"
lvm vgcreate -q data /dev/mapper/slow || fail "vgcreate"
lvm lvcreate -q -y -n db -L 16M data && lvm lvcreate -q -y -n other -L 4M data || fail "lvcreate"
lvm lvcreate -q -y -n pool --type thin-pool -L 48M -c 64k data && lvm lvcreate -q -y -n thin -V 16M --thinpool data/pool || fail "thin pool"
ok register db "$(uuid_of 1)" /dev/data/db
ok register thin "$(uuid_of 2)" /dev/data/thin
mke2fs -q -t ext4 /dev/data/db && mkdir "$T/db" && mount /dev/data/db "$T/db" || fail "ext4"

group=(window "top=db/@device,freeze" "top=thin/@device,freeze" "inside=db/lvm:data/s1,renew" "inside=thin/lvm:data/s1,renew")
make() { ok lvm-create db snapshot s1 "size=$((8 * M))" -- lvm-create thin thin s1; }
unmake() { ok lvm-remove db data s1 -- lvm-remove thin data s1; }
both_active() { [[ $(state data-db) == Active && $(state data-thin) == Active ]]; }
mark() { vm_pattern $M "$1" | dd of=/dev/data/thin bs=64k oflag=direct status=none && echo "$1" >"$T/db/mark" && sync -f "$T/db"; }
tables() { dmsetup table | grep '^data-' | sort; }

echo "== of the window's moment, with all tables and numbers as before"
mark early
make
tables >"$T/tables"
mark "then"
ok "${group[@]}" sync=20000 good=1000 deadline=20000
mark later
tables | cmp - "$T/tables" || fail "tables are not what LVM made: $(tables | diff "$T/tables" -)"
cmp -n $M <(vm_pattern $M "then") /dev/data/blkrep-thin-s1 || fail "the thin snapshot is of another moment"
mkdir "$T/view" && mount -t ext4 -o ro,norecovery /dev/data/blkrep-db-s1 "$T/view" || fail "mounting the view"
[[ $(cat "$T/view/mark") == "then" ]] || fail "the view is of '$(cat "$T/view/mark")'"
umount "$T/view"
refused BUSY lvm-create db snapshot s1 "size=$((8 * M))"
ok lvm-extend db data s1 "size=$((12 * M))"
want "$(dmh status db/lvm:data/s1)" kind=snapshot state=1
unmake
[[ $(dmsetup table data-db) == *linear* ]] || fail "LVM left $(dmsetup table data-db)"

echo "== what is no such snapshot"
make
refused USAGE window top=db/@device,freeze inside=thin/lvm:data/s1,renew
refused PERMISSION window top=db/@device,freeze inside=db/lvm:spare/s1,renew
refused NOT_FOUND window top=db/@device,freeze inside=db/lvm:data/s2,renew
ok lvm-create db linear plain "size=$((4 * M))"
refused USAGE window top=db/@device,freeze inside=db/lvm:data/plain,renew
ok lvm-remove db data plain
exec 5</dev/data/blkrep-db-s1
refused BUSY window top=db/@device,freeze inside=db/lvm:data/s1,renew
exec 5<&-
unmake

# Both snapshots are out of use (the thin one's device is gone), and the window's own suspender is at work: it syncs, or freezes.
at_work() {
    [[ ! -e /dev/mapper/data-blkrep--thin--s1 && $(dmsetup table --inactive data-blkrep--db--s1) == *snapshot* ]] &&
        pid_of blkrep-suspend
} >/dev/null 2>&1

# begin MS ARGUMENTS... - a window begins on a disk of which a write or flush takes that long
begin() {
    within 30000 "the end of an earlier window" nobody_left
    delay "$1"
    shift
    dd if=/dev/urandom of="$T/db/dirty" bs=64k count=16 status=none
    (dmh "$@" >"$T/window.log" 2>&1; echo "status $?" >>"$T/window.log") &
    within 60000 "a window" at_work
}
# freed - whatever happened: within seconds of the suspend call's end nothing is suspended
freed() {
    within 60000 "the window's end" nobody_left
    both_active || fail "left suspended: $(dmsetup info)"
    delay 0
    mark after || fail "an origin takes no writes"
}
said() {
    within 20000 "an answer" grep -q status "$T/window.log"
    grep -q "$1" "$T/window.log" || fail "it said: $(cat "$T/window.log")"
}
removed() {
    unmake
    [[ $(dmsetup table data-db) == *linear* ]] || fail "LVM left $(dmsetup table data-db)"
}

echo "== the second one is not there: the first is of no moment, and LVM removes it"
make
ok lvm-remove thin data s1
refused NOT_FOUND "${group[@]}" deadline=20000
both_active || fail "left suspended: $(dmsetup info)"
[[ $(dmsetup table data-blkrep--db--s1) == *error* ]] || fail "the first one shows something: $(dmsetup table data-blkrep--db--s1)"
ok lvm-remove db data s1

echo "== one was made live by somebody else, before the window"
make
begin 200 "${group[@]:0:3}" inside=thin/lvm:data/s1,renew inside=db/lvm:data/s1,renew sync=60000 good=300 deadline=30000
dmsetup resume data-blkrep--db--s1 || fail "resume"
delay 0
freed
said BUSY
removed

for who in deadline suspender everybody; do
    echo "== the freeze hangs: $who"
    make
    # The deadline is that of the preparations too: the pool's metadata are written in them.
    if [[ $who == deadline ]]; then begin 600 "${group[@]}" deadline=4000; else begin 200 "${group[@]}" deadline=60000; fi
    sleep 0.3
    suspender=$(pid_of blkrep-suspend) || fail "the freeze was over too soon to test anything: $(cat "$T/window.log")"
    case $who in
    suspender) kill -9 "$suspender" ;;
    everybody) kill -9 "$suspender" "$(pid_of blkrep-dm-helpe)" "$(pid_of dmh)" ;;
    esac
    freed
    case $who in
    deadline) said FREEZE_DEADLINE ;;
    suspender) said "status 1" ;;
    esac
    removed
done
umount "$T/db"
lvm vgchange -q -an data && lvm vgchange -q -ay data || fail "vgchange"
