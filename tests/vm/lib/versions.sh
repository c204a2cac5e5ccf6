# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Versions of a source that can be made again at any time, and what a replica of it says and holds.
#
# Version K is a base with eight extents overwritten, and depends on K and the seed only: any boot and any moment of a
# replay can say which version a replica is. The source is the disk "source"; a test sets $replica.

source_device=/dev/vm/source
replica=
pages=0

# make_base PAGES - what all versions have in common
make_base() {
    pages=$1
    vm_pattern $((pages * 4096)) base >"$T/base"
}

# make_version K FILE
make_version() {
    local i len at
    cp "$T/base" "$2"
    vm_pattern 524288 "version $1" >"$T/changes"
    for ((i = 0; i < 8; i++)); do
        len=$((1 + $(vm_random_fixed 16 "len $1 $i")))
        at=$(vm_random_fixed $((pages - len)) "at $1 $i")
        dd if="$T/changes" of="$2" bs=4096 skip=$((i * 16)) seek="$at" count="$len" conv=notrunc status=none
    done
}

# vm_random_fixed MAX LABEL - as vm_random, the same in every boot
vm_random_fixed() { VM_BOOT=0 vm_random "$@"; }

# is_version FILE - is the replica exactly that, read from the disk?
is_version() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp -s "$1" "$replica"
}

# replica_state - what status says of the replica; missing when blkrep has never heard of it
replica_state() {
    local text
    if text=$(blkrep status --json "$replica" 2>&1); then
        grep -o '"state":"[a-z]*"' <<<"$text" | head -n 1 | cut -d'"' -f4
    elif [[ $text == *'"name":"NOT_FOUND"'* ]]; then
        echo missing
    else
        echo "status failed: $text"
    fi
}

set_source() {
    make_version "$1" "$T/source"
    dd if="$T/source" of="$source_device" bs=1M conv=fsync status=none || fail "the source can't be written"
}
