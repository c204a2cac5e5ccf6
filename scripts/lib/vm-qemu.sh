# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# One machine: its disks, its boots, its power cuts.
#
#   $run/disk/NAME     the disks, sparse files; they live through every boot of the run
#   $run/out.fifo      the test's output, as it comes
#   $run/control.fifo  what the guest asks of the host: exit N | cut MS | cut-after N | remember KEY VALUE
#                      initramfs ... (vm-root.sh)
#   $run/disks.fifo    what the host tells the disks: cut | cut-after N
#   $run/remembered    KEY=VALUE lines for the guest's later boots
#   $run/console.log   the kernel's console
#
# Of several guests each has such a folder, $run/GUEST.
#
# A test is one script that is started anew at every boot; $VM_BOOT counts from 0. It asks for a power cut, goes on with
# what it does, and finds itself in the next boot. It ends with its exit status.
#
# Sourced by scripts/vm, which sets $cache, $root, $build, $run and the parameters of the run (see vm_defaults there).
# shellcheck disable=SC2154

vm_boots_max=100
vm_reply_us=50000 # how often the host looks at the guest

vm_now_us() { echo "${EPOCHREALTIME/./}"; }

# vm_kvm_probe SERIES - print yes when a boot under KVM is seen to finish within ten seconds: of a kernel without
# anything else, which panics for want of a root, and ends.
vm_kvm_probe() {
    local pid i
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -accel kvm -cpu max -m 256 \
        -kernel "$cache/kernels/$1/vmlinuz" -append "panic=-1" </dev/null >/dev/null 2>&1 9>&- &
    pid=$!
    for ((i = 0; i < 100; i++)); do
        kill -0 "$pid" || break
        sleep 0.1
    done
    # Stuck in the kernel it may not even die: it is not waited for.
    if kill -9 "$pid"; then
        disown "$pid"
        echo no
    elif wait "$pid"; then
        echo yes
    else
        echo no
    fi
}

# vm_kvm_works SERIES - may KVM be used? /dev/kvm may exist and hang, so it is tried once per boot of this machine.
vm_kvm_works() {
    local verdict
    [ -w /dev/kvm ] || return 1
    verdict=$cache/kvm-$(cat /proc/sys/kernel/random/boot_id)
    [ -s "$verdict" ] || vm_locked "$cache/kvm.lock" vm_kvm_settle "$1" "$verdict"
    [ "$(cat "$verdict")" = yes ]
}

# vm_kvm_settle SERIES FILE - have the verdict in FILE, unless another run settled it meanwhile
vm_kvm_settle() {
    [ ! -s "$2" ] || return 0
    rm -f "$cache"/kvm-*
    vm_kvm_probe "$1" 2>/dev/null >"$2.new"
    mv "$2.new" "$2"
}

# vm_disk_args - append to qemu_args what gives the guest its disks
vm_disk_args() {
    local spec name sector serial ro iops bps steady below
    for spec in "${disks[@]}"; do
        IFS=: read -r name _ sector serial ro iops bps steady <<<"$spec"
        below=$name
        [ "$iops$bps" = 00 ] || below=$name-file
        if [ -n "$power_cut" ] && [ "$steady" = off ]; then
            qemu_args+=(-blockdev "driver=nbd,node-name=$below,server.type=unix,server.path=$run/disks.sock,export=$name,cache.direct=on,discard=unmap,read-only=$ro")
        else
            qemu_args+=(-blockdev "driver=file,node-name=$below,filename=$run/disk/$name,cache.direct=off,cache.no-flush=on,discard=unmap,read-only=$ro")
        fi
        if [ "$below" != "$name" ]; then # QEMU wants what a node stands on before it
            qemu_args+=(-object "throttle-group,id=$name-limit,x-iops-total=$iops,x-bps-total=$bps"
                -blockdev "driver=throttle,node-name=$name,throttle-group=$name-limit,file=$below")
        fi
        qemu_args+=(-device "virtio-blk-pci,drive=$name,serial=$serial,logical_block_size=$sector,physical_block_size=$sector,write-cache=on")
    done
}

vm_qemu_args() {
    local root_words=$root_words
    [ ! -e "$run/root.initrd" ] || root_words+=" VM_BOOT=$1 VM_SEED=$seed VM_KERNEL=$series"
    qemu_args=(-nodefaults -no-user-config -display none -no-reboot -smp "$cpus" -m "$mem" -rtc base=utc
        -kernel "$cache/kernels/$series/vmlinuz" -initrd "$run/initrd")
    if vm_kvm_works "$series"; then
        qemu_args+=(-accel kvm -cpu max)
    else
        # cx16: QEMU 7.2 crashes kernel 6.12 with it. erms, fsrm: TCG emulates rep movsb byte by byte. la57, smap, smep and the kernel's
        # mitigations (below): a fifth level of page tables, and code that keeps a CPU's secrets that TCG hasn't, cost it a fifth of its speed.
        qemu_args+=(-accel "tcg,thread=multi" -cpu "max,cx16=off,erms=off,fsrm=off,la57=off,smap=off,smep=off")
    fi
    # no_timer_check: on a busy machine an emulated timer ticks too late for the kernel's test of it, which panics.
    local words="$root_words console=ttyS0 panic=-1 no_timer_check random.trust_cpu=on mitigations=off"
    if [ -n "$shell" ]; then
        qemu_args+=(-serial mon:stdio -append "$words quiet")
    else
        qemu_args+=(-serial "file:$run/console.log" -append "$words oops=panic loglevel=5"
            -device virtio-serial-pci
            -chardev "file,id=control,path=$run/control.fifo" -device "virtserialport,chardev=control,name=control"
            -chardev "file,id=out,path=$run/out.fifo" -device "virtserialport,chardev=out,name=out")
    fi
    vm_disk_args
    # Multicast on loopback: a guest that reboots is back without its peers having to connect anew.
    [ -z "$guest" ] || qemu_args+=(-netdev "socket,id=net,mcast=$network,localaddr=127.0.0.1"
        -device "virtio-net-pci,netdev=net,mac=52:54:00:00:00:$(printf %02x "$(vm_guest_number "$guest")")")
}

# vm_guest_number NAME - its place among the guests, from 1
vm_guest_number() {
    local name number=1
    for name in $guests; do
        [ "$name" != "$1" ] || break
        number=$((number + 1))
    done
    echo "$number"
}

# vm_make_disks - sparse files; those of an earlier run in a kept folder stay as they are
vm_make_disks() {
    local spec name size
    mkdir -p "$run/disk"
    for spec in "${disks[@]}"; do
        IFS=: read -r name size _ <<<"$spec"
        [ -e "$run/disk/$name" ] || truncate -s "$size" "$run/disk/$name" || vm_die "cannot make disk $name"
    done
}

# vm_start_disks BOOT - serve the disks from behind a volatile cache
vm_start_disks() {
    local spec name sector args=() i
    for spec in "${disks[@]}"; do
        IFS=: read -r name _ sector _ <<<"$spec"
        args+=("disk=$name:$sector:$run/disk/$name")
    done
    rm -f "$run/disks.sock" "$run/cut-report"
    nbdkit -f -U "$run/disks.sock" --exit-with-parent "$build/tests/vm/nbdkit_volatile_disk.so" "${args[@]}" \
        control="$run/disks.fifo" report="$run/cut-report" seed=$((seed * (vm_boots_max + 1) + $1)) \
        </dev/null >>"$run/disks.log" 2>&1 9>&- &
    disks_pid=$!
    for ((i = 0; i < 100; i++)); do
        [ -S "$run/disks.sock" ] && return 0
        kill -0 "$disks_pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -n 5 "$run/disks.log" >&2
    vm_die "the disks did not start"
}

# vm_stop_disks - end nbdkit, which settles what a power cut left behind; without its report the run is void
vm_stop_disks() {
    local i task
    [ -n "$disks_pid" ] || return 0
    kill -TERM "$disks_pid" 2>/dev/null
    for ((i = 0; i < 300; i++)); do
        kill -0 "$disks_pid" 2>/dev/null || break
        sleep 0.1
    done
    if [ "$i" -eq 300 ]; then
        echo "vm: the disks did not end within 30 s; the threads of nbdkit wait in:" >&2
        for task in "/proc/$disks_pid/task"/*; do echo "$(cat "$task/comm") $(cat "$task/wchan") $(cat "$task/syscall")" >&2; done
        kill -9 "$disks_pid"
        rm -f "$run/cut-report"
    fi
    wait "$disks_pid" 2>/dev/null
    disks_pid=
}

# vm_write_initrd BOOT - base and run archives, and this boot's parameters
vm_write_initrd() {
    local stage=$run/boot.stage last_cut=''
    [ ! -e "$run/root.initrd" ] || {
        ln -f "$run/root.initrd" "$run/initrd" || vm_die "cannot write the initramfs"
        return 0
    }
    rm -f "$run/initrd"
    [ ! -e "$run/last-cut" ] || last_cut=$(tr '\n' ' ' <"$run/last-cut")
    rm -rf "$stage"
    mkdir -p "$stage/vm"
    {
        printf 'export VM_SHELL=%s VM_TEST=%q VM_BOOT=%s VM_SEED=%s VM_KERNEL=%s\n' \
            "${shell:-0}" "/vm/${test##*/}" "$1" "$seed" "$series"
        printf 'export VM_CUT_REPORT=%q\n' "$last_cut"
        [ -z "$guest" ] || printf 'export VM_GUEST=%q VM_GUESTS=%q VM_NUMBER=%s\n' "$guest" "$guests" "$(vm_guest_number "$guest")"
        sed -nE "s/^([A-Za-z_][A-Za-z0-9_]*)=([^']*)$/export \1='\2'/p" "$run/remembered" 2>/dev/null
        [ ${#test_args[@]} -eq 0 ] || printf 'set -- %s\n' "$(printf '%q ' "${test_args[@]}")"
    } >"$stage/vm/env"
    echo "dm-mod loop $modules" >"$stage/vm/modules"
    vm_pack "$stage" >"$run/boot.cpio" || vm_die "cpio failed"
    cat "$base" "$run/run.cpio" "$run/boot.cpio" >"$run/initrd" || vm_die "cannot write the initramfs"
}

# vm_obey LINE - do what the guest asks
# shellcheck disable=SC2086 # the rest of a line is words
vm_obey() {
    local word rest
    read -r word rest <<<"$1"
    case $word in
        exit) status=${rest:-125} ;;
        cut) cut_at_us=$(($(vm_now_us) + ${rest:-0} * 1000)) ;;
        # read and write: opening never waits for a reader
        cut-after) echo "cut-after $rest" 1<>"$run/disks.fifo" ;;
        initramfs) vm_root_ask $rest ;;
        remember) echo "${rest%% *}=${rest#* }" >>"$run/remembered" ;;
        *) echo "vm: the guest said: $1" >&2 ;;
    esac
}

# vm_attend DEADLINE_US - serve the guest until it is gone or its time is up
vm_attend() {
    local line='' part now wait_us
    while kill -0 "$qemu_pid" 2>/dev/null; do
        now=$(vm_now_us)
        wait_us=$vm_reply_us
        if [ -n "$cut_at_us" ]; then
            if [ "$now" -ge "$cut_at_us" ]; then
                [ -z "$power_cut" ] || echo cut 1<>"$run/disks.fifo"
                kill -9 "$qemu_pid" 2>/dev/null
                break
            fi
            [ $((cut_at_us - now)) -ge "$wait_us" ] || wait_us=$((cut_at_us - now))
        fi
        if [ "$now" -ge "$1" ]; then
            status=124
            kill -9 "$qemu_pid" 2>/dev/null
            break
        fi
        printf -v part '0.%06d' "$wait_us"
        if IFS= read -r -t "$part" -u 9 part; then
            vm_obey "$line$part"
            line=
        else
            line+=$part
        fi
    done
    wait "$qemu_pid" 2>/dev/null
    qemu_status=$?
    qemu_pid=
    while IFS= read -r -t 0.05 -u 9 part; do
        vm_obey "$line$part"
        line=
    done
}

# vm_boot BOOT DEADLINE_US - one boot; sets status when the test has ended, else the power was cut
vm_boot() {
    local tee_pid
    cut_at_us='' qemu_status=0
    vm_write_initrd "$1"
    [ -z "$power_cut" ] || vm_start_disks "$1"
    vm_qemu_args "$1"
    if [ -n "$shell" ]; then
        qemu-system-x86_64 "${qemu_args[@]}"
        status=$?
        vm_stop_disks
        return 0
    fi
    tee -a "$run/output.log" <"$run/out.fifo" 9>&- &
    tee_pid=$!
    qemu-system-x86_64 "${qemu_args[@]}" </dev/null >>"$run/qemu.log" 2>&1 9>&- &
    qemu_pid=$!
    vm_attend "$2"
    # QEMU that never opened the pipe leaves its reader waiting.
    : <>"$run/out.fifo"
    wait "$tee_pid" 2>/dev/null
    vm_stop_disks
}

vm_power_was_cut() {
    if [ -n "$power_cut" ]; then
        [ -s "$run/cut-report" ] || return 1
        mv "$run/cut-report" "$run/last-cut"
        return 0
    fi
    [ -n "$cut_at_us" ] && [ "$qemu_status" -eq 137 ]
}

# vm_machine - boot until the test ends; sets status (the test's, 124 out of time, 125 the bed failed), boots, cuts
vm_machine() {
    local deadline_us
    status='' cuts=0 boots=0 qemu_pid='' disks_pid='' root_words=''
    deadline_us=$(($(vm_now_us) + timeout_s * 1000000))
    rm -f "$run/out.fifo" "$run/control.fifo" "$run/disks.fifo" "$run/remembered" "$run/last-cut" "$run/output.log" "$run/root.initrd"
    mkfifo "$run/out.fifo" "$run/control.fifo" "$run/disks.fifo" || vm_die "cannot make pipes in $run"
    exec 9<>"$run/control.fifo"
    while [ -z "$status" ] && [ "$boots" -lt "$vm_boots_max" ]; do
        vm_boot "$boots" "$deadline_us"
        boots=$((boots + 1))
        [ -z "$status" ] || break
        vm_power_was_cut || {
            echo "vm: the guest ended without an exit status (QEMU's is $qemu_status); its console ends:" >&2
            tail -n 30 "$run/console.log" "$run/qemu.log" >&2
            status=125
            break
        }
        cuts=$((cuts + 1))
    done
    exec 9>&-
    [ -n "$status" ] || {
        echo "vm: more than $vm_boots_max boots" >&2
        status=125
    }
}
