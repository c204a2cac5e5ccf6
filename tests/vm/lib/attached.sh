# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Words for tests of attached volumes: a command run with its exit object at hand, the state folder on the disk "home" (sectors of 4096 bytes:
# ext4 checks its superblock before it looks at the journal, and does not survive a half of it), and what must be true of the machine.

export BLKREP_STATE=/mnt/state

# home_mount - the file system that holds blkrep's state, at /mnt; made in the first boot, repaired by its journal in later ones
home_mount() {
    if [[ $VM_BOOT -eq 0 ]]; then
        mke2fs -q -t ext4 /dev/vm/home || fail "mke2fs"
    else
        e2fsck -p /dev/vm/home >"$T/fsck" || [[ $? -eq 1 ]] || fail "the file system is broken: $(cat "$T/fsck")"
    fi
    mount -t ext4 /dev/vm/home /mnt || fail "mount"
    mkdir -p /mnt/state
}

# run COMMAND... - it must succeed; its exit object is asked by field, is, below
run() { run_is 0 "$@"; }

# run_is STATUS COMMAND... - it must end with that status
run_is() {
    local wanted=$1 status=0
    shift
    "$@" --json >"$T/out" 2>"$T/err" || status=$?
    [[ $status -eq $wanted ]] || fail "$*: status $status instead of $wanted: $(cat "$T/out" "$T/err"; dmesg | tail -5)"
}

# field KEY - of the last exit object
field() { json_field "$T/out" type=exit "$1"; }

is() { [[ $(field "$1") == "$2" ]] || fail "$1 is $(field "$1") instead of $2: $(cat "$T/out" "$T/err")"; }

below() { [[ $(field "$1") -lt $2 ]] || fail "$1 is $(field "$1"), not below $2: $(cat "$T/out")"; }

# says TEXT - the last command said it, on standard output or error
says() { grep -qF -- "$1" "$T/out" "$T/err" || fail "nobody said \"$1\": $(cat "$T/out" "$T/err")"; }

# keep_image DEVICE FILE - what the device holds, past the page cache
keep_image() { dd if="$1" of="$2" bs=1M iflag=direct status=none || fail "cannot read $1"; }

# same WHAT A B - two devices hold the same. The page cache of a disk does not see what is written through a table above it.
same() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp "$2" "$3" || fail "$1: $2 and $3 differ: $(cat "$T/out" "$T/err")"
}

# nothing_suspended - within five seconds no device of device-mapper is
nothing_suspended() {
    local i
    for ((i = 0; i < 50; i++)); do
        dmsetup info | grep -q 'State: *SUSPENDED' || return 0
        sleep 0.1
    done
    fail "left suspended: $(dmsetup info)"
}

# nothing_left [NAME...] - no device of device-mapper but these, no folder of a volume
nothing_left() {
    local name
    while read -r name _; do
        [[ $name == No || " $* " == *" $name "* ]] || fail "left behind: $(dmsetup ls)"
    done < <(dmsetup ls)
    [[ -z $(ls /mnt/state/volumes 2>/dev/null) ]] || fail "left behind: $(find /mnt/state/volumes)"
}

# synced_then_detached NAME DEVICE TARGET - the end of a volume: its last run is an incremental, and the replica is what the volume's DEVICE holds
synced_then_detached() {
    run blkrep sync "$1" "$3" --recheck 1M
    is fallback_reason null
    same "$1 in the end" "$2" "$3"
    run blkrep detach "$1"
}
