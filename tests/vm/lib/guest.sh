# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What every test of the VM test bed may call. Sourced inside the guest: . /vm/lib/guest.sh
#
#   $VM_BOOT    0 at first, one more after each power cut: the test is started anew each time
#   $VM_SEED    the run's seed; $VM_KERNEL the kernel's series
#   $VM_CUT_REPORT  after a cut, for each disk "NAME lost=N torn=N kept=N": what became of its unflushed writes
#   $VM_GUEST   of several guests: which one this is; the others answer to their names on the network
#   /dev/vm/NAME    the disks; $T an empty folder in memory

fail() {
    echo "FAIL: $*"
    exit 1
}

# skip WHY - this kernel or machine can't answer the question; the last line of output is the reason
skip() {
    echo "$*"
    exit 77
}

vm_say() {
    # The port takes one writer at a time.
    until (echo "$*" >/dev/vm/control) 2>/dev/null; do sleep 0.01; done
}

# vm_remember KEY VALUE - make $KEY known to all later boots; kept by the host, so that no power cut harms it
vm_remember() {
    [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*$ && $2 != *[\'$'\n']* ]] || fail "vm_remember: bad key or value: $1"
    vm_say "remember $1 $2"
}

# vm_cut_after_ms MS - cut the power that many milliseconds from now
vm_cut_after_ms() { vm_say "cut $1"; }

# vm_cut_after_writes N - cut the power at the N-th write or flush that reaches any disk from here on
vm_cut_after_writes() {
    vm_say "cut-after $1"
    sleep 0.2 # the host looks every 50 ms
}

# vm_await_cut SECONDS - wait for a cut that is under way; it fails the test when none comes
vm_await_cut() {
    sleep "$1"
    fail "no power cut came within $1 s"
}

# vm_random MAX LABEL - print a number in 0..MAX-1 that depends on the run's seed, the boot and LABEL only
vm_random() {
    local text="$VM_SEED $VM_BOOT $2" hash=0 i c
    # In bash alone: on an emulated CPU a process costs more than the arithmetic. The mixing is splitmix64's.
    for ((i = 0; i < ${#text}; i++)); do
        printf -v c %d "'${text:i:1}"
        hash=$(((hash ^ c) * 0x1000193 + 0x9e3779b9))
    done
    hash=$(((hash ^ (hash >> 30)) * 0x3f58476d1ce4e5b9))
    hash=$(((hash ^ (hash >> 27)) * 0x14d049bb133111eb))
    echo $(((hash >> 8 & 0xffffffffff) % $1))
}

# vm_pattern BYTES SEED - print that many bytes that look random and depend on SEED only
vm_pattern() { openssl enc -aes-128-ctr -pass "pass:$2" -nosalt -md sha256 -in /dev/zero 2>/dev/null | head -c "$1"; }
