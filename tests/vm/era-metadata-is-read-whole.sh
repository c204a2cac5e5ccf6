#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=16M disk=meta=1M tools=dmsetup,era_dump,era_check,era_invalidate modules=dm-era cpus=1 timeout=240
#
# Does the reader of dm-era's metadata tell every sector that changed since each of several marks: live through a metadata snapshot while three
# writers go on; offline after a clean end; after the volume grew? Does it tell what era_dump and era_invalidate tell, block for block, of
# metadata that ended cleanly (of others they leave the current writeset out), and does it notice what it promises to notice?
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/trackers.sh
. /vm/lib/trackers.sh

refused() { # STATUS WHY COMMAND... - it must end with that status and say WHY
    local status=$1 why=$2 text
    shift 2
    local got=0
    text=$("$@" 2>&1 >/dev/null) || got=$?
    [[ $got -eq $status && $text == *"$why"* ]] || fail "status $got, not $status with '$why': $text"
    echo "refused: $text"
}

era_block=$((32 * 512))

# extents - "FIRST COUNT" in blocks of dm-era, ascending, become "OFFSET LENGTH" in bytes, one for what touches
extents() {
    awk -v block=$era_block '$1 != end { if (count) print first * block, count * block; first = $1; count = 0 }
        { count += $2; end = first + count } END { if (count) print first * block, count * block }'
}

# dumped SINCE - what era_dump calls written in that era or later
dumped() {
    era_dump --logical /dev/vm/meta >"$T/dump" || fail "era_dump"
    sed -nE 's/.*<era block="([0-9]+)" era="([0-9]+)".*/\1 \2/p' "$T/dump" | awk -v since="$1" '$2 >= since { print $1, 1 }' | extents
}

# invalidated SINCE - what era_invalidate calls so
invalidated() {
    era_invalidate --written-since "$1" /dev/vm/meta >"$T/invalidate" || fail "era_invalidate"
    sed -nE 's/.*<block block="([0-9]+)".*/\1 1/p; s/.*<range begin="([0-9]+)" end *= *"([0-9]+)".*/\1 \2 range/p' "$T/invalidate" |
        awk '{ print $1, $3 == "range" ? $2 - $1 : 1 }' | extents
}

# agree WHAT OTHER OURS - they tell the same, and something
agree() {
    [[ -s $2 ]] || fail "$1 tells nothing"
    cmp -s "$2" "$3" || fail "$1 tells otherwise: $(diff "$2" "$3")"
}

full_bytes=$source_bytes
source_sectors=$((source_sectors / 2))
source_bytes=$((source_sectors * 512))
vm_pattern "$full_bytes" source | dd of=/dev/vm/source bs=1M iflag=fullblock oflag=direct status=none
dd if=/dev/zero of=/dev/vm/meta bs=1M count=1 oflag=direct status=none
era_stack 32
marks=() # by era
for round in 1 2 3; do
    mark=$(era_mark)
    marks+=("$mark")
    keep_image "$T/at-$mark"
    write_until_told "$round" 32768 zero
    keep_image "$T/early"
    era_read "$T/live" "$mark" || fail "live metadata is refused"
    echo "round $round, live:"
    covers "$T/live" "$T/at-$mark" "$T/early"
    end_writers
done
for mark in "${marks[@]}"; do
    era_read "$T/told" "$mark" || fail "the metadata is refused"
    keep_image "$T/now"
    echo "since era $mark:"
    covers "$T/told" "$T/at-$mark" "$T/now"
done
now=$(era_now)
era_read "$T/none" "$now" || fail "the metadata is refused"
[[ ! -s $T/none ]] || fail "nothing was written in era $now, and it tells: $(cat "$T/none")"
refused 3 "no metadata snapshot is held" tracked era /dev/vm/meta "$source_bytes" 1 snap

blkrep dump /dev/vm/meta >"$T/dump" || fail "dump"
grep -q "current era $(era_now)" "$T/dump" || fail "dump: $(cat "$T/dump")"

# Offline: the kernel ended cleanly, and archived the current writeset.
era_unstack
echo 1 >/proc/sys/vm/drop_caches
for mark in "${marks[@]}"; do
    tracked era /dev/vm/meta "$source_bytes" "$mark" offline >"$T/offline" || fail "offline metadata is refused"
    covers "$T/offline" "$T/at-$mark" "$T/now" >"$T/covers"
    cp "$T/offline" "$T/offline-$mark"
done
era_check -q /dev/vm/meta || fail "era_check finds the metadata damaged"
for mark in "${marks[@]}"; do
    dumped "$mark" >"$T/other"
    agree "era_dump since era $mark" "$T/other" "$T/offline-$mark"
    invalidated "$mark" >"$T/other"
    agree "era_invalidate since era $mark" "$T/other" "$T/offline-$mark"
    echo "since era $mark era_dump, era_invalidate and we tell the same $(wc -l <"$T/other") extents"
done

# The volume grows.
before=$source_bytes
source_sectors=$((full_bytes / 512)) source_bytes=$full_bytes
era_stack 32
mark=$(era_mark)
keep_image "$T/grown"
write_until_told 9 65536
end_writers
era_read "$T/told" "$mark" || fail "grown metadata is refused"
keep_image "$T/now"
echo "grown from $before to $source_bytes:"
covers "$T/told" "$T/grown" "$T/now"

# Read without a metadata snapshot while the kernel works: refused as busy, or right.
write_until_told 10 32768
for try in 1 2 3 4 5; do
    keep_image "$T/early"
    if tracked era /dev/vm/meta "$source_bytes" "$mark" offline >"$T/told" 2>"$T/error"; then
        covers "$T/told" "$T/grown" "$T/early" >"$T/covers"
        echo "try $try: $(cat "$T/covers")"
    else
        echo "try $try: $(cat "$T/error")"
        grep -q "BUSY" "$T/error" || fail "neither read nor busy"
    fi
done
end_writers
era_unstack

# Damage. A bit is cleared in the era array: it says so; and no mark is newer than the metadata.
array=$(blkrep dump /dev/vm/meta | sed -nE 's/^era array at block ([0-9]+)$/\1/p' | head -n 1)
[[ -n $array ]] || fail "no era array in: $(blkrep dump /dev/vm/meta)"
refused 4 "is older than the mark" tracked era /dev/vm/meta "$source_bytes" 1000 offline
printf '\xff' | dd of=/dev/vm/meta bs=1 seek=$((array * 4096 + 100)) conv=notrunc,fsync status=none
refused 4 "in block $array: damaged" tracked era /dev/vm/meta "$source_bytes" 1 offline
refused 4 "in block $array: damaged" blkrep dump /dev/vm/meta
