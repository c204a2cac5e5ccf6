# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Debian's stock kernels, fetched and unpacked beside the tree, never installed.
#
# A kernel is named by its series ("6.1", "6.12"). Its package is whatever the suite's meta package depends on today,
# so nothing here goes stale with a security update. apt runs on a private source list and private state: the stanza
# of the machine's own sources that serves this release, with the suite's name replaced, so that no mirror's address
# stands in the tree and the machine's own lists are not touched. Needs no root.
#
#   $cache/kernels/SERIES/{vmlinuz,release,lib/modules/RELEASE/}    complete once `release` exists
#   $cache/kernels/SERIES.why                                       why the last fetch failed
#
# Sourced by scripts/vm, which sets $cache.
# shellcheck disable=SC2154

vm_kernels="6.1 6.12"
vm_kernel_meta=linux-image-cloud-amd64

# vm_kernel_suite SERIES - the Debian suite that carries this series
vm_kernel_suite() {
    case $1 in
        6.1) echo bookworm ;;
        6.12) echo bookworm-backports ;;
        *) vm_die "no such kernel: $1 (known: $vm_kernels)" ;;
    esac
}

# vm_apt_source SUITE - print the machine's apt source for bookworm, pointed at SUITE. The first stanza or line that
# serves exactly "bookworm" is the main archive; options such as Signed-By and trusted go along.
vm_apt_source() {
    local suite=$1 file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        awk -v suite="$suite" 'BEGIN { RS = ""; FS = "\n" }
            /(^|\n)Suites:([^\n]*[ \t])?bookworm([ \t\n]|$)/ && /(^|\n)Types:[^\n]*deb/ && !done {
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^Suites:/) $i = "Suites: " suite
                    if ($i ~ /^Types:/) $i = "Types: deb"
                    if ($i !~ /^#/) print $i
                }
                done = 1
            }' "$file" >"$cache/apt/found"
        [ -s "$cache/apt/found" ] && { echo sources; return 0; }
    done
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -nE "s/^deb([[:space:]]+\[[^]]*\])?([[:space:]]+[^[:space:]]+)[[:space:]]+bookworm[[:space:]]+(.*)/deb\1\2 $suite \3/p" |
        head -n 1 >"$cache/apt/found"
    [ -s "$cache/apt/found" ] && { echo list; return 0; }
    return 1
}

# vm_apt SERIES COMMAND... - apt-get or apt-cache on the private state of this series
vm_apt() {
    local state=$cache/apt/$1 command=$2
    shift 2
    "$command" -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$state/parts" \
        -o Dir::State="$state/state" -o Dir::State::Lists="$state/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::Languages=none -q "$@"
}

# vm_kernel_fetch SERIES [missing] - fetch and unpack, with "missing" only if nobody else did, or failed to, meanwhile; on failure the
# reason is one line in SERIES.why and the status is 1
vm_kernel_fetch() {
    mkdir -p "$cache/kernels" "$cache/apt"
    vm_locked "$cache/kernels/lock" vm_kernel_fetch_locked "$@"
}

vm_kernel_fetch_locked() {
    local series=$1 work=$cache/kernels/$1.new why=$cache/kernels/$1.why log=$cache/kernels/$1.log
    if [ -n "${2:-}" ]; then
        [ ! -s "$cache/kernels/$series/release" ] || return 0
        ! vm_kernel_failed_lately "$series" || return 1
    fi
    rm -rf "$work"
    mkdir -p "$work"
    if vm_kernel_unpack "$series" "$work" >"$log" 2>&1; then
        rm -rf "$cache/kernels/$series" "$why"
        mv "$work" "$cache/kernels/$series"
    else
        grep -E '^(E|vm): ' "$log" | tail -n 1 >"$why"
        [ -s "$why" ] || tail -n 1 "$log" >"$why"
        rm -rf "$work"
        return 1
    fi
}

# vm_kernel_unpack SERIES FOLDER - fetch the package and make FOLDER of it
vm_kernel_unpack() {
    local series=$1 work=$2 suite state package form tool release
    for tool in apt-get dpkg depmod xz; do
        command -v "$tool" >/dev/null || { echo "vm: $tool is missing: run scripts/bootstrap vm"; return 1; }
    done
    [ "$(dpkg --print-architecture)" = amd64 ] || { echo "vm: the test bed's kernels are amd64, this machine is not"; return 1; }
    suite=$(vm_kernel_suite "$series") || return 1
    state=$cache/apt/$series
    rm -rf "$state"
    mkdir -p "$state/parts" "$state/state" "$state/lists/partial" "$state/cache/archives/partial"
    form=$(vm_apt_source "$suite") || { echo "vm: no apt source of this machine serves bookworm"; return 1; }
    cp "$cache/apt/found" "$state/parts/vm.$form"
    vm_apt "$series" apt-get update || return 1
    package=$(vm_apt "$series" apt-cache depends "$vm_kernel_meta" | sed -nE 's/^ *Depends: (linux-image-.*)/\1/p' | head -n 1)
    [ -n "$package" ] || { echo "vm: $suite has no $vm_kernel_meta"; return 1; }
    (cd "$work" && vm_apt "$series" apt-get download "$package") || return 1
    dpkg -x "$work"/*.deb "$work/x" || return 1
    release=${package#linux-image-}
    mkdir -p "$work/lib/modules" &&
        mv "$work/x/boot/vmlinuz-$release" "$work/vmlinuz" || return 1
    # merged /usr moves the modules in later packages
    mv "$work/x/lib/modules/$release" "$work/lib/modules/" 2>/dev/null ||
        mv "$work/x/usr/lib/modules/$release" "$work/lib/modules/" || return 1
    rm -rf "$work/x" "$work"/*.deb "$state"
    # The guest's busybox reads plain modules only.
    find "$work/lib/modules" -name '*.ko.xz' -exec xz -d {} + || return 1
    depmod -b "$work" "$release" || return 1
    echo "$release" >"$work/release"
}

# vm_kernel_failed_lately SERIES - what failed in the last ten minutes is not tried again: a machine without a network would spend them waiting
vm_kernel_failed_lately() { [ -n "$(find "$cache/kernels/$1.why" -mmin -10 2>/dev/null)" ]; }

# vm_kernel_need SERIES - make sure that the kernel is there; 1 and a reason in SERIES.why when it can't be had
vm_kernel_need() {
    [ -s "$cache/kernels/$1/release" ] || vm_kernel_fetch "$1" missing
}
