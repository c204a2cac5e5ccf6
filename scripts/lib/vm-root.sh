# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots through a real initramfs into a root file system on one of the disks. The guest asks for it over its control port:
#
#   initramfs BUILDER DISK [without=PATH] WORD...   from the next boot on; BUILDER is initramfs-tools or dracut, the WORDs are the kernel's;
#                                                   DISK?offset=BYTES is a partition of it
#   initramfs same WORD...                          the same initramfs, other words
#   initramfs none                                  the bed's own again
#
# The builder is the machine's own and runs in a copy of the machine, in which `make install` was done (vm-root-machine): it finds blkrep's hooks
# where they are installed, /etc/blkrep and /var/lib/blkrep as the file system on DISK has them (ext4, unmounted), and the guest's kernel. The
# archive holds nothing of the test bed. The guest's init on that disk (vm-guest-init, copied there by the test) knows from the kernel's
# words which boot it is; what was remembered it has to keep on its disks.
#
# Sourced by scripts/vm, which sets $cache, $root, $build and $run.
# shellcheck disable=SC2154

# vm_root_need BUILDER - skip the test when it can't be run
vm_root_need() {
    local program=mkinitramfs
    [[ $1 != dracut ]] || program=dracut
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || vm_skip "the test bed needs $program: scripts/bootstrap vm installs it"
    command -v debugfs >/dev/null || vm_skip "the test bed needs debugfs: scripts/bootstrap vm installs it"
    unshare -m true 2>/dev/null || vm_skip "a copy of this machine needs root and a mount namespace"
}

# vm_root_ask WORD... - what the guest wants of its next boots
vm_root_ask() {
    local builder=$1 disk=${2:-}
    shift
    case $builder in
        none)
            root_words=''
            rm -f "$run/root.initrd"
            return 0
            ;;
        same)
            root_words=$*
            return 0
            ;;
    esac
    shift
    root_words=''
    local without=
    for word in "$@"; do
        case $word in
            without=*) without=${word#without=} ;;
            *) root_words+=" $word" ;;
        esac
    done
    vm_root_make "$builder" "$disk" "$without" >"$run/root.log" 2>&1 && return 0
    tail -n 20 "$run/root.log" >&2
    vm_die "$builder made no initramfs"
}

# vm_root_make BUILDER DISK WITHOUT - $run/root.initrd, from what the disk says now
vm_root_make() {
    local folder=$run/root
    rm -rf "$folder" "$run/root.initrd"
    mkdir -p "$folder/installed" "$folder/etc" "$folder/state" "$folder/over" || return 1
    debugfs -R "rdump /etc/blkrep $folder/etc" "$run/disk/$2" || return 1
    debugfs -R "rdump /var/lib/blkrep $folder/state" "$run/disk/$2" || return 1
    [[ -s $folder/etc/blkrep/early ]] || rm -f "$folder/etc/blkrep/early"
    vm_locked "$build/vm.lock" vm_make DESTDIR="$folder/installed" install || return 1
    unshare -m "$root/scripts/lib/vm-root-machine" "$1" "$(cat "$cache/kernels/$series/release")" "$cache/kernels/$series" "$folder" "$3" || return 1
    mv "$folder/initrd" "$run/root.initrd" && rm -rf "$folder"
}
