#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 110
# A remote sync whose client or server is killed with -9 at system calls leaves old, new, or what finish makes new; the next one ends equal.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"
. "$(dirname "$0")/../lib/kill.sh"
. "$(dirname "$0")/../lib/kill_remote.sh"

t_remote_setup
t_remote_sweep_client 17
t_remote_sweep_server 13
