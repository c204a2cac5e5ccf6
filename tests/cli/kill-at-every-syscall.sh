#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: a thousand crashes
# timeout: 3600
# As kill-in-a-delta-leaves-old-or-new, at every single changing system call of a delta, on both rings, and of a finish.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_setup
t_kill_sweep 1 1 --io=aio
t_kill_sweep 1 1 --io=uring
[[ ${t_seen[applying]:-0} -ge 10 ]] || t_fail "apply was hit ${t_seen[applying]:-0} times only"
for io in uring aio; do t_kill_sweep 1 1 --force-full --io=$io; done
