# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
#
# A volume under a tracker, by hand: linear "real" on disk "source", above it the tracker, above that the origin "top" where there are snapshots.
# What the engine's readers say is asked through `tracked` (lib/tracked.c), what really changed is seen by comparing images.

source_sectors=$(blockdev --getsz /dev/vm/source)
source_bytes=$((source_sectors * 512))
top='' origin=/dev/mapper/real # what is written to; what "top" names, and so its snapshots

# keep_image FILE [DEVICE] - what the volume holds now, past the page cache
keep_image() { dd if="${2:-/dev/vm/source}" of="$1" bs=1M iflag=direct status=none || fail "cannot read ${2:-the source}"; }

# covers EXTENTS BEFORE NOW - they tell every sector in which the images differ; the counts go to the output
covers() { tracked covers "$@" || fail "not covered: $*"; }

# write_until_told SEED LONGEST [WORD...] - three writers to the device on top, until end_writers
write_until_told() {
    local seed=$1 writer
    shift
    rm -f "$T/enough"
    writers=()
    for writer in 1 2 3; do
        write_in_rounds $((seed * 1000000 + writer * 1000)) "$@" &
        writers+=($!)
    done
}

# write_in_rounds SEED LONGEST [WORD...] - 20 writes at a time; every round has other ones
write_in_rounds() {
    local seed=$1 round
    shift
    for ((round = 0; round < 1000; round++)); do
        stamp "$top" $((seed + round)) 20 "$@" || return 1
        [[ ! -e $T/enough ]] || return 0
    done
}

# end_writers - let each finish its round
end_writers() {
    : >"$T/enough"
    wait "${writers[@]}" || fail "a write failed"
}

# cow_status - "USED METADATA" of snapshot s1, in sectors
cow_status() { dmsetup status s1 | sed -nE 's/^[0-9]+ [0-9]+ snapshot ([0-9]+)\/[0-9]+ ([0-9]+)$/\1 \2/p'; }

# cow_create CHUNK-SECTORS - snapshot s1 of the origin on disk "cow", made new
cow_create() {
    dd if=/dev/zero of=/dev/vm/cow bs=64k count=1 oflag=direct conv=fsync status=none
    dmsetup create s1 --notable || fail "dmsetup create s1"
    cow_load "$1"
    [[ $(cow_status) == "$(($1 * 2)) $(($1 * 2))" ]] || fail "a new store is not empty: $(dmsetup status s1)"
}

# cow_load CHUNK-SECTORS - what is on disk "cow" becomes the snapshot s1
cow_load() {
    dmsetup load s1 --table "0 $source_sectors snapshot $origin /dev/vm/cow PO $1" || fail "load snapshot"
    dmsetup suspend top && dmsetup resume s1 && dmsetup resume top || fail "activate the snapshot"
}

# cow_stack - the volume with an origin on top
cow_stack() {
    dmsetup create real --table "0 $source_sectors linear /dev/vm/source 0" || fail "linear"
    dmsetup create top --table "0 $source_sectors snapshot-origin $origin" || fail "origin"
    top=/dev/mapper/top
}

# cow_read EXTENTS [STATUS] - as the engine does: the status before, the store
cow_read() {
    local status
    status=$(cow_status)
    [[ -n $status ]] || fail "no status: $(dmsetup status s1)"
    # shellcheck disable=SC2086 # two numbers
    tracked cow /dev/vm/cow "$source_bytes" 5000 $status >"$1"
}

# era_stack BLOCK-SECTORS - the volume under dm-era, its metadata on disk "meta" as it is there; $top is the era device
era_stack() {
    dmsetup create real --table "0 $source_sectors linear /dev/vm/source 0" || fail "linear"
    dmsetup create era --table "0 $source_sectors era /dev/vm/meta /dev/mapper/real $1" || fail "era"
    top=/dev/mapper/era
}

# era_unstack - no kernel has the metadata open any more
era_unstack() { dmsetup remove era && dmsetup remove real || fail "remove era"; }

# era_now - the current era by the kernel
era_now() { dmsetup status era | sed -nE 's/^[0-9]+ [0-9]+ era [0-9]+ [0-9]+\/[0-9]+ ([0-9]+) .*$/\1/p'; }

# era_mark - end the era; prints the one that begins: the mark for everything written from here on
era_mark() { dmsetup message era 0 checkpoint && era_now; }

# era_read EXTENTS SINCE - as the engine does, live: through a metadata snapshot
era_read() {
    local now status
    now=$(era_now)
    dmsetup message era 0 take_metadata_snap || fail "take_metadata_snap"
    tracked era /dev/vm/meta "$source_bytes" "$2" snap "$now" >"$1"
    status=$?
    dmsetup message era 0 drop_metadata_snap || fail "drop_metadata_snap"
    return $status
}
