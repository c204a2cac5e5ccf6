#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2015 # "A && B || fail": fail ends the test
# vm: kernels=all cpus=1 disk=data=16M disk=logs=16M disk=area_data=32M disk=area_logs=32M disk=home=32M disk=pv=48M disk=target=16M disk=lv_target=8M tools=dmsetup,mke2fs,lvm modules=dm-snapshot,dm-era timeout=400
# everyday: 6.1, what is tested is code of ours that is the same on both
#
# Hooks before and after a snapshot: they run around the window and never in it, of a group all before and all after. One that fails or hangs
# ends the run before anything is frozen: its time is up after hook-timeout, what it started is gone, writes to the volume went on meanwhile,
# its `after` was called, and no snapshot and no mark is left. One that fails or hangs after the window is killed too, and is a warning: the
# snapshot is what it is. Around a snapshot of LVM's it is the same.

# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh
# shellcheck source=lib/attached.sh
. /vm/lib/attached.sh

home_mount
export BLKREP_CONFIG=/etc/blkrep/blkrep.conf
mkdir -p /etc/blkrep
for path in /dev/mapper/data /dev/mapper/logs /dev/group/lv; do
    printf '[volume %s]\npath = %s\nbefore-snapshot = /etc/blkrep/hook\nafter-snapshot = /etc/blkrep/hook\nhook-timeout = 9s\n' ${path##*/} $path
done >$BLKREP_CONFIG
cat >/etc/blkrep/hook <<'HOOK'
#!/bin/bash
# Says when it ran, that nothing is suspended then, and how many snapshots there are; does what /run/hook.before or /run/hook.after says.
state=ACTIVE
! dmsetup info | grep -q 'State: *SUSPENDED' || state=SUSPENDED
echo "$1 $2 $state $(dmsetup table | grep -c ' snapshot ')" >>/run/hook.log
[[ ! -s /run/hook.$1 ]] || . "/run/hook.$1"
HOOK
chmod 755 /etc/blkrep/hook
run blkrep attach data /dev/vm/data --tracker era --cow /dev/vm/area_data
run blkrep attach logs /dev/vm/logs --tracker era --cow /dev/vm/area_logs

# logged TAKEN LINE... - what the hooks of the last command said, in order; all `before` saw as many snapshots, all `after` TAKEN more
logged() {
    local word many first='' taken=$1 log
    shift
    log=$(</run/hook.log)
    while read -r word _ _ many; do
        first=${first:-$many}
        [[ $word == before ]] || many=$((many - taken))
        [[ $many -eq $first ]] || fail "a hook did not run around the window of $taken snapshots: $log"
    done <<<"$log"
    printf '%s\n' "$@" >"$T/wanted"
    cut -d ' ' -f 1-3 /run/hook.log | cmp -s - "$T/wanted" || fail "the hooks ran otherwise: $(cat /run/hook.log); wanted: $*"
}

again() { : >/run/hook.log && rm -f /run/hook.before /run/hook.after; }

again
run blkrep sync data /dev/vm/target --overwrite --yes
logged 1 "before data ACTIVE" "after data ACTIVE"

again
run blkrep snapshot create data logs --name both
logged 2 "before data ACTIVE" "before logs ACTIVE" "after logs ACTIVE" "after data ACTIVE"
for name in data logs; do run blkrep snapshot remove "$name@both"; done

# refused STATUS-TEXT LEAST-SECONDS MOST-SECONDS - a run whose first hook does what /run/hook.before says: it fails, with that text, after that time; writes went on
refused() {
    local begun=$SECONDS status=0 writes=0 took
    rm -f /run/stop
    (
        while [[ ! -e /run/stop ]]; do
            dd if=/dev/urandom of=/dev/mapper/data bs=4k seek=100 count=1 oflag=direct conv=notrunc status=none || exit 1
            echo w
        done
    ) >"$T/writes" &
    writes=$!
    blkrep sync data /dev/vm/target --json >"$T/out" 2>"$T/err" || status=$?
    took=$((SECONDS - begun))
    : >/run/stop
    wait $writes || fail "a write failed beside a hook"
    [[ $status -eq 1 ]] || fail "a run whose hook failed: status $status: $(cat "$T/out" "$T/err")"
    says "$1"
    [[ $took -ge $2 && $took -le $3 ]] || fail "it took $took s"
    [[ $(wc -l <"$T/writes") -gt $(($2 * 3)) ]] || fail "only $(wc -l <"$T/writes") writes in $took s"
    nothing_suspended
    run blkrep snapshot list data
    is snapshots 0
    logged 0 "before data ACTIVE" "after data ACTIVE"
}

again
echo 'exit 3' >/run/hook.before
refused "exited with 3" 0 60

again
echo 'sleep 1000 & echo $! >/run/hook.pid; sleep 1001' >/run/hook.before
refused "was killed: it took longer than" 9 60
[[ ! -e /proc/$(cat /run/hook.pid) ]] || fail "what the hook started lives on"

# A group whose second hook fails is not taken, and the first one's `after` is called.
again
# shellcheck disable=SC2016 # for the hook
echo '[[ $2 != logs ]] || exit 4' >/run/hook.before
run_is 1 blkrep snapshot create data logs --name both
says "exited with 4"
logged 0 "before data ACTIVE" "before logs ACTIVE" "after logs ACTIVE" "after data ACTIVE"
for name in data logs; do
    run blkrep snapshot list $name
    is snapshots 0
done

# after_is TEXT LEAST-SECONDS MOST-SECONDS - a run whose last hook does what /run/hook.after says: it is right, and warns
after_is() {
    local begun=$SECONDS took
    run blkrep sync data /dev/vm/target --recheck 1M
    took=$((SECONDS - begun))
    is fallback_reason null
    says "after-snapshot of data: /etc/blkrep/hook after data $1"
    [[ $took -ge $2 && $took -le $3 ]] || fail "it took $took s"
    nothing_suspended
    same "a run whose last hook $1" /dev/mapper/data /dev/vm/target
    logged 1 "before data ACTIVE" "after data ACTIVE"
}

again
echo 'exit 5' >/run/hook.after
after_is "exited with 5" 0 60

again
echo 'sleep 1000 & echo $! >/run/hook.pid; sleep 1001' >/run/hook.after
after_is "was killed: it took longer than 9 s" 9 60
[[ ! -e /proc/$(cat /run/hook.pid) ]] || fail "what the hook started lives on"

# One that anybody can change is not run at all.
again
chmod 777 /etc/blkrep/hook
run_is 1 blkrep sync data /dev/vm/target
says "can be changed by others"
[[ ! -s /run/hook.log ]] || fail "it ran: $(cat /run/hook.log)"
chmod 755 /etc/blkrep/hook

# And the marks are where they were: the next run is an incremental, and makes the replica equal.
again
run blkrep sync data /dev/vm/target --recheck 1M
is fallback_reason null
same "after all of it" /dev/mapper/data /dev/vm/target
for name in data logs; do run blkrep detach $name; done
nothing_left

# A logical volume, whose snapshots LVM makes.
lvm vgcreate -q group "$(readlink -f /dev/vm/pv)" && lvm lvcreate -q -y -n lv -L 8M group || fail "LVM"
run blkrep attach lv /dev/group/lv
again
run blkrep sync lv /dev/vm/lv_target --overwrite --yes
is tracker cow
logged 1 "before lv ACTIVE" "after lv ACTIVE"
vm_pattern 65536 lv | dd of=/dev/group/lv bs=64k seek=9 oflag=direct status=none || fail "write"
again
echo 'exit 5' >/run/hook.after
run blkrep sync lv /dev/vm/lv_target
is fallback_reason null
says "after-snapshot of lv: /etc/blkrep/hook after lv exited with 5"
same "a logical volume" /dev/group/lv /dev/vm/lv_target
logged 1 "before lv ACTIVE" "after lv ACTIVE"
again
echo 'exit 6' >/run/hook.before
run_is 1 blkrep sync lv /dev/vm/lv_target
says "exited with 6"
logged 0 "before lv ACTIVE" "after lv ACTIVE"
run blkrep detach lv
nothing_left group-lv
