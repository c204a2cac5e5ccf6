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
