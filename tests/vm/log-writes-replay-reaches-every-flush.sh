#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.12 disk=data=2M disk=log=8M disk=replay=2M disk=end=2M tools=dmsetup cpus=1 timeout=240
#
# Does replay_log rebuild what a disk durably held at each flush? The tests that replay a replica's log rely on it.
# Generations of writes at random places are made durable one by one and the disk's hash is taken after each; replayed
# flush by flush, the log must give the same hashes in the same order. With --lose, what no flush covered is lost or torn
# and what one covered is not.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

generations=5
# Read past the page cache: the cache of the disk does not see what was written through the target above it.
hash_of() { dd if="/dev/vm/$1" bs=1M iflag=direct status=none | sha256sum | cut -c1-64; }

# write_some GENERATION - overwrite ten pages, and flush
write_some() {
    local i
    vm_pattern 40960 "$1" >"$T/pages"
    for ((i = 0; i < 10; i++)); do
        dd if="$T/pages" of=/dev/mapper/lw bs=4096 count=1 skip="$i" seek="$(vm_random 512 "$1 $i")" oflag=direct status=none
    done
    dd if=/dev/zero of=/dev/mapper/lw count=0 conv=fsync status=none
}

sectors=$(blockdev --getsz /dev/vm/data)
dmsetup create lw --table "0 $sectors log-writes /dev/vm/data /dev/vm/log" || fail "dmsetup create"
dmsetup message lw 0 mark begin || fail "mark"
hashes=()
for ((g = 0; g < generations; g++)); do
    write_some "$g"
    hashes+=("$(hash_of data)")
done
# The last generation is overwritten without a flush of its own: the log shows it, after the last flush.
dmsetup message lw 0 mark unflushed || fail "mark"
vm_pattern 262144 last | dd of=/dev/mapper/lw bs=4096 iflag=fullblock oflag=direct status=none
dmsetup remove lw || fail "dmsetup remove"
last=$(hash_of data)

replay_log list /dev/vm/log >"$T/list" || fail "the log does not read"
grep -q ' mark 0 0 begin$' "$T/list" || fail "the mark is not in the log"
echo "$(grep -c . "$T/list") entries, $(grep -c ' flush ' "$T/list") flushes, $(grep -c ' write ' "$T/list") writes"

expected=0 from=0
while read -r index kind _; do
    [[ $kind == flush ]] || continue
    replay_log apply /dev/vm/log /dev/vm/replay "$from" $((index + 1)) || fail "apply"
    from=$((index + 1))
    hash=$(hash_of replay)
    # Flushes may be more than generations; they never show a state that was not there, nor skip one.
    [[ $hash == "${hashes[expected]}" ]] || {
        expected=$((expected + 1))
        [[ $hash == "${hashes[expected]:-none}" ]] || fail "at flush $index the replay is neither generation $((expected - 1)) nor $expected"
    }
done <"$T/list"
[[ $expected -eq $((generations - 1)) ]] || fail "the replay ended at generation $expected"

entries=$(grep -c . "$T/list")
replay_log apply --lose "$VM_SEED" /dev/vm/log /dev/vm/end 0 "$entries" || fail "apply --lose"
[[ $(dd if=/dev/vm/end bs=4096 skip=64 status=none | sha256sum) == "$(dd if=/dev/vm/replay bs=4096 skip=64 status=none | sha256sum)" ]] ||
    fail "--lose harmed what a flush had covered"
[[ $(hash_of end) != "$(hash_of replay)" && $(hash_of end) != "$last" ]] || fail "--lose lost nothing, or all"
replay_log apply /dev/vm/log /dev/vm/replay "$from" "$entries" || fail "apply the rest"
[[ $(hash_of replay) == "$last" ]] || fail "the whole log does not give the disk"
