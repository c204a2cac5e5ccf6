#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015,SC2016 # "A && B || fail": fail ends the test; what eval waits for is evaluated while it waits
# vm: kernels=all disk=a=96M tools=nbdkit,nbd-client,mke2fs,mkfs.xfs,sfdisk,timeout modules=xfs,ext4 timeout=400 mem=768M
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# The kernel's own NBD client on an exported point: the same bytes as the source, its partitions, its ext4 and XFS mounted read-only. Through
# --writable it takes writes, and the point stays as it was. When the server is killed or does not answer, reads are errors within the client's
# timeout, nothing hangs, and a later export serves again.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

export BLKREP_STATE=$T/state TMPDIR=$T # for what is written to an export
disk=$(readlink -f /dev/vm/a) repo=$T/repo sock=$T/sock nbd=/dev/nbd0 mnt=$T/mnt
mkdir -p "$mnt" "$BLKREP_STATE"
chmod 700 "$BLKREP_STATE"

await() { # SECONDS COMMAND...
    local end=$((SECONDS + $1 + 1))
    until "${@:2}" >/dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || fail "waited $1 s in vain for: ${*:2}"
        sleep 0.1
    done
}
runs() { grep -qs '^[0-9]* (.*) [^ZX]' "/proc/$1/stat"; }
size_of() { cat "/sys/block/${nbd#/dev/}/size"; }
serve() { # WORD...: an export of the newest point, its process in $export, nbdkit's in $server
    rm -f "$T/ready"
    blkrep export "$repo@latest" --socket "$sock" "$@" >"$T/ready" 2>"$T/export.err" &
    export=$!
    await 60 eval 'grep -q "^READY " "$T/ready" || ! runs $export'
    grep -q '^READY ' "$T/ready" || fail "no export: $(cat "$T/export.err")"
    server=$(cat /proc/$export/task/*/children)
}
attach() { # WORD...: the kernel is its client
    nbd-client -unix "$sock" "$nbd" -timeout 5 "$@" >"$T/client.out" 2>&1 || fail "nbd-client: $(cat "$T/client.out" "$T/export.err")"
    await 20 eval '[[ $(size_of) -gt 0 ]]'
    : <"$nbd" # its partitions are looked for when it is opened
}
detach() {
    nbd-client -d "$nbd" >"$T/client.out" 2>&1 || fail "nbd-client -d: $(cat "$T/client.out")"
    await 20 eval '[[ $(size_of) == 0 ]]'
}
end() {
    kill "$export"
    wait "$export" || fail "export ended with $?: $(cat "$T/export.err")"
}
# read_fails - a read that the page cache does not know ends with an error, and soon
read_fails() {
    local status=0 began=$SECONDS
    timeout 100 dd if="$nbd" of=/dev/null bs=64k skip="$1" count=1 iflag=direct 2>"$T/dd.err" || status=$?
    [[ $status -ne 124 ]] || fail "a read hangs: $2"
    [[ $status -ne 0 ]] || fail "a read was answered: $2"
    echo "$2: an error after $((SECONDS - began)) s"
}

# ---- a disk with two file systems
printf 'label: gpt\nstart=2048, size=65536\nstart=67584, size=122880\n' | sfdisk -q "$disk" || fail "sfdisk"
await 20 test -b "${disk}2"
mke2fs -q -t ext4 "${disk}1" || fail "mke2fs"
mkfs.xfs -q --unsupported "${disk}2" >"$T/err" 2>&1 || fail "mkfs.xfs: $(cat "$T/err")"
vm_pattern $((6 << 20)) content >"$T/content"
for number in 1 2; do
    mount "$disk$number" "$mnt" && cp "$T/content" "$mnt/content" && echo "$number" >"$mnt/number" && umount "$mnt" || fail "filling $number"
done
blkrep init "$repo" --encryption none >/dev/null && blkrep backup "$disk" "$repo" >"$T/out" 2>&1 || fail "backup: $(cat "$T/out")"

# ---- as the kernel's disk
modprobe nbd nbds_max=1 max_part=8 || fail "no nbd"
serve
attach -R
[[ $(($(size_of) * 512)) == $((96 << 20)) ]] || fail "another size: $(size_of) sectors"
[[ $(cat /sys/block/nbd0/ro) == 1 ]] || fail "an export can be written"
cmp "$nbd" "$disk" || fail "the kernel reads something else"
dd if=/dev/zero of="$nbd" bs=4096 count=1 oflag=direct 2>/dev/null && fail "a read-only export was written"
await 20 test -b "${nbd}p2"
for number in 1 2; do
    cmp "${nbd}p$number" "$disk$number" || fail "partition $number is another"
    type=ext4 options=ro,noload
    [[ $number == 1 ]] || type=xfs options=ro,norecovery,nouuid
    mount -t $type -o $options "${nbd}p$number" "$mnt" || fail "mounting partition $number"
    cmp "$mnt/content" "$T/content" && [[ $(cat "$mnt/number") == "$number" ]] || fail "other files in partition $number"
    umount "$mnt"
done
detach
end

# ---- written, and the point stays
serve --writable
attach
mount -t ext4 "${nbd}p1" "$mnt" || fail "mounting for writing"
rm "$mnt/content" && echo changed >"$mnt/number" && vm_pattern $((5 << 20)) other >"$mnt/other" && sync && umount "$mnt" || fail "writing"
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 "${nbd}p1" "$mnt" || fail "mounting once more"
cmp "$mnt/other" <(vm_pattern $((5 << 20)) other) && [[ $(cat "$mnt/number") == changed && ! -e $mnt/content ]] || fail "what was written is not there"
umount "$mnt"
cmp -s "$nbd" "$disk" && fail "this test shows nothing: nothing was written"
detach
end
blkrep restore "$repo@latest" - 2>/dev/null | cmp - "$disk" || fail "the point changed"

# ---- the server does not answer: an error within the client's timeout
serve
attach -R
kill -STOP "$server"
read_fails 300 "a server that is stopped"
kill -CONT "$server"
nbd-client -d "$nbd" >/dev/null 2>&1
await 30 eval '[[ $(size_of) == 0 ]]'
end

# ---- the export is killed, while it is mounted: errors, and everything can be taken down
serve
attach -R
await 20 test -b "${nbd}p1"
mount -t ext4 -o ro,noload "${nbd}p1" "$mnt" || fail "mounting"
kill -9 "$export"
wait "$export" 2>/dev/null
await 30 eval '! runs $server'
read_fails 400 "a server that was killed"
status=0
timeout 100 cat "$mnt/content" >/dev/null 2>&1 || status=$?
[[ $status -ne 124 ]] || fail "reading a file hangs"
[[ $status -ne 0 ]] || fail "a file was read from nowhere"
umount "$mnt" || fail "umount"
nbd-client -d "$nbd" >/dev/null 2>&1
await 30 eval '[[ $(size_of) == 0 ]]'
serve
attach -R
cmp "$nbd" "$disk" || fail "a later export serves something else"
detach
end
