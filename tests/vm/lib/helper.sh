# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What tests of blkrep-dm-helper share. Sourced inside the guest, after guest.sh. `dmh` is the test client (tests/vm/lib/dmh.c).

modprobe dm-snapshot dm-era 2>/dev/null || true

uuid_of() { printf '0f2c0000-0000-4000-8000-%012d' "$1"; }

# want LINE WORD... - every WORD stands in LINE
want() {
    local line=$1 word
    shift
    for word in "$@"; do
        [[ " ${line//$'\n'/ } " == *" $word "* ]] || fail "no '$word' in: $line"
    done
}

# refused CODE COMMAND... - the command of dmh fails with that error; its text is left in $text
refused() {
    local code=$1
    shift
    text=$(dmh "$@" 2>&1) && fail "'dmh $*' should have been refused with $code"
    [[ $text == *"$code: "* ]] || fail "'dmh $*' should have said $code, not: $text"
    echo "refused: $text"
}

ok() { dmh "$@" || fail "'dmh $*' failed"; }

# state NAME - ACTIVE or SUSPENDED, as device-mapper itself says
state() { dmsetup info -c --noheadings -o suspended "$1" 2>/dev/null; }

# stack NAME NUMBER DISK COW BYTES - register a volume and build real and top; its store is COW
stack() {
    local name=$1 number=$2 disk=$3 cow=$4 bytes=$5
    ok register "$name" "$(uuid_of "$number")" "$disk" "device:$cow" \
        -- create "$name/real" "linear,$bytes,@device" \
        -- create "$name/top" "snapshot-origin,$bytes,real"
}

# load_snapshot NAME PART BYTES COW - zero the store's head and load a snapshot, inactive
load_snapshot() {
    ok zero-head "$1/$4" -- create "$1/$2" "snapshot,$3,real,$4,grain=8192,persistent" inactive
}

# within MS WHAT COMMAND... - the command succeeds within that time, or the test fails and says WHAT did not come
within() {
    local limit_ms=$1 what=$2 i
    shift 2
    for ((i = 0; i < limit_ms / 20; i++)); do
        "$@" && return 0
        sleep 0.02
    done
    fail "not within $limit_ms ms: $what"
}

# pid_of NAME - in bash alone: on an emulated CPU a process for each process takes seconds
pid_of() {
    local file name
    for file in /proc/[0-9]*/comm; do
        { read -r name <"$file"; } 2>/dev/null || continue
        if [[ $name == "$1" ]]; then
            file=${file#/proc/}
            echo "${file%/comm}"
            return 0
        fi
    done
    return 1
}

# nobody_left - no process of a window is there any more
nobody_left() { ! pid_of blkrep-watchdog && ! pid_of blkrep-suspend; } >/dev/null
