#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: two boots of a virtual machine
# timeout: 900
# scripts/demo-vm runs through and its table says what change tracking is for: the incremental syncs, the one after a power cut too, read a small part
# of the volume and shipped a smaller one.
. "$(dirname "$0")/../lib/cli.sh"

t_need qemu-system-x86_64 busybox cpio
T_RUN_LIMIT=800 t_run "$T_TOP/scripts/demo-vm" --no-setup
[[ $T_STATUS != 77 ]] || t_skip "$(tail -n 1 "$T/out")"
t_status 0
awk '/^Result/ {on = 1; next} on && /^incremental/ {n++; if ($(NF - 3) > $(NF - 4) / 3 || $(NF - 2) > $(NF - 3)) exit 1} END {exit n != 2}' "$T/out" ||
    t_fail "the table is not as it should be: $(sed -n '/^Result/,$p' "$T/out")"
