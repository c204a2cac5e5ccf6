#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 110
# A sync killed with -9 at any system call leaves the old version, the new one, or one that finish completes; and apply was hit midway.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_setup
t_kill_sweep 19 3 --io=aio
t_kill_sweep 29 9 --io=uring
[[ ${t_seen[applying]:-0} -ge 2 ]] || t_fail "apply was hit ${t_seen[applying]:-0} times only: the sweep proves nothing about it"
[[ ${t_seen[complete]:-0} -ge 3 ]] || t_fail "no kill before the commit"
