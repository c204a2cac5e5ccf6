#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=6.1,6.12 disk=a=32M tools=dmsetup,mke2fs,setpriv,systemd-socket-activate timeout=400
#
# NBD devices that blkrep serves: what blkrep-dm-helper makes, finds again and removes, and what it refuses. Each `dmh` is a helper of its
# own, so whatever a later one finds, it finds without any state of the one that made it.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/helper.sh
. /vm/lib/helper.sh
# shellcheck source=lib/served.sh
. /vm/lib/served.sh
front=db/nbd:front

nodes() { find /sys/block -name 'nbd*' | sort; }
device() { sed -n 's/.* index=\([0-9]*\) .*/\/dev\/nbd\1/p' <<<"$1"; }

# serve NAME [WORD...] - start a server at $T/NAME, an ordinary user's; its process is $server, its output $T/NAME.out
serve() {
    local name=$1
    shift
    setpriv --reuid 1000 --regid 1000 --clear-groups nbd_serve "$T/$name" "$file" "$@" >"$T/$name.out" 2>&1 &
    server=$!
    await "$T/$name.out" serving
}
stop() { # the server, in whatever it is doing
    kill -9 "$server" && { wait "$server" 2>/dev/null || true; }
}

ok register db "$(uuid_of 1)" /dev/vm/a
new_file first
chmod 0777 "$T"

# ---- no driver: nothing is loaded behind one's back here, and what to do is said
type -P true >/proc/sys/kernel/modprobe
serve one
refused UNSUPPORTED nbd-connect $front size=$size "socket=$T/one"
[[ $text == *"modprobe nbd nbds_max=0"* ]] || fail "it does not say what to do: $text"
refused NOT_FOUND nbd-status $front
modprobe nbd nbds_max=1 || fail "no nbd"
[[ $(nodes) == /sys/block/nbd0 ]] || fail "nodes: $(nodes)"

# ---- somebody else's device, made in the old way: its number is never taken, and it is there untouched at the end
vm_pattern $((4 * M)) foreign >"$T/foreign"
nbd_serve foreign /dev/nbd0 "$T/foreign" >"$T/foreign.out" 2>&1 &
await "$T/foreign.out" serving
for _ in {1..100}; do cmp -s /dev/nbd0 "$T/foreign" && break || sleep 0.05; done
cmp /dev/nbd0 "$T/foreign" || fail "the foreign device does not work"

# ---- refused: names, shapes, flags, descriptors; nothing is made
ok_words=("size=$size" "socket=$T/one")
refused NOT_FOUND nbd-connect other/nbd:front "${ok_words[@]}"
refused USAGE nbd-connect db/front "${ok_words[@]}"
refused USAGE nbd-connect db/nbd: "${ok_words[@]}"
refused USAGE nbd-connect db/nbd:../x "${ok_words[@]}"
refused USAGE nbd-connect db/@device "${ok_words[@]}"
refused USAGE nbd-connect db/nbd0 "${ok_words[@]}"
for words in size=0 size=1000 size=$((size + 1)) size=18446744073709551104 size=9223372036854775807 \
    "size=$size block=0" "size=$size block=256" "size=$size block=8192" "size=$size block=1536" "size=$((size + 512)) block=4096" \
    "size=$size timeout=0" "size=$size timeout=301" "size=$size dead=3601" "size=$size fua" "size=$size socket=$T/one"; do
    # shellcheck disable=SC2086 # words
    refused USAGE nbd-connect $front "socket=$T/one" $words
done
refused USAGE nbd-connect $front size=$size
for fd in file udp packets listening lone left; do
    refused USAGE nbd-connect $front size=$size "fd=$fd"
    refused USAGE nbd-connect $front size=$size multi "socket=$T/one" "fd=$fd"
done
refused USAGE nbd-connect $front size=$size multi "socket=$T/one" fd=again
for request in nbd-status nbd-disconnect "nbd-reconnect socket=$T/one"; do
    # shellcheck disable=SC2086 # words
    refused NOT_FOUND ${request%% *} $front ${request#"${request%% *}"}
done
[[ $(nodes) == /sys/block/nbd0 ]] || fail "a refused request made a device: $(nodes)"

# ---- made: what is read and written goes to the server; the second of the same name is refused
out=$(dmh nbd-connect $front size=$size flush fua trim dead=60 "socket=$T/one") || fail "connect"
want "$out" volume=db part=front size=$size ro=0 connected=1 used=0
dev=$(device "$out")
[[ $dev == /dev/nbd1 ]] || fail "$out"
cmp "$dev" "$file" || fail "what is read is not what is served"
vm_pattern $((4 * M)) second | dd of="$dev" bs=1M seek=3 iflag=fullblock oflag=direct conv=fsync status=none || fail "write"
cmp -i $((3 * M)):0 -n $((4 * M)) "$file" <(vm_pattern $((4 * M)) second) || fail "what was written did not arrive"
blkdiscard -o $((16 * M)) -l $M "$dev" 2>/dev/null || dd if=/dev/zero of="$dev" bs=1M seek=16 count=1 oflag=direct status=none
cmp -i $((16 * M)):0 -n $M "$file" /dev/zero || fail "the discard did not arrive"
refused BUSY nbd-connect $front size=$size "socket=$T/one"
want "$(dmh nbd-status $front)" volume=db part=front "index=1" size=$size connected=1
want "$(dmh nbd-list)" volume=db part=front index=1
[[ $(dmh nbd-list | wc -l) -eq 1 ]] || fail "the foreign device is listed: $(dmh nbd-list)"
refused BUSY nbd-reconnect $front "socket=$T/one" # it lives
refused BUSY unregister db
refused BUSY register db "$(uuid_of 2)" /dev/vm/a
cmp "$dev" "$file" || fail "a refused request disturbed the device"

# ---- in use: mounted, held by a device of ours that stands on it
mke2fs -q -t ext4 "$dev" && mkdir "$T/mnt" && mount -t ext4 "$dev" "$T/mnt" || fail "mount"
refused TARGET_IN_USE nbd-disconnect $front
want "$(dmh nbd-status $front)" used=1
umount "$T/mnt"
want "$(dmh nbd-status $front)" used=0
ok create db/top "linear,$size,nbd:front"
cmp /dev/mapper/db "$file" || fail "a device on top"
refused TARGET_IN_USE nbd-disconnect $front
want "$(dmh open db/nbd:front)" size=$size
ok remove db/top

# ---- the server is killed in the middle of writes: they wait, and go on with the next one
stop
new_file third
serve two stall=8
ok nbd-reconnect $front retry=5000 "socket=$T/two"
cmp "$dev" "$file" || fail "after a reconnect"
vm_pattern $((16 * M)) fourth >"$T/fourth"
dd if="$T/fourth" of="$dev" bs=512k oflag=direct conv=fsync status=none &
writer=$!
await "$T/two.out" stalled
kill -0 $writer || fail "the writer did not wait"
stop
sleep 1
kill -0 $writer || fail "the writer did not wait for a new server"
serve three
want "$(dmh nbd-reconnect $front retry=5000 "socket=$T/three")" taken=1
wait $writer || fail "a write failed while its server was replaced"
cmp -n $((16 * M)) "$file" "$T/fourth" || fail "a write was lost while its server was replaced"

# ---- disconnected: the server is told, the number is free, a second time there is nothing
ok nbd-disconnect $front
await "$T/three.out" disconnected
refused NOT_FOUND nbd-disconnect $front
refused NOT_FOUND nbd-status $front
[[ $(cat "/sys/block/${dev#/dev/}/size") -eq 0 ]] || fail "the device has a size"
[[ -z $(dmh nbd-list) ]] || fail "listed: $(dmh nbd-list)"
stop

# ---- nobody comes back in time: what waited fails; a later server is taken all the same
serve four
out=$(dmh nbd-connect $front size=$size flush dead=3 "socket=$T/four") || fail "connect"
dev=$(device "$out")
cmp "$dev" "$file" || fail "the second device"
stop
began=$SECONDS
dd if="$dev" of=/dev/null bs=64k count=1 iflag=direct status=none 2>/dev/null && fail "a read without a server was answered"
((SECONDS - began >= 2 && SECONDS - began <= 20)) || fail "it waited $((SECONDS - began)) s"
dd if=/dev/zero of="$dev" bs=64k count=1 oflag=direct status=none 2>/dev/null && fail "a write without a server was answered"
serve five
ok nbd-reconnect $front retry=5000 "socket=$T/five"
dd if="$dev" iflag=direct bs=1M status=none | cmp - "$file" || fail "after a late reconnect"

# ---- a server that lives and does not answer: the connection is given up after the timeout
ok nbd-disconnect $front
stop
serve six stall=1
out=$(dmh nbd-connect $front size=$size flush timeout=6 dead=60 "socket=$T/six") || fail "connect"
dev=$(device "$out")
dd if="$T/fourth" of="$dev" bs=64k count=1 oflag=direct conv=fsync status=none &
writer=$!
await "$T/six.out" stalled
serve_old=$server
serve seven
want "$(dmh nbd-reconnect $front retry=20000 "socket=$T/seven")" taken=1
for _ in {1..40}; do # the kernel may shut down what it took (dmh_nbd_reconnect() says when): who serves sees that, and reconnects
    kill -0 $writer 2>/dev/null || break
    ! grep -q ended "$T/seven.out" || dmh nbd-reconnect $front retry=5000 "socket=$T/seven" || true # BUSY: the one before lives
    sleep 0.5
done
wait $writer || fail "a write failed while its hung server was replaced"
kill -9 "$serve_old"
cmp -n 65536 "$file" "$T/fourth" || fail "the write did not reach the new server"
ok nbd-disconnect $front
stop

# ---- several connections
serve eight
sockets=("socket=$T/eight" "socket=$T/eight" "socket=$T/eight" "socket=$T/eight")
out=$(dmh nbd-connect $front size=$size flush multi dead=60 "${sockets[@]}") || fail "connect with four"
dev=$(device "$out")
writers=()
for i in 0 1 2 3; do
    vm_pattern $((4 * M)) "lane $i" | dd of="$dev" bs=256k seek=$((16 * i)) iflag=fullblock oflag=direct conv=fsync status=none &
    writers+=($!)
done
wait "${writers[@]}" || fail "a write over several connections"
for i in 0 1 2 3; do
    cmp -i $((4 * M * i)):0 -n $((4 * M)) "$file" <(vm_pattern $((4 * M)) "lane $i") || fail "lane $i"
done
stop
serve nine
sockets=("socket=$T/nine" "socket=$T/nine" "socket=$T/nine" "socket=$T/nine")
want "$(dmh nbd-reconnect $front retry=5000 "${sockets[@]}")" taken=4
dd if="$dev" iflag=direct bs=1M status=none | cmp - "$file" || fail "after four were replaced"
ok nbd-disconnect $front

# ---- read-only
out=$(dmh nbd-connect $front size=$size ro "socket=$T/nine") || fail "connect read-only"
want "$out" ro=1
dev=$(device "$out")
cmp "$dev" "$file" || fail "read-only"
dd if=/dev/zero of="$dev" bs=4096 count=1 oflag=direct status=none 2>/dev/null && fail "a read-only device was written"

# ---- a device whose volume is not registered any more: root sees it, and nobody gets at it by another volume's name
mv "$BLKREP_STATE/volumes/db/registration" "$T/registration"
ok register other "$(uuid_of 2)" /dev/vm/a
want "$(dmh nbd-list)" volume= part=front
refused NOT_FOUND nbd-disconnect $front
refused NOT_FOUND nbd-disconnect other/nbd:front
mv "$T/registration" "$BLKREP_STATE/volumes/db/registration"

# ---- members of the group may look, and nothing else
members_begin
want "$(member nbd-status $front)" volume=db part=front
members_may_not "nbd-disconnect $front" "nbd-disconnect $front force" "nbd-reconnect $front socket=$T/nine" \
    "nbd-connect db/nbd:more size=$size socket=$T/nine" "open $front write"
DMH_SOCKET=/run/blkrep/dm-helper.socket dmh stray </dev/null || fail "descriptors that nobody asked for were taken"
kill "$service"

# ---- forced: taken away from who has it open
exec 8<"$dev"
ok nbd-disconnect $front force
dd if="$dev" of=/dev/null bs=4096 count=1 iflag=direct status=none 2>/dev/null && fail "a disconnected device was read"
exec 8<&-
for _ in {1..50}; do dmh nbd-status $front >/dev/null 2>&1 || break && sleep 0.1; done
refused NOT_FOUND nbd-status $front
ok unregister db

cmp /dev/nbd0 "$T/foreign" || fail "the foreign device was disturbed"
