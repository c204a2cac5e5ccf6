# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the guest finds in its RAM disk: two cpio archives, one after the other.
#
#   base    busybox, init and the kernel modules with all they depend on; one per kernel, kept in the cache
#   run     the test, its library, the build's programs, the host tools that it asked for with their shared
#           libraries, and static files; made for each run
#
# Neither is compressed: an emulated CPU unpacks slower than QEMU copies.
#
# Sourced by scripts/vm, which sets $cache and $root.
# shellcheck disable=SC2154

# Modules at hand in every guest. The kernel loads them on demand through busybox's modprobe; a test names in its
# header those that must be loaded before it starts.
vm_modules="virtio_pci virtio_blk virtio_console virtio_net dm-mod dm-snapshot dm-flakey dm-log-writes dm-era dm-thin-pool dm-delay dm-zero
    dm-multipath dm-round-robin dm-mirror dm-raid raid1 loop nbd ublk_drv ext4 xfs vfat nls_cp437 nls_ascii crc32c_generic crc32c_intel libcrc32c
    xxhash_generic null_blk brd drbd sd_mod scsi_debug"

vm_guest_dirs="dev proc sys run tmp etc mnt root var/lib vm/bin usr/bin usr/sbin usr/lib usr/lib64"

# vm_stage_links DIR - merged /usr, as Debian has it, so that a file has one place
vm_stage_links() {
    local dir
    for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$1/$dir"; done
}

vm_pack() { (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet); }

# vm_base SERIES - print the path of the base archive, made if need be. Archives that nobody used for a day are removed.
vm_base() { vm_locked "$cache/base.lock" vm_base_locked "$1"; }

vm_base_locked() {
    local kernel=$cache/kernels/$1 release init=$root/scripts/lib/vm-guest-init key base stage
    release=$(cat "$kernel/release")
    key=$({ cat "$init" "$(command -v busybox)"; echo "$release $vm_modules $vm_guest_dirs"; } | sha256sum | cut -c1-16)
    base=$cache/base-$1-$key.cpio
    touch -c "$base"
    [ -s "$base" ] || {
        stage=$(mktemp -d "$cache/stage.XXXXXX")
        if vm_stage_base "$stage" "$kernel" "$release" && vm_pack "$stage" >"$base.$$"; then
            find "$cache" -maxdepth 1 -name "base-$1-*.cpio" -mtime +1 -delete
            mv "$base.$$" "$base"
        else
            rm -rf "$stage" "$base.$$"
            vm_die "cannot make the base initramfs for kernel $1"
        fi
        rm -rf "$stage"
    }
    echo "$base"
}

vm_stage_base() {
    local stage=$1 kernel=$2 release=$3 dir module path
    for dir in $vm_guest_dirs; do mkdir -p "$stage/$dir" || return 1; done
    vm_stage_links "$stage"
    cp "$(command -v busybox)" "$stage/usr/bin/busybox" || return 1
    ln -s busybox "$stage/usr/bin/sh"
    ln -s ../bin/busybox "$stage/usr/sbin/modprobe"
    cp "$root/scripts/lib/vm-guest-init" "$stage/init" || return 1
    echo 'root:x:0:0:root:/run:/bin/sh' >"$stage/etc/passwd"
    echo 'root:x:0:' >"$stage/etc/group"
    echo '127.0.0.1 localhost' >"$stage/etc/hosts"
    for module in $vm_modules; do
        # A module that this kernel does not have (ublk in 6.1) is for the test to notice.
        PATH=$PATH:/usr/sbin:/sbin modprobe -C /dev/null -d "$kernel" -S "$release" --show-depends "$module" 2>/dev/null
    done | sed -nE 's/^insmod ([^ ]+).*/\1/p' | sort -u | while read -r path; do
        install -D -m 0644 "$path" "$stage/usr/lib/modules/${path#*/lib/modules/}" || return 1
    done
    cp "$kernel/lib/modules/$release"/modules.builtin{,.modinfo} "$kernel/lib/modules/$release/modules.order" \
        "$stage/usr/lib/modules/$release/" || return 1
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$stage" "$release"
}

# vm_guest_path PATH - where a host file goes in the guest: relative, below usr
vm_guest_path() {
    case $1 in
        /usr/*) echo "${1#/}" ;;
        /bin/* | /sbin/* | /lib/* | /lib64/*) echo "usr$1" ;;
        *) echo "${1#/}" ;;
    esac
}

# vm_stage_file STAGE HOST [GUEST] - copy one file, symbolic links followed
vm_stage_file() {
    local target=$1/${3-$(vm_guest_path "$2")}
    [ -e "$target" ] && return 0
    mkdir -p "${target%/*}" && cp -L "$2" "$target"
}

# vm_stage_program STAGE HOST [GUEST] - copy a program and the shared libraries that it loads
vm_stage_program() {
    local stage=$1 library
    vm_stage_file "$@" || return 1
    { ldd "$2" 2>/dev/null || true; } | sed -nE 's/.*=> (\/[^ ]+) \(.*/\1/p; s/^[[:space:]]+(\/[^ ]+) \(.*/\1/p' |
        while read -r library; do
            vm_stage_file "$stage" "$library" || return 1
        done
}

# vm_stage_tree STAGE PATH - copy a file, or a folder with all that is in it, and the libraries of its programs; 1 when there is none. A PATH
# that is not absolute is of this tree, and below / in the guest. Links within it stay links, others are followed; those that lead nowhere, or to
# a device, stay behind.
vm_stage_tree() {
    local stage=$1 path=$2 target program link
    [[ $path == /* ]] || path=$root/$path
    [ -e "$path" ] || return 1
    target=$stage/$(vm_guest_path "$2")
    mkdir -p "${target%/*}" && cp -rP "$path" "${target%/*}/" || return 1
    find "$path" -type l | while read -r link; do
        case $(readlink -f "$link") in "$path"/*) continue ;; esac
        rm "$target${link#"$path"}"
        [ ! -f "$link" ] && [ ! -d "$link" ] || cp -rL "$link" "$target${link#"$path"}" || return 1
    done || return 1
    find -L "$path" -type f -perm -u+x | while read -r program; do
        vm_stage_program "$stage" "$program" "$(vm_guest_path "$2${program#"$path"}")" || return 1
    done
}

# vm_stage_nbdkit STAGE NBDKIT - the build's plugin, beside its programs, and the filter that export uses
vm_stage_nbdkit() {
    local filters
    filters=$("$2" --dump-config | sed -n 's/^filterdir=//p')
    vm_stage_program "$1" "$build/nbdkit-blkrep-plugin.so" vm/bin/nbdkit-blkrep-plugin.so &&
        vm_stage_program "$1" "$filters/nbdkit-cow-filter.so"
}

# vm_stage_tool STAGE NAME - copy a host tool with what it can't do without; 1 when the host has none
vm_stage_tool() {
    local stage=$1 path
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$2") || return 1
    vm_stage_program "$stage" "$path" || return 1
    case $2 in
        mke2fs | mkfs.ext*) vm_stage_file "$stage" /etc/mke2fs.conf ;;
        nbdkit) vm_stage_nbdkit "$stage" "$path" ;;
    esac
}

# vm_stage_run STAGE TEST - what belongs to this run alone; /vm/env is written at each boot
vm_stage_run() {
    local stage=$1 test=$2 program
    mkdir -p "$stage/vm/bin"
    install -m 0755 "$test" "$stage/vm/${test##*/}" || return 1
    mkdir -p "$stage/vm/lib"
    install -m 0644 "$root"/tests/vm/lib/*.sh "$stage/vm/lib/" || return 1
    for program in "$build"/* "$build"/tests/vm/*; do
        if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
        case $program in *.so) continue ;; esac
        vm_stage_program "$stage" "$program" "vm/bin/${program##*/}" || return 1
    done
    # three quarters of them is for a debugger, which the guest does not have
    strip --strip-debug "$stage/vm/bin"/*
}
