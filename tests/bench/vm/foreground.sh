#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: disk=linear=256M disk=erahand=256M disk=era=256M disk=cowhand=256M disk=cow=256M disk=held=256M disk=meta=64M disk=eraarea=256M disk=cowarea=256M disk=heldstore=320M disk=home=64M tools=dmsetup,mke2fs,fio,jq modules=dm-snapshot,dm-era timeout=1500
#
# foreground.sh ROUNDS SECONDS: what a write costs under each stack, beside the same write under plain dm-linear. In each round each kind of
# load is asked of every stack, one after the other, in turn and in reverse turn; six disks of one kind, so that nothing is shared.
#
#   linear   dm-linear                                     held     dm-linear, snapshot-origin, and a dm-snapshot that is held
#   erahand  dm-linear, dm-era, snapshot-origin, by hand   era      the same built by blkrep attach --tracker era
#   cowhand  dm-linear, snapshot-origin, by hand           cow      the same built by blkrep attach --tracker cow
set -u
# shellcheck source=../../vm/lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=../../vm/lib/attached.sh
. /vm/lib/attached.sh

rounds=$1 seconds=$2
size=$((256 << 11)) # sectors
stacks="linear erahand era cowhand cow"

# load STACK KIND FIO-OPTION... - one run, its writes a second
load() {
    local stack=$1 kind=$2 terse
    shift 2
    # Terse format, field 49: write IOPS (fio's HOWTO).
    terse=$(fio --name=load --thread --filename="/dev/mapper/$stack" --direct=1 --randrepeat=0 --output-format=terse --terse-version=3 \
        "$@" 2>"$T/fio") || fail "fio on $stack: $terse $(cat "$T/fio")"
    echo "figure $kind/$stack $(cut -d';' -f49 <<<"$terse")"
}

build() {
    local name
    mke2fs -q -t ext4 /dev/vm/home && mount -t ext4 /dev/vm/home /mnt || fail "home"
    mkdir -p /mnt/state
    for name in linear erahand cowhand held; do
        dmsetup create "$name-real" --table "0 $size linear /dev/vm/$name 0" || fail "linear"
    done
    dmsetup create linear --table "0 $size linear /dev/vm/linear 0" || fail "linear"
    dmsetup create erahand-era --table "0 $size era /dev/vm/meta /dev/mapper/erahand-real 2048" || fail "era"
    dmsetup create erahand --table "0 $size snapshot-origin /dev/mapper/erahand-era" || fail "origin"
    dmsetup create cowhand --table "0 $size snapshot-origin /dev/mapper/cowhand-real" || fail "origin"
    dmsetup create held --table "0 $size snapshot-origin /dev/mapper/held-real" || fail "origin"
    run blkrep attach era /dev/vm/era --tracker era --cow /dev/vm/eraarea
    run blkrep attach cow /dev/vm/cow --tracker cow --cow /dev/vm/cowarea
    echo "note by hand: $(dmsetup table erahand) | by blkrep: $(dmsetup table era); $(dmsetup table era-era)"
    # Every block is marked, and there on the host.
    for name in $stacks held; do
        dd if=/dev/zero of="/dev/mapper/$name" bs=1M oflag=direct status=none 2>/dev/null
    done
}

# marked STACK... - each kind of load on each stack in turn, whose blocks are all marked: what is compared was measured seconds apart
marked() {
    local stack
    for stack in "$@"; do load "$stack" 4k-depth32 --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --time_based --runtime="$seconds"; done
    for stack in "$@"; do load "$stack" 1m --rw=write --bs=1M --iodepth=4 --ioengine=io_uring --time_based --runtime="$seconds"; done
    for stack in "$@"; do load "$stack" 4k-depth1-psync --rw=randwrite --bs=4k --ioengine=psync --time_based --runtime="$seconds"; done
    for stack in "$@"; do load "$stack" 4k-depth1-uring --rw=randwrite --bs=4k --iodepth=1 --ioengine=io_uring --time_based --runtime="$seconds"; done
}

# first_touch - one write into each block of 1 MiB of a new era; for linear the same writes
first_touch() {
    local stack
    dmsetup message erahand-era 0 checkpoint || fail "checkpoint"
    dmsetup message era-era 0 checkpoint || fail "checkpoint"
    for stack in linear erahand era; do
        load "$stack" first-touch-depth1 --rw=write:1020k --bs=4k --number_ios=250 --ioengine=psync
    done
    for stack in erahand era; do # what is measured next is marked again
        dd if=/dev/zero of="/dev/mapper/$stack" bs=1M oflag=direct status=none 2>/dev/null
    done
}

# held - a snapshot is there and nothing was copied yet; then once more where all was copied before
held() {
    dd if=/dev/zero of=/dev/vm/heldstore bs=64k count=1 oflag=direct status=none || fail "store"
    dmsetup create heldsnap --notable && dmsetup load heldsnap --table "0 $size snapshot /dev/mapper/held-real /dev/vm/heldstore P 16" &&
        dmsetup suspend held && dmsetup resume heldsnap && dmsetup resume held || fail "snapshot"
    load held 4k-depth32-held --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --time_based --runtime="$seconds"
    load linear 4k-depth32-held --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --time_based --runtime="$seconds"
    load held 4k-depth1-held --rw=randwrite --bs=4k --ioengine=psync --time_based --runtime="$seconds"
    load linear 4k-depth1-held --rw=randwrite --bs=4k --ioengine=psync --time_based --runtime="$seconds"
    load held 1m-held --rw=write --bs=1M --iodepth=4 --ioengine=io_uring --time_based --runtime="$seconds" --offset=128M
    load linear 1m-held --rw=write --bs=1M --iodepth=4 --ioengine=io_uring --time_based --runtime="$seconds" --offset=128M
    dd if=/dev/zero of=/dev/mapper/held bs=1M oflag=direct status=none 2>/dev/null
    dmsetup status heldsnap | grep -q Invalid && fail "the store is too small"
    load held 4k-depth32-copied --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --time_based --runtime="$seconds"
    load linear 4k-depth32-copied --rw=randwrite --bs=4k --iodepth=32 --ioengine=io_uring --time_based --runtime="$seconds"
    dmsetup suspend held && dmsetup remove heldsnap && dmsetup resume held || fail "removing the snapshot"
}

build
for ((round = 1; round <= rounds; round++)); do
    turn=$stacks
    ((round % 2)) || turn="cow cowhand era erahand linear"
    # shellcheck disable=SC2086 # words
    marked $turn
    first_touch
    ((round % 3)) || held
done
for stack in era cow; do run blkrep detach "$stack"; done
