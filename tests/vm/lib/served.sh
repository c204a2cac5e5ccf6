# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What tests of the block devices that blkrep serves share (NBD, ublk). Sourced inside the guest, after helper.sh. The servers are an ordinary
# user's processes and serve $file, of $size bytes.
# shellcheck disable=SC2015,SC2034 # "A && B || fail": fail ends the test; variables are for the tests

export BLKREP_STATE=$T/state
M=$((1 << 20)) size=$((32 << 20))
file=$T/served

# new_file LABEL [BYTES] - what is served from now on
new_file() { vm_pattern "${2:-$size}" "$1" >"$file" && chmod 0666 "$file"; }

# await FILE WORD - a line of what a server says
await() {
    for _ in {1..200}; do grep -qs "$2" "$1" && return 0 || sleep 0.05; done
    fail "no '$2' in $1: $(cat "$1" 2>&1)"
}

# members_begin - the helper as a service that an ordinary user can reach; its process is $service
members_begin() {
    local program
    mkdir -p /run/blkrep && program=$(command -v blkrep-dm-helper)
    systemd-socket-activate --accept --seqpacket -E DM_DISABLE_UDEV=1 -E "BLKREP_STATE=$BLKREP_STATE" -l /run/blkrep/dm-helper.socket \
        "$program" >"$T/service" 2>&1 &
    service=$!
    for _ in {1..50}; do [[ -S /run/blkrep/dm-helper.socket ]] && break || sleep 0.1; done
    chmod 0666 /run/blkrep/dm-helper.socket && chmod 0755 /run/blkrep
}

# member REQUEST... - dmh as that user
member() { DMH_SOCKET=/run/blkrep/dm-helper.socket setpriv --reuid 1000 --regid 1000 --clear-groups dmh "$@"; }

# members_may_not REQUEST... - each a line of words
members_may_not() {
    local request text
    for request in "$@"; do
        # shellcheck disable=SC2086 # words
        text=$(member $request 2>&1) && fail "a member may $request"
        [[ $text == PERMISSION:* || $text == USAGE:* ]] || fail "$request: $text"
    done
}
