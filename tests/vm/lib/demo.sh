#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: disk=data=128M disk=metadata=32M disk=state=64M disk=replica=128M tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era timeout=300
#
# The guest's part of scripts/demo-vm: two boots. Every step is checked, a word that is not true ends it.
set -u
# shellcheck source=guest.sh
. /vm/lib/guest.sh
export BLKREP_STATE=/mnt/state

say() { printf '\n%s\n' "$*"; }
show() { printf '  # %s\n' "$*"; }

# did COMMAND... - show it and run it
did() {
    show "$*"
    "$@" >"$T/out" 2>&1 || fail "$*: $(cat "$T/out")"
    sed 's/^/  /' "$T/out"
}

# sync_row NAME REASON - one sync, its line of the table; REASON is why all was read, null when it was not
sync_row() {
    show "blkrep sync data /dev/vm/replica"
    blkrep sync data /dev/vm/replica --recheck 1M --overwrite --yes --json >"$T/out" 2>"$T/err" || fail "sync: $(cat "$T/out" "$T/err")"
    local exit row
    exit=$(jq -c 'select(.type == "exit")' "$T/out")
    [[ $(jq -r .fallback_reason <<<"$exit") == "$2" ]] || fail "it reads all, or not: $exit"
    row=$(jq -r '[.size_bytes, .bytes_read, .bytes_shipped, .seconds_window, .seconds] | @tsv' <<<"$exit")
    printf '%s\t%s\n' "$1" "$row" >>/mnt/rows
    e2fsck -fn /dev/vm/replica >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
    echo "  the replica is a clean file system (e2fsck -fn)"
}

# writes FILE MIB - a file, while the volume is mounted
writes() {
    show "write $2 MiB to /srv/$1"
    vm_pattern $(($2 << 20)) "$1" >"/srv/$1"
    sync
}

mkdir -p /srv
if [[ $VM_BOOT -eq 0 ]]; then
    mke2fs -q -t ext4 /dev/vm/state || fail "mke2fs"
    mount /dev/vm/state /mnt || fail "the state folder's disk"
    mkdir -p /mnt/state
    mke2fs -q -t ext4 /dev/vm/data || fail "mke2fs"
    say "1. Linux $(uname -r). A disk with ext4 is attached and mounted: it is used through /dev/mapper/data from now on"
    did blkrep attach data /dev/vm/data --tracker era --cow /dev/vm/metadata
    did mount -t ext4 /dev/mapper/data /srv
    writes mail 24
    say "2. The first copy, while it is mounted"
    sync_row "first copy" first-copy
    say "3. A little changes; the next sync reads that and a share of the rest, to prove the tracker"
    writes mail-today 2
    sync_row "incremental" null
    say "4. Some more changes, and the power goes"
    writes mail-later 1
    blkrep watch --once >"$T/out" 2>&1 || fail "watch: $(cat "$T/out")"
    sync
    vm_cut_after_ms 0
    vm_await_cut 60
fi

mount /dev/vm/state /mnt || fail "the state folder's disk"
say "5. The next boot. What blkrep-attach.service does, before the file system is mounted:"
did blkrep attach --all
did mount -t ext4 /dev/mapper/data /srv
[[ $(sha256sum </srv/mail-later) == "$(vm_pattern $((1 << 20)) mail-later | sha256sum)" ]] || fail "a file that was synced is gone"
writes mail-after 1
say "6. No write was missed, over the power cut too: the sync is incremental"
sync_row "incremental after the boot" null
did blkrep status data
say "7. Detached, and nothing is left; the replica is the disk, byte for byte"
did umount /srv
blkrep sync data /dev/vm/replica --json >"$T/out" 2>&1 || fail "sync: $(cat "$T/out")"
did blkrep detach data
! dmsetup ls | grep -v 'No devices' || fail "left behind: $(dmsetup ls)"
echo 3 >/proc/sys/vm/drop_caches
did cmp /dev/vm/data /dev/vm/replica

say "Result"
{
    printf 'run\tvolume MiB\tread MiB\tshipped MiB\twrites waited s\tseconds\n'
    awk -F '\t' '{printf "%s\t%.0f\t%.1f\t%.1f\t%.3f\t%.1f\n", $1, $2 / 1048576, $3 / 1048576, $4 / 1048576, $5, $6}' /mnt/rows
} | awk -F '\t' '{printf "%-28s %11s %10s %12s %15s %8s\n", $1, $2, $3, $4, $5, $6}'
