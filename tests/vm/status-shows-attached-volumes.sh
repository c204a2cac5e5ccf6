#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=source=32M disk=area=64M disk=home=96M disk=target=32M tools=dmsetup,mke2fs,e2fsck,jq modules=dm-snapshot,dm-era cpus=1 timeout=300
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# `status` says of an attached volume what is so: tracker, since when every write is proven to have gone through it, why it was lost before, the
# place and its forecast, consumers by name with their marks, the stack's state whatever it is, the device by its WWID. A replica that is forgotten
# takes its mark and its snapshot along.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

# of KEY|FILTER - of the volume's line of the last run
of() {
    if [[ $1 == *" "* ]]; then
        jq -rc "select(.type == \"volume\" and .volume == \"data\") | .$1" "$T/out"
    else
        json_field "$T/out" type=volume,volume=data "$1"
    fi
}

shows() { [[ $(of "$1") == "$2" ]] || fail "$1 is $(of "$1") instead of $2: $(cat "$T/out" "$T/err")"; }

# line TEXT - a line of what people are shown begins so
line() { grep -q -- "^$1" "$T/text" || fail "no line \"$1\": $(cat "$T/text")"; }

home_mount
now=$(date +%s)
for tracker in cow era; do
    run blkrep attach data /dev/vm/source --tracker "$tracker" --cow /dev/vm/area
    run blkrep status
    shows state active
    shows trouble null
    shows tracker "$tracker"
    shows path /dev/mapper/data
    shows lost null
    shows consumers "[]"
    shows device "$(readlink -f /dev/vm/source)"
    [[ $(of wwid) == *source* ]] || fail "the WWID is $(of wwid)"
    [[ $(of tracking_since_unix) -ge $now ]] || fail "tracked since $(of tracking_since_unix), and it was attached after $now"

    run blkrep sync data /dev/vm/target --overwrite --yes
    run blkrep sync data /mnt/replica --overwrite --yes
    dd if=/dev/urandom of=/dev/mapper/data bs=64k seek=40 count=16 conv=fsync status=none || fail "dd"
    sleep 1
    run blkrep status data
    shows 'consumers | map(.name) | sort' "[\"$(readlink -f /dev/vm/target)\",\"/mnt/replica\"]"
    shows 'consumers | map(.incremental)' "[true,true]"
    [[ $(jq -s 'map(select(.type == "replica")) | length' "$T/out") -eq 2 ]] || fail "its replicas are not shown: $(cat "$T/out")"
    blkrep status data >"$T/text" || fail "status"
    [[ $(wc -l <"$T/text") -le 60 ]] || fail "it does not fit a screen: $(cat "$T/text")"
    line "volume  *data, at /dev/mapper/data"
    line "device .* wwid "
    line "tracker  *$tracker"
    line "stack  *active"
    line "continuity  *proven since"
    line "place  */dev/vm/area: .* used of 64.0 MiB"
    line "consumer  */mnt/replica: .* next run incremental"
    if [[ $tracker == cow ]]; then
        line "snapshot .*mark"
        line "forecast  *full in"
        shows 'snapshots | length' 2
        [[ $(of area_full_seconds) -gt 0 ]] || fail "no forecast: $(cat "$T/out")"
        shows 'snapshots | map(.valid)' "[true,true]"
    else
        line "metadata  *.* used of"
        shows area_full_seconds null
        shows meta_used_bytes "$(($(dmsetup status data-era | awk '{split($5, n, "/"); print n[1] * $4 * 512}')))"
    fi
    blkrep status >"$T/text" || fail "status"
    line "/dev/mapper/data  *active  *$tracker"

    # a replica that is forgotten
    run blkrep forget /mnt/replica --yes
    rm -rf /mnt/replica
    run blkrep status data
    shows 'consumers | map(.name)' "[\"$(readlink -f /dev/vm/target)\"]"
    [[ $tracker == era ]] || shows 'snapshots | length' 1
    run blkrep sync data /dev/vm/target --recheck 1M
    is fallback_reason null

    # the stack in each of its states
    dmsetup suspend --nolockfs --noflush data-real || fail "suspend"
    run blkrep status data
    dmsetup resume data-real
    shows state suspended
    [[ $(of trouble) == */dev/mapper/data-real* ]] || fail "who is suspended? $(of trouble)"
    run blkrep detach --keep data
    run blkrep status data
    shows state down
    [[ $(of trouble) == *"blkrep attach data"* ]] || fail "what is to be done? $(of trouble)"
    dd if=/dev/urandom of=/dev/vm/source bs=64k count=1 conv=fsync status=none || fail "dd"
    run blkrep attach data
    is tracking_lost written-while-down
    run blkrep status data
    shows state active
    shows lost written-while-down
    shows 'consumers | map(.incremental)' "[false]"
    blkrep status data >"$T/text" || fail "status"
    line "before  *lost: written-while-down, noticed 20"
    line "consumer  .*next run compares everything"
    run blkrep detach --keep data
    sed 's/$/ blkrep=off/' /proc/cmdline >/run/cmdline
    mount --bind /run/cmdline /proc/cmdline || fail "bind"
    run blkrep attach data
    run blkrep status data
    shows state passed-through
    umount /proc/cmdline || fail "umount"
    run blkrep attach data
    run blkrep status data
    shows state active
    run blkrep detach data
    run blkrep forget /dev/vm/target --yes
    nothing_left
done
run blkrep attach data /dev/vm/source --at-boot --cow /dev/vm/area
run blkrep status data
shows state next-boot

# a record that can't be read is shown as that, and hides nobody else
echo '{}' >/mnt/state/volumes/data/stack.json
run blkrep status
shows state unknown
[[ $(of trouble) == *record* ]] || fail "why is it unknown? $(of trouble)"
