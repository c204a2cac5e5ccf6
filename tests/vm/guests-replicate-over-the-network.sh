#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: guests=server,client kernels=all disk=source=64M disk=area=96M disk=home=96M disk=target=64M tools=dmsetup,mke2fs,e2fsck modules=dm-snapshot,dm-era timeout=240 power-cut
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# Two machines on a network of their own: an attached volume of one is kept, delta by delta, on a disk of the other, whose power is cut while
# the client writes and syncs. The client's runs fail with the status for a lost peer until the server is back, then go on; in the end the
# server's disk is the volume, byte for byte, and a clean file system.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh
# shellcheck source=lib/guests.sh
. /vm/lib/guests.sh

sum_of() { dd if="$1" bs=1M iflag=direct status=none | sha256sum | cut -d' ' -f1; }

server() {
    home_mount
    export BLKREP_CONFIG=/mnt/blkrep.conf
    printf '[serve]\nlisten = 0.0.0.0:4777\n\n[replica data]\npath = /dev/vm/target\n' >"$BLKREP_CONFIG"
    chmod 600 "$BLKREP_CONFIG"
    blkrep serve >"$T/serve.out" 2>"$T/serve.err" &
    local pid=$!
    guests_listen
    if [[ $VM_BOOT -eq 0 ]]; then
        blkrep token create --role writer >"$T/token" || fail "no token: $(cat "$T/serve.err")"
        sync # a token that the client has must outlive the cut
        tell token <"$T/token"
        ask client syncing 120 >/dev/null
        vm_cut_after_writes $((5 + $(vm_random 150 cut)))
        vm_await_cut 60
    fi
    ask client sum 200 >"$T/sum"
    kill -TERM "$pid"
    wait "$pid" || fail "the server ended with $?: $(cat "$T/serve.err")"
    [[ $(cat "$T/sum") == "$(sum_of /dev/vm/target)" ]] || fail "the replica is not the volume"
    e2fsck -fn /dev/vm/target >"$T/fsck" 2>&1 || fail "the replica is no clean file system: $(cat "$T/fsck")"
    echo "the server's power was cut ($VM_CUT_REPORT), and its replica is the volume"
    echo yes | tell proven
    sleep 10 # for the client to ask
}

# sync_once - a run; 0 done, 1 no peer
sync_once() {
    local status=0
    blkrep sync data blkrep://server/data --yes --json >"$T/out" 2>"$T/err" || status=$?
    case $status in
        0) return 0 ;;
        5 | 7) return 1 ;; # the network, or the session that the cut left behind
        *) fail "sync ended with $status: $(cat "$T/out" "$T/err")" ;;
    esac
}

client() {
    local i lost=0 done=0
    home_mount
    guests_listen
    ask server token 60 >"$T/token"
    blkrep pair server --token-file "$T/token" || fail "pair"
    mke2fs -q -F -t ext4 /dev/vm/source || fail "mke2fs"
    run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
    mkdir -p /run/data
    mount -t ext4 /dev/mapper/data /run/data || fail "mount"
    vm_pattern $((16 << 20)) first >/run/data/first
    sync_once || fail "the first copy: $(cat "$T/err")"
    echo yes | tell syncing
    # Until runs were lost, and three have gone well since.
    for ((i = 0; i < 120 && done < 3; i++)); do
        vm_pattern $((2 << 20)) "$i" >"/run/data/file-$((i % 8))"
        if ! sync_once; then
            lost=$((lost + 1)) done=0
            sleep 0.5
        elif [[ $lost -gt 0 ]]; then
            done=$((done + 1))
            is tracker era
        fi
    done
    [[ $lost -gt 0 && $done -eq 3 ]] || fail "$lost runs were lost, $done went well after: $(cat "$T/out" "$T/err")"
    umount /run/data
    sync_once || fail "the last run: $(cat "$T/err")"
    is tracker era
    is fallback_reason null
    sum_of /dev/mapper/data | tell sum
    ask server proven 60 >/dev/null
    run blkrep detach data
    nothing_left
    echo "$lost runs were lost to the cut"
}

"$VM_GUEST"
