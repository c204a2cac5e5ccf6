#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dracut: what builds the stacks of the volumes in /etc/blkrep/early before the root is mounted (blkrep-boot(7)). dracut sets the variables.
# shellcheck disable=SC2154

bin=/usr/bin
libexec=/usr/libexec/blkrep

# Only where a volume is named.
check() {
    grep -qs '^[[:space:]]*[^#[:space:]]' /etc/blkrep/early || return 255
    return 0
}

depends() {
    echo dm
}

installkernel() {
    instmods dm_mod dm_era dm_snapshot
}

install() {
    local program
    "$libexec/blkrep-early-copy" "$initdir" || return 0
    for program in "$bin/blkrep" "$libexec/blkrep-dm-helper" "$libexec/blkrep-early"; do
        if [[ -x $program ]]; then
            inst "$program" || dwarn "blkrep: $program could not be copied"
        else
            dwarn "blkrep: $program is missing: plain devices will be passed through"
        fi
    done
    inst_multiple readlink sleep mkdir ln modprobe
    inst_rules 62-blkrep.rules
    inst_hook initqueue/settled 20 "$moddir/blkrep-settled.sh"
}
