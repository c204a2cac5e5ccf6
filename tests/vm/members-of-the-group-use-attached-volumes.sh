#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2143 # "A && B || fail": fail ends the test
# vm: kernels=all disk=source=32M disk=area=96M disk=home=96M disk=alien=16M tools=dmsetup,mke2fs,e2fsck,setpriv,systemd-socket-activate modules=dm-snapshot,dm-era timeout=240
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# A user in group blkrep, through the service as systemd starts it, syncs a volume that root attached, makes, lists and removes a snapshot, and
# asks for its status; he can't attach anything. One who is not in the group is told so and gets nothing, and root's runs go on beside his.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
unset BLKREP_STATE
mkdir -p /var/lib/blkrep /run/blkrep /run/data /etc
grep -qs '^blkrep:' /etc/group || echo 'blkrep:x:500:' >>/etc/group
mke2fs -q -t ext4 /dev/vm/source || fail "mke2fs"
for who in 1000 1001; do mkdir -m 0700 "/mnt/$who" && chown "$who:$who" "/mnt/$who"; done
program=$(command -v blkrep)

# What systemd does with blkrep-dm-helper.socket: Accept=yes, a connection as descriptor 3.
systemd-socket-activate --accept --seqpacket -E DM_DISABLE_UDEV=1 -l /run/blkrep/dm-helper.socket "${program%/*}/blkrep-dm-helper" \
    >/dev/null 2>"$T/service" &
service=$!
for _ in {1..50}; do [[ -S /run/blkrep/dm-helper.socket ]] && break || sleep 0.1; done
[[ -S /run/blkrep/dm-helper.socket ]] || fail "no service: $(cat "$T/service")"
chown 0:500 /run/blkrep/dm-helper.socket && chmod 0660 /run/blkrep/dm-helper.socket || fail "socket"
chmod 0755 /run/blkrep

member() { setpriv --reuid 1000 --regid 1000 --groups 500 env -u BLKREP_STATE HOME=/mnt/1000 "$@"; }
stranger() { setpriv --reuid 1001 --regid 1001 --clear-groups env -u BLKREP_STATE HOME=/mnt/1001 "$@"; }

run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
mount -t ext4 /dev/mapper/data /run/data || fail "mount"
vm_pattern $((4 << 20)) first >/run/data/first

run member blkrep sync data /mnt/1000/replica.img
is tracker era
is fallback_reason first-copy
is consistency clean
for i in 1 2; do
    vm_pattern $((1 << 20)) "$i" >/run/data/later
    run member blkrep sync /dev/mapper/data /mnt/1000/replica.img --recheck 1M
    is tracker era
    is fallback_reason null
    below bytes_read $((12 << 20))
    e2fsck -fn /mnt/1000/replica.img >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
done
run blkrep sync data /mnt/root.img
is fallback_reason first-copy
run member blkrep snapshot create data --name mine
run member blkrep snapshot list
grep -q '"name":"mine"' "$T/out" || grep -q '"name": "mine"' "$T/out" || fail "the snapshot is not listed: $(cat "$T/out")"
run member blkrep sync data@mine /mnt/1000/replica.img --recheck 1M
is fallback_reason null
cmp /dev/mapper/data-snap.* /mnt/1000/replica.img || fail "the replica is not the snapshot"
run member blkrep snapshot remove data@mine
run member blkrep status
grep -q replica.img "$T/out" || fail "status does not know the replica: $(cat "$T/out")"
blkrep sync data /mnt/root.img --recheck 1M --json >"$T/out"
[[ $(json_field "$T/out" type=exit fallback_reason) == null ]] ||
    fail "root's own mark is gone"
cmp <(od -An -tx1 -j 16 -N 16 /var/lib/blkrep/devices/*/volume) <(od -An -tx1 -j 16 -N 16 /mnt/1000/.local/state/blkrep/devices/*/volume) ||
    fail "to the user it is another volume than to root"

run_is 1 member blkrep attach alien /dev/vm/alien
says "takes root"
run_is 1 stranger blkrep sync data /mnt/1001/replica.img
says "group blkrep"
[[ ! -e /mnt/1001/replica.img ]] || fail "a stranger has a replica"
run_is 1 stranger blkrep snapshot create data --name theirs
says "group blkrep"

umount /run/data
run blkrep detach data
kill "$service"
nothing_left
