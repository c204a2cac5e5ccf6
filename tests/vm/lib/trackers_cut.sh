# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
#
# Power cuts at random moments under a volume that dm-era and dm-snapshot track at once, and what the engine's readers must tell in the boot
# after (G3): every sector that is not what it was when the cycle began. First from the disks as the cut left them, before any kernel looks
# at them; then, after the kernel activated both, live. Old data that the store gives back is what was there.
#
# A cycle: the source is written anew (by the pattern of its number, so that the next boot can make it again); the era is ended and its successor
# is the mark; a new snapshot store; three writers; the cut at a counted write. A store whose last area the cut tore can't be told from a
# damaged one: it must be refused, and is counted.
#
# Sourced by the tests, which call trackers_cut_main CUTS. Disks: source, meta, cow.

# shellcheck source=trackers.sh
. /vm/lib/trackers.sh

mark=${mark:-0} torn=${torn:-0}

stack_up() {
    dmsetup create real --table "0 $source_sectors linear /dev/vm/source 0" || fail "linear"
    dmsetup create era --table "0 $source_sectors era /dev/vm/meta /dev/mapper/real 32" || fail "era"
    origin=/dev/mapper/era
    dmsetup create top --table "0 $source_sectors snapshot-origin $origin" || fail "origin"
    top=/dev/mapper/top
}

begin_cycle() {
    vm_pattern "$source_bytes" "cycle $VM_BOOT" | dd of=/dev/vm/source bs=1M iflag=fullblock oflag=direct conv=fsync status=none
    stack_up
    mark=$(era_mark)
    [[ $mark -gt 0 ]] || fail "no mark"
    vm_remember mark "$mark"
    cow_create 16
}

check_era() { # offline|snap
    if [[ $1 == snap ]]; then
        era_read "$T/told" "$mark" || fail "the metadata is refused after the cut"
    else
        tracked era /dev/vm/meta "$source_bytes" "$mark" offline >"$T/told" || fail "the metadata is refused as the cut left it"
    fi
    echo "  era, $1:"
    covers "$T/told" "$T/before" "$T/now"
}

# check_cow WHAT COMMAND... - what the command tells
check_cow() {
    local what=$1
    shift
    if ! "$@" >"$T/told" 2>"$T/error"; then
        grep -q "there is more behind it" "$T/error" || fail "cow, $what: $(cat "$T/error")"
        echo "  cow, $what: refused, $(cat "$T/error")"
        return 1
    fi
    echo "  cow, $what:"
    covers "$T/told" "$T/before" "$T/now"
    tracked same-old "$T/told" /dev/vm/cow "$source_bytes" "$T/before" >"$T/old" || fail "cow, $what: $(cat "$T/old")"
}

check_after_cut() {
    echo "cut $((VM_BOOT - 1)); disks: $VM_CUT_REPORT"
    vm_pattern "$source_bytes" "cycle $((VM_BOOT - 1))" >"$T/before"
    keep_image "$T/now"
    check_era offline
    check_cow offline tracked cow /dev/vm/cow "$source_bytes" || vm_remember torn $((torn += 1))
    stack_up
    dmsetup create s1 --notable || fail "dmsetup create s1"
    cow_load 16
    check_era snap
    [[ $(cow_status) =~ ^[0-9]+\ [0-9]+$ ]] || fail "the kernel does not take its own store: $(dmsetup status s1)"
    check_cow live cow_read /dev/stdout
    dmsetup remove s1 && dmsetup remove top && dmsetup remove era && dmsetup remove real || fail "remove the stack"
}

# trackers_cut_main CUTS
trackers_cut_main() {
    if [[ $VM_BOOT -eq 0 ]]; then
        dd if=/dev/zero of=/dev/vm/meta bs=1M count=1 oflag=direct conv=fsync status=none
    else
        check_after_cut
    fi
    if [[ $VM_BOOT -eq $1 ]]; then
        echo "after $1 cuts, seed $VM_SEED: nothing was missed; $torn stores were torn and refused"
        [[ $torn -lt $1 ]] || fail "every store was refused: nothing was asked"
        exit 0
    fi
    begin_cycle
    vm_cut_after_writes $((20 + $(vm_random 700 count)))
    write_until_told "$VM_BOOT" 32768 zero
    vm_await_cut 60
}
