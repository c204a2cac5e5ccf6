#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=32M tools=dmsetup,mke2fs,setpriv,systemd-socket-activate timeout=400
#
# ublk devices that blkrep serves: what blkrep-dm-helper makes, finds again and removes, and what it refuses. Each `dmh` is a helper of its
# own, so whatever a later one finds, it finds without any state of the one that made it. The servers are an ordinary user's processes. On a
# kernel without ublk: that it says so, and what to do.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
# shellcheck source=lib/served.sh
. /vm/lib/served.sh
front=db/ublk:front

# add WORD... - make the device, with a server whose output is $T/out; $out is what was said, $server the process, $dev the block device
add() { serve ublk-add "$front" size=$size flush fua "$@"; }
serve() {
    out=$(dmh "$@" "serve=$file" "out=$T/out") || fail "'dmh $*' failed"
    server=${out##*server=}
    dev=/dev/ublkb$(sed -n 's/.* index=\([0-9]*\) .*/\1/p' <<<"$out")
}
gone() {
    for _ in {1..200}; do kill -0 "$1" 2>/dev/null || return 0 && sleep 0.05; done
    fail "process $1 is still there"
}
stop() { kill -9 "$server" && gone "$server"; }

ok register db "$(uuid_of 1)" /dev/vm/a
new_file first
chmod 0755 "$T"

# ---- no driver: what to do is said
refused UNSUPPORTED ublk-add $front size=$size
[[ -z $(dmh ublk-list) ]] || fail "something is listed"
if [[ $VM_KERNEL == 6.1 ]]; then
    [[ $text == *"bookworm-backports"*"mirror through nbd"* ]] || fail "it does not say what to do: $text"
    for verb in start stop delete recover recovered status; do refused UNSUPPORTED "ublk-$verb" $front; done
    ok unregister db
    exit 0
fi
[[ $text == *"modprobe ublk_drv"* ]] || fail "it does not say what to do: $text"
modprobe ublk_drv || fail "no ublk"

# ---- somebody else's device: there untouched at the end
vm_pattern $((4 * M)) foreign >"$T/foreign"
ublk_serve foreign "$T/foreign" >"$T/foreign.out" 2>&1 &
await "$T/foreign.out" serving
foreign=/dev/ublkb$(sed -n 's/serving //p' "$T/foreign.out")
cmp "$foreign" "$T/foreign" || fail "the foreign device does not work"
nodes() { find /sys/class/ublk-char/ -name 'ublkc*' | sort; }
before=$(nodes)

# ---- refused: names and shapes; nothing is made
refused NOT_FOUND ublk-add other/ublk:front size=$size
refused USAGE ublk-add db/front size=$size
refused USAGE ublk-add db/nbd:front size=$size
refused USAGE ublk-add db/ublk: size=$size
refused USAGE ublk-add db/ublk:seven77 size=$size
refused USAGE ublk-add db/ublkb0 size=$size
for words in size=0 size=1000 size=$((size + 1)) size=18446744073709551104 "size=$size block=256" "size=$size block=8192 physical=8192" \
    "size=$size block=4096 physical=512" "size=$size physical=8192" "size=$size physical=1536" "size=$size queues=0" "size=$size queues=65" \
    "size=$size depth=0" "size=$size depth=1025" "size=$size io=0" "size=$size io=512" "size=$size io=67108864" "size=$size fua" \
    "size=$size reissue"; do
    # shellcheck disable=SC2086 # words
    refused USAGE ublk-add $front $words
done
for verb in start stop delete recover recovered status; do refused NOT_FOUND "ublk-$verb" $front; done
refused USAGE ublk-start $front pid=0
refused USAGE ublk-start $front deadline=0
refused USAGE ublk-delete $front deadline=60001
[[ $(nodes) == "$before" ]] || fail "a refused request made a device: $(nodes)"

# ---- made, and started once its server is there; an ordinary user serves it
add recovery reissue zeroes trim queues=2
want "$out" volume=db part=front state=dead "device=0:0" recovery=1 reissue=1 depth=32 io=65536
refused BUSY ublk-add $front size=$size
refused BUSY ublk-recovered $front "pid=$server"
out=$(dmh ublk-start $front "pid=$server") || fail "start"
want "$out" state=live size=$size "pid=$server" ro=0 used=0
[[ $(stat -c %u "/proc/$server") -eq 1000 ]] || fail "the server is not an ordinary user's"
cmp "$dev" "$file" || fail "what is read is not what is served"
vm_pattern $((4 * M)) second | dd of="$dev" bs=1M seek=3 iflag=fullblock oflag=direct conv=fsync status=none || fail "write"
cmp -i $((3 * M)):0 -n $((4 * M)) "$file" <(vm_pattern $((4 * M)) second) || fail "what was written did not arrive"
writers=()
for i in 0 1 2 3; do
    vm_pattern $((2 * M)) "lane $i" | dd of="$dev" bs=64k seek=$((128 + 32 * i)) iflag=fullblock oflag=direct conv=fsync status=none &
    writers+=($!)
done
wait "${writers[@]}" || fail "a write beside others"
for i in 0 1 2 3; do
    cmp -i $((8 * M + 2 * M * i)):0 -n $((2 * M)) "$file" <(vm_pattern $((2 * M)) "lane $i") || fail "lane $i"
done
refused BUSY ublk-start $front "pid=$server"
refused BUSY ublk-recover $front
want "$(dmh ublk-status $front)" volume=db part=front state=live "pid=$server"
[[ $(dmh ublk-list | wc -l) -eq 1 ]] || fail "the foreign device is listed: $(dmh ublk-list)"
refused BUSY unregister db
refused BUSY register db "$(uuid_of 2)" /dev/vm/a
cmp "$dev" "$file" || fail "a refused request disturbed the device"

# ---- in use: mounted, held by a device of ours that stands on it
mke2fs -q -t ext4 "$dev" && mkdir "$T/mnt" && mount -t ext4 "$dev" "$T/mnt" || fail "mount"
refused TARGET_IN_USE ublk-stop $front
refused TARGET_IN_USE ublk-delete $front
umount "$T/mnt"
ok create db/top "linear,$size,ublk:front"
cmp /dev/mapper/db "$file" || fail "a device on top"
refused TARGET_IN_USE ublk-delete $front
want "$(dmh open $front)" size=$size
ok remove db/top

# ---- the server is killed in the middle of writes: they wait, and go on with the next one
stop
new_file third
serve ublk-recover $front retry=10000 stall=8
want "$(dmh ublk-recovered $front "pid=$server")" state=live "pid=$server"
cmp "$dev" "$file" || fail "after a recovery"
vm_pattern $((8 * M)) fourth >"$T/fourth"
dd if="$T/fourth" of="$dev" bs=64k oflag=direct conv=fsync status=none &
writer=$!
await "$T/out" stalled
stop
for _ in {1..100}; do [[ $(dmh ublk-status $front) == *state=quiesced* ]] && break || sleep 0.1; done
want "$(dmh ublk-status $front)" state=quiesced
kill -0 $writer || fail "the writer did not wait"
# A new server that dies before it serves is followed by another one.
refused BUSY ublk-recovered $front
refused USAGE ublk-recovered $front "pid=$server"
ok ublk-recover $front
refused BUSY ublk-recovered $front
refused TIMEOUT ublk-recover $front keep -- ublk-recovered $front deadline=500
want "$(dmh ublk-status $front)" state=quiesced
kill -0 $writer || fail "the writer did not wait for a new server"
serve ublk-recover $front retry=10000
want "$(dmh ublk-recovered $front "pid=$server")" state=live
wait $writer || fail "a write failed while its server was replaced"
cmp -n $((8 * M)) "$file" "$T/fourth" || fail "a write was lost while its server was replaced"

# ---- members of the group may look, and nothing else
members_begin
want "$(member ublk-status $front)" volume=db part=front
members_may_not "ublk-add db/ublk:more size=$size" "ublk-start $front" "ublk-stop $front force" "ublk-delete $front force" \
    "ublk-recover $front" "ublk-recovered $front" "open $front write"
kill "$service"

# ---- a device whose volume is not registered any more: root sees it, and nobody gets at it by another volume's name
mv "$BLKREP_STATE/volumes/db/registration" "$T/registration"
ok register other "$(uuid_of 2)" /dev/vm/a
want "$(dmh ublk-list)" volume= part=front
refused NOT_FOUND ublk-delete $front
refused NOT_FOUND ublk-delete other/ublk:front
mv "$T/registration" "$BLKREP_STATE/volumes/db/registration"

# ---- stopped: no block device, the server is let go; deleted: nothing is left
ok ublk-stop $front
gone "$server"
want "$(dmh ublk-status $front)" state=dead device=0:0
refused REFUSED ublk-recover $front
ok ublk-delete $front
refused NOT_FOUND ublk-status $front
refused NOT_FOUND ublk-delete $front
[[ $(nodes) == "$before" ]] || fail "left: $(nodes)"

# ---- without a server it does not start, and goes
ok ublk-add $front size=$size
refused TIMEOUT ublk-start $front deadline=500
want "$(dmh ublk-status $front)" state=dead
ok ublk-delete $front

# ---- without recovery the server's death is the device's; one delete takes away what is served
new_file fifth
add
ok ublk-start $front "pid=$server"
cmp "$dev" "$file" || fail "without recovery"
stop
for _ in {1..100}; do [[ $(dmh ublk-status $front) == *state=dead* ]] && break || sleep 0.1; done
want "$(dmh ublk-status $front)" state=dead
refused REFUSED ublk-recover $front
ok ublk-delete $front
add ro block=4096
want "$(dmh ublk-start $front "pid=$server")" ro=1
dd if=/dev/zero of="$dev" bs=4096 count=1 oflag=direct status=none 2>/dev/null && fail "a read-only device was written"
ok ublk-delete $front
gone "$server"

# ---- taken away while I/O waits for a server: it fails, and nobody hangs
add recovery
ok ublk-start $front "pid=$server"
stop
dd if="$dev" of=/dev/null bs=4096 count=1 iflag=direct status=none 2>/dev/null &
reader=$!
sleep 0.5
kill -0 $reader || fail "the reader did not wait"
ok ublk-delete $front force
wait $reader && fail "a read without a server was answered"
[[ $(nodes) == "$before" ]] || fail "left: $(nodes)"

# ---- a server that keeps a request for ever: the helper does not, and with the server the device goes
add stall=1
ok ublk-start $front "pid=$server"
dd if="$T/fourth" of="$dev" bs=4096 count=1 oflag=direct status=none 2>/dev/null &
writer=$!
await "$T/out" stalled
began=$SECONDS
refused TIMEOUT ublk-delete $front deadline=1000
((SECONDS - began <= 30)) || fail "the helper waited $((SECONDS - began)) s for a server that does not answer"
stop
wait $writer && fail "a write that nobody did was answered"
for _ in {1..100}; do [[ $(nodes) == "$before" ]] && break || sleep 0.1; done
[[ $(nodes) == "$before" ]] || fail "left: $(nodes)"
ok unregister db

cmp "$foreign" "$T/foreign" || fail "the foreign device was disturbed"
