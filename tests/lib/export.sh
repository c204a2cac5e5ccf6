# shellcheck shell=bash disable=SC2034 # E_ words are the tests'
# SPDX-License-Identifier: Apache-2.0
# What tests of export, mount and files share. Source it after cli.sh (and ends.sh).

# e_need PROGRAM...: nbdkit, and these clients, or the test is skipped
e_need() {
    t_need nbdkit "$@"
    # A sanitizer's library must be the first that a program loads: nbdkit is started with it when the plugin wants one.
    local library
    library=$(ldd "${BLKREP%/*}/nbdkit-blkrep-plugin.so" | awk '/lib[at]san/ { print $3; exit }')
    if [[ -n $library ]]; then
        printf '#!/bin/sh\nLD_PRELOAD=%s ASAN_OPTIONS=detect_leaks=0 exec nbdkit "$@"\n' "$library" >"$T/nbdkit"
        chmod +x "$T/nbdkit"
        export BLKREP_NBDKIT=$T/nbdkit
    fi
}

# e_children PID: the processes that PID started
e_children() { cat /proc/"$1"/task/*/children 2>/dev/null; }

# e_export NAME ARGS...: blkrep export ARGS in the background, ready; its address in E_URI, its process in T_PID, nbdkit's in E_NBDKIT
e_export() {
    local name=$1
    shift
    t_background "$name" blkrep export "$@"
    t_wait_for 20 grep -q '^READY ' "$T/$name.out"
    E_URI=$(sed -n 's/^READY //p' "$T/$name.out")
    E_NBDKIT=$(e_children "$T_PID" | tr -d ' ')
}

# e_flip FILE OFFSET: another byte there
e_flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf '%b' "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# e_slice FILE OFFSET LENGTH: those bytes
e_slice() { dd if="$1" bs=64K skip="$2" count="$3" iflag=skip_bytes,count_bytes status=none; }
