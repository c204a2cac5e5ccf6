#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all disk=source=32M disk=area=96M disk=pv=192M disk=home=96M tools=dmsetup,lvm,thin_check,thin_delta,thin_dump,mke2fs modules=dm-snapshot,dm-thin-pool cpus=1 timeout=300
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# This side loses the tree of what a replica holds, and with it the hashes of its pages: the next run ships the pages that changed and not their blocks, since
# cow (blkrep's own snapshots, LVM's) and thin still hold what they were. The run after that needs no old data for blocks that it has read, and
# old data for others. Old data that was changed, or can't be read, costs the block; the replica is right and the run says 0.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
sectors=$(blockdev --getsz /dev/vm/area)
dmsetup create area --table "0 $sectors linear /dev/vm/area 0" || fail "linear"
lvm vgcreate -q data "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n linear -L 32M data &&
    lvm lvcreate -q -y -n pool --type thin-pool -L 72M -c 64k data && lvm lvcreate -q -y -n thin -V 32M --thinpool data/pool || fail "LVM"

# put BLOCK PAGE WHAT - one page of the volume gets new content
put() { vm_pattern 4096 "$3" | dd of="$path" bs=4096 seek=$(($1 * 16 + $2)) oflag=direct conv=notrunc status=none || fail "a write failed"; }

lose_trees() { rm "$BLKREP_STATE"/devices/*/to-*.tree.* || fail "where are they? $(find "$BLKREP_STATE")"; }

# ships PAGES - the next run ships just these, and is right
ships() {
    sync_run
    is bytes_shipped $(($1 * 4096))
}

sync_run() {
    run blkrep sync "$volume" /mnt/replica.img --recheck 1M
    is tracker "$tracker"
    [[ $(field bytes_tracked) -gt 0 && $(field bytes_tracked) -lt $((32 << 20)) ]] || fail "all was read: $(cat "$T/out")"
    cmp "$path" /mnt/replica.img || fail "the replica differs: $(cat "$T/out" "$T/err")"
}

# narrows VOLUME TRACKER DEVICE [OPTION...]
narrows() {
    volume=$1 tracker=$2
    vm_pattern $((32 << 20)) "$1" >"$3" && sync || fail "a write failed"
    run blkrep attach "$volume" "$3" --tracker "$tracker" "${@:4}"
    path=$(field path)
    run blkrep sync "$volume" /mnt/replica.img
    is bytes_shipped $((32 << 20))
    is bytes_read_old 0

    lose_trees
    for ((i = 0; i < 40; i++)); do put $((i * 12)) $((i % 16)) "first$i"; done
    dd if="$path" of="$T/same" bs=65536 count=8 skip=500 iflag=direct status=none &&
        dd if="$T/same" of="$path" bs=65536 seek=500 oflag=direct conv=notrunc status=none || fail "dd"
    ships 40
    is fallback_reason state-lost
    is bytes_read_old $((40 * 65536))

    for ((i = 0; i < 40; i++)); do put $((i * 12)) $(((i + 1) % 16)) "again$i"; done
    ships 40
    is fallback_reason null
    is bytes_read_old 0
    put 1 3 other
    ships 1
    is bytes_read_old 65536
    echo "$volume: pages ship, and not their blocks"
}

# mark - the name of the device of the snapshot that is held
mark() { dmsetup ls | awk -v like="$1" 'index($1, like) == 1 && $1 !~ /-(cow|real)$/ { print $1 }'; }

narrows raw cow /dev/vm/source --cow /dev/mapper/area
# The first chunk that is copied to the mark's store, behind header and first area, is on a bad part of its disk.
lose_trees
held=$(mark raw-cow.)
[[ $(wc -w <<<"$held") -eq 1 ]] || fail "not one store: $held of $(dmsetup ls)"
read -r _ _ kind _ begin < <(dmsetup table "$held")
[[ $kind == linear ]] || fail "the store is $(dmsetup table "$held")"
put 9 5 unreadable && put 200 5 readable
bad=$((begin + 2 * 16))
{
    echo "0 $bad linear /dev/vm/area 0"
    echo "$bad 16 error"
    echo "$((bad + 16)) $((sectors - bad - 16)) linear /dev/vm/area $((bad + 16))"
} | dmsetup load area && dmsetup suspend --noflush --nolockfs area && dmsetup resume area || fail "a bad part"
sync_run
is fallback_reason state-lost
[[ $(field bytes_shipped) -ge 65536 ]] || fail "what can't be read was narrowed: $(cat "$T/out")"
dmsetup load area --table "0 $sectors linear /dev/vm/area 0" && dmsetup suspend --noflush --nolockfs area && dmsetup resume area || fail "a good one"
put 9 6 well && put 300 5 well
ships 2
run blkrep detach raw
rm -r /mnt/replica.img*

narrows linear cow /dev/data/linear
# Somebody wrote to the snapshot: the block is proven by its hash, and this one is not what the replica holds.
lose_trees
put 9 5 now && put 200 5 now
held=$(mark data-blkrep--linear--snap.)
[[ $(wc -w <<<"$held") -eq 1 ]] || fail "not one snapshot: $held of $(dmsetup ls)"
vm_pattern 4096 forged | dd of="/dev/mapper/$held" bs=4096 seek=$((9 * 16 + 7)) oflag=direct conv=notrunc status=none || fail "the snapshot takes no writes"
ships 17
is bytes_read_old $((2 * 65536))
run blkrep detach linear
rm -r /mnt/replica.img*

narrows thin thin /dev/data/thin
run blkrep detach thin
nothing_left area data-linear data-thin data-pool data-pool_tdata data-pool_tmeta data-pool-tpool
