# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A volume "data" whose place for stores is too small for what is written to it. Disks: source, area, home, target.

# shellcheck source=attached.sh
. /vm/lib/attached.sh

# overwrite FROM-MIB MIB WHAT - through the stack; it must succeed
overwrite() {
    vm_pattern $(($2 << 20)) "$3" | dd of=/dev/mapper/data bs=1M seek="$1" iflag=fullblock oflag=direct status=none || fail "a write to the volume failed: $3: $(dmesg | tail -5)"
}

# said - the last run, without its progress
said() { grep -v '"progress"' "$T/out" "$T/err"; }

# sync_in_time STATUS MIB PAUSE - MIB MiB are written, with PAUSE seconds after each, while a run reads its view slowly; the run must end with that status. The view's content is in $T/view.
sync_in_time() {
    local pid i before status=0
    keep_image /dev/vm/source "$T/view"
    before=$(dmsetup ls | grep -c snap)
    blkrep sync data /dev/vm/target --recheck 64K --bwlimit 128K --buffers 4 --json >"$T/out" 2>"$T/err" &
    pid=$!
    for ((i = 0; i < 100 && $(dmsetup status | grep -c 'snapshot [0-9]') <= before; i++)); do sleep 0.1; done
    for ((i = 0; i < $2; i++)); do
        dd if="$T/meanwhile" of=/dev/mapper/data bs=1M skip="$i" seek="$i" count=1 oflag=direct conv=notrunc status=none || fail "a write to the volume failed: $(dmesg | tail -5)"
        sleep "$3" # as fast as a store can grow, or faster
    done
    [[ $1 -ne 0 ]] || kill -0 $pid 2>/dev/null || fail "the run was too fast to be overtaken: $(said)"
    wait $pid || status=$?
    [[ $status -eq $1 ]] || fail "a run that was overtaken by $2 MiB: status $status instead of $1: $(said; tail -3 /mnt/state/audit.ndjson)"
    nothing_suspended
}

equal() {
    same "$1" /dev/vm/source /dev/vm/target
}

# replica_is FILE WHAT
replica_is() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    cmp "$1" /dev/vm/target || fail "$2: the replica is not what the view was"
}

# gone_audited USE REASON...
gone_audited() {
    grep '"act":"snapshot-gone"' /mnt/state/audit.ndjson | tail -n 1 >"$T/line"
    grep -E "\"use\":\"$1\".*\"reason\":\"($2)\"" "$T/line" >"$T/found" || fail "no audit line of a $1 ($2): $(cat "$T/line" /mnt/state/audit.ndjson)"
}

home_mount
vm_pattern $((15 << 20)) meanwhile >"$T/meanwhile"
vm_pattern $((32 << 20)) source | dd of=/dev/vm/source bs=1M iflag=fullblock oflag=direct status=none
