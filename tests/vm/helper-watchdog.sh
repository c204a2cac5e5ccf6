#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2001,SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=32M disk=cow=8M tools=dmsetup,mke2fs modules=dm-delay timeout=240
#
# Suspends that go wrong on a slow disk. Each time: a freeze that can't be short is begun (its checks are turned off), somebody is killed or
# stopped one second into it, and then the device must be ACTIVE with its intended table, and a write that waited must be done, within five
# seconds of the end of the suspend call. That is when the suspender's process is gone: it can't die before its call returns.
# Meanwhile the memory of both that must act is locked: what they need can't lie in a page on a device that is suspended.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
export BLKREP_STATE=$T/state
size=$((32 << 20)) sectors=$((32 << 11))
disk=$(readlink -f /dev/vm/a)

# delay MS: how long a write or flush of the volume's disk takes
delay() {
    dmsetup reload slow --table "0 $sectors delay $disk 0 0 $disk 0 $1 $disk 0 $1" && dmsetup suspend --nolockfs slow &&
        dmsetup resume slow || fail "the slow disk"
}

# gone PID: is the process dead, though perhaps nobody has reaped it?
gone() { [[ ! -e /proc/$1 ]] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }

now_ms() { echo "${EPOCHREALTIME/./}" | sed 's/...$//'; }

is_active() { [[ $(state db) == Active && $(dmsetup table db) == *"$1"* ]]; }
written() { [[ -e $T/written ]]; }

# ---- the stack, on a disk that is fast at first
modprobe dm-delay || skip "this kernel has no dm-delay"
dmsetup create slow --table "0 $sectors delay $disk 0 0 $disk 0 0 $disk 0 0" || fail "dm-delay"
stack db 1 /dev/mapper/slow /dev/vm/cow "$size"
mke2fs -q -t ext4 /dev/mapper/db && mount -t ext4 /dev/mapper/db /mnt || fail "ext4"
touch /mnt/before && sync

slow_ms=300 # what a write or flush takes during a freeze

# locked NAME - all memory of that process is, but a page or two that the kernel maps into each (vdso)
locked() {
    local pid lock resident
    pid=$(pid_of "$1") || fail "no $1"
    lock=$(awk '/^VmLck:/ { print $2 }' "/proc/$pid/status") resident=$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")
    echo "$1: $lock KiB are locked, $resident resident"
    [[ $lock -gt 0 && $((lock + 16)) -ge $resident ]] || fail "the memory of $1 is not locked: $lock KiB of $resident"
}

# freeze_begun ARGUMENTS...: a window begins; on return it is one second into its slow freeze, and a write waits
freeze_begun() {
    within 30000 "the end of an earlier window's processes" nobody_left
    rm -f "$T/written"
    dd if=/dev/urandom of=/mnt/dirty bs=64k count=8 status=none
    delay "$slow_ms"
    (dmh window "$@" >"$T/window.log" 2>&1; echo "status $?" >>"$T/window.log") &
    within 5000 "a suspender" pid_of blkrep-suspend >/dev/null
    suspender=$(pid_of blkrep-suspend) helper=$(pid_of blkrep-dm-helpe) client=$(pid_of dmh)
    sleep 1
    gone "$suspender" && fail "the freeze was over too soon to test anything: $(cat "$T/window.log")"
    (echo more >/mnt/more && touch "$T/written") &
}

# settled TABLE: once the suspender is gone, all is well within five seconds
settled() {
    local ended_ms
    within 60000 "the end of the suspend call" gone "$suspender"
    ended_ms=$(now_ms)
    within 5000 "$1 active" is_active "$1"
    within 5000 "the write that waited" written
    echo "all well $(($(now_ms) - ended_ms)) ms after the suspend call's end"
    within 5000 "the watchdog's end" nobody_left
    delay 0
    touch /mnt/after && sync -f /mnt || fail "the filesystem does not take writes any more"
}

echo "== too slow to begin"
dd if=/dev/urandom of=/mnt/dirty bs=64k count=8 status=none
delay 500
refused FREEZE_SLOW window top=db/top,freeze sync=2000 deadline=2000
is_active snapshot-origin || fail "$(state db)"
delay 0

echo "== an idle filesystem on a slow disk is known to be slow too"
sync -f /mnt
delay 500
refused FREEZE_SLOW window top=db/top,freeze sync=5000 deadline=2000 good=10000
delay 0

echo "== the deadline passes"
freeze_begun top=db/top,freeze deadline=1200
settled snapshot-origin
within 5000 "the answer" grep -q status "$T/window.log"
grep -q FREEZE_DEADLINE "$T/window.log" || fail "$(cat "$T/window.log")"

echo "== the suspender is killed, then helper and client; a new table must not become live"
load_snapshot db s1 "$size" /dev/vm/cow
ok load db/top "linear,$size,real"
freeze_begun top=db/top,freeze inside=db/s1,fresh deadline=60000
locked blkrep-watchdog
locked blkrep-suspend
kill -9 "$suspender"
sleep 0.1
kill -9 "$helper" "$client"
settled snapshot-origin
want "$(dmh info db/top)" inactive=0
want "$(dmh list db)" name=db-s1 live=0
ok remove db/s1

echo "== the suspender is killed, then the helper is stopped"
freeze_begun top=db/top,freeze deadline=60000
kill -9 "$suspender"
kill -STOP "$helper"
settled snapshot-origin
kill -CONT "$helper"
within 5000 "the answer" grep -q 'status 1' "$T/window.log"

echo "== the watchdog is killed as well: the helper does its work"
freeze_begun top=db/top,freeze deadline=60000
kill -9 "$(pid_of blkrep-watchdog)" "$suspender"
settled snapshot-origin
within 5000 "the answer" grep -q 'status 1' "$T/window.log"

echo "== helper and client are killed, and the window goes on to its good end"
freeze_begun top=db/top,freeze deadline=60000
kill -9 "$helper" "$client"
settled snapshot-origin

echo "== another connection has to wait, and says so"
slow_ms=1000 # the freeze outlasts the three seconds that the other one waits
freeze_begun top=db/top,freeze deadline=60000
refused BUSY window top=db/top
settled snapshot-origin

echo "== a filesystem frozen by FIFREEZE: thawed at the deadline, at the connection's end, and when everybody is killed"
refused FREEZE_DEADLINE freeze db /mnt deadline=300 -- sleep 800 -- thaw
touch /mnt/thawed || fail "not thawed"
want "$(dmh freeze db /mnt deadline=20000 -- thaw)" frozen
(dmh freeze db /mnt deadline=60000 -- sleep 60000 >"$T/freeze.log") &
within 5000 "a freeze" grep -q frozen "$T/freeze.log"
(echo more >/mnt/more && touch "$T/thawed") &
sleep 0.3
[[ ! -e $T/thawed ]] || fail "it is not frozen"
kill -9 "$(pid_of blkrep-dm-helpe)" "$(pid_of dmh)"
within 5000 "the thaw" test -e "$T/thawed"
refused REFUSED freeze db / deadline=1000
mke2fs -q -t ext4 /dev/vm/cow && mkdir "$T/other" && mount /dev/vm/cow "$T/other" || fail "ext4"
refused PERMISSION freeze db "$T/other" deadline=1000
umount "$T/other"
umount /mnt
ok remove db/top -- remove db/real
dmsetup remove slow
