#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: disk=source=384M disk=area=512M disk=home=64M tools=dmsetup,mke2fs,mkfs.xfs,fio,jq modules=dm-snapshot,dm-era,xfs timeout=1500
#
# window.sh FILESYSTEM direct|buffered ROUNDS: how long a writer waits when a snapshot of its mounted file system is taken, under load: fio
# with direct I/O at depth 16 (or buffered), and the writer itself, which writes 4 KiB after 4 KiB (tests/vm/lib/stalls.c). Its longest wait
# while `blkrep snapshot create` runs is what counts. For comparison: while the snapshot is held (old data are copied out), while
# `snapshot remove` runs, and while a `snapshot list` does, which suspends nothing.
# What the file system's freeze and thaw took is asked of the kernel itself, by probes on their functions.
set -u
# shellcheck source=../../vm/lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=../../vm/lib/attached.sh
. /vm/lib/attached.sh

fs=$1 load=$2 rounds=$3
tracing=/sys/kernel/tracing

# symbol NAME... - the first that this kernel has: freeze_bdev became bdev_freeze in 6.8
symbol() {
    local name
    for name in "$@"; do
        grep -q " [tT] $name\$" /proc/kallsyms && echo "$name" && return
    done
    fail "this kernel has none of $*"
}

probes_on() {
    local freeze thaw
    mount -t tracefs none "$tracing" || fail "tracefs"
    freeze=$(symbol bdev_freeze freeze_bdev)
    thaw=$(symbol bdev_thaw thaw_bdev)
    echo mono >"$tracing/trace_clock"
    {
        echo "p:freeze $freeze"
        echo "r:frozen $freeze"
        echo "p:thaw $thaw"
        echo "r:thawed $thaw"
    } >"$tracing/kprobe_events" || fail "no probes: $(dmesg | tail -3)"
    echo 1 >"$tracing/events/kprobes/enable"
    echo >"$tracing/trace"
}

# frozen_ms - "FREEZE THAW": what the calls since the last question took
frozen_ms() {
    awk 'BEGIN { freeze = thaw = 0 }
        { for (i = 1; i <= NF; i++) if ($i ~ /^(freeze|frozen|thaw|thawed):$/) { at = $(i - 1); sub(":", "", at); t[$i] = at
            if ($i == "frozen:") freeze += at - t["freeze:"]
            if ($i == "thawed:") thaw += at - t["thaw:"] } }
        END { printf "%.3f %.3f\n", freeze * 1000, thaw * 1000 }' "$tracing/trace"
    echo >"$tracing/trace"
}

# waited - the writer's longest wait since the last question, in ms
waited() {
    local ns
    echo >&"${stalls[1]}"
    read -r ns _ <&"${stalls[0]}" || fail "the writer is gone"
    echo "$((ns / 1000000)).$(printf '%03d' $((ns / 1000 % 1000)))"
}

mke2fs -q -t ext4 /dev/vm/home && mount -t ext4 /dev/vm/home /mnt || fail "home"
mkdir -p /mnt/state /run/data
case $fs in
    ext4) mke2fs -q -F -t ext4 /dev/vm/source || fail "mke2fs" ;;
    xfs) mkfs.xfs -q -f /dev/vm/source || fail "mkfs.xfs" ;;
esac
run blkrep attach data /dev/vm/source --tracker era --cow /dev/vm/area
mount -t "$fs" /dev/mapper/data /run/data || fail "mount"
for file in fio writer; do
    dd if=/dev/zero of=/run/data/$file bs=1M count=64 status=none || fail "filling"
done
sync
direct=1 engine=io_uring
[[ $load == direct ]] || direct=0 engine=psync
fio --name=load --filename=/run/data/fio --rw=randwrite --bs=4k --iodepth=16 --ioengine="$engine" --direct="$direct" --thread --size=64M \
    --time_based --runtime=3600 >"$T/fio" 2>&1 &
fio=$!
coproc stalls { exec stalls /run/data/writer $((64 << 20)) "$load"; }
probes_on
sleep 2
waited >/dev/null
for ((round = 1; round <= rounds; round++)); do
    run blkrep snapshot create data --name s
    seen=$(waited)
    read -r freeze thaw <<<"$(frozen_ms)"
    echo "figure seen $seen"
    echo "figure window $(jq -r 'select(.type == "exit") | .window_seconds * 1000' "$T/out")"
    echo "figure suspend $(jq -r 'select(.type == "exit") | .snapshots[0].freeze_seconds * 1000' "$T/out")"
    echo "figure freeze $freeze"
    echo "figure thaw $thaw"
    sleep 0.2
    echo "figure held $(waited)"
    run blkrep snapshot remove data@s
    echo "figure remove $(waited)"
    frozen_ms >/dev/null
    if ((round % 4 == 0)); then
        run blkrep snapshot list data
        echo "figure quiet $(waited)"
    fi
done
kill "$fio"
wait "$fio"
to_stalls=${stalls[1]}
exec {to_stalls}>&-
wait
umount /run/data || fail "umount"
run blkrep detach data
