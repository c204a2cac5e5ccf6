#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# soak: hundreds of crashes
# timeout: 3600
# As kill-of-either-end-of-a-remote-sync at every single changing system call, and apply was hit midway.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"
. "$(dirname "$0")/../lib/kill.sh"
. "$(dirname "$0")/../lib/kill_remote.sh"

t_remote_setup
t_remote_sweep_client 1
t_remote_sweep_server 1
[[ ${t_seen[applying]:-0} -ge 3 ]] || t_fail "apply was hit ${t_seen[applying]:-0} times only"
