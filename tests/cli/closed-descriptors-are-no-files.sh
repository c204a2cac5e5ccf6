#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With standard input, output or error closed no file takes their place, so no message is ever written into one; what can't be read or
# written is an error, and the work is done.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

s_configure
BLKREP_STATE=$S_STATE BLKREP_CONFIG=$S_CONF "$BLKREP" serve <&- >&- 2>&- &
pid=$!
t_pids+=("$pid")
t_wait_for 10 t_listening "$S_PORT"
for fd in 0 1 2; do
    [[ $(readlink "/proc/$pid/fd/$fd") == /dev/null ]] || t_fail "descriptor $fd is $(readlink "/proc/$pid/fd/$fd")"
done
t_end "$pid"

closed() { # STATUS COMMAND...: runs it under sh, whose redirections stand in the command
    t_run sh -c "$2" sh "$BLKREP" "$T"
    [[ $T_STATUS == "$1" ]] || t_fail "status $T_STATUS instead of $1: $2"
}
t_random "$T/a" 1M 1
for io in uring aio; do
    rm -rf "$T/b" "$T/b.blkrep"
    # shellcheck disable=SC2016 # sh's arguments
    closed 0 '"$1" sync --io='$io' "$2/a" "$2/b" <&- 2>&-'
    t_random_at "$T/a" 64K 4K $((${#io}))
    # shellcheck disable=SC2016
    closed 1 '"$1" sync --json --io='$io' "$2/a" "$2/b" <&- >&- 2>&-' # its exit object got lost
    t_file_equal "$T/a" "$T/b"
    t_ok blkrep verify "$T/b"
done
# shellcheck disable=SC2016
closed 1 '"$1" send "$2/a" >&-'
# shellcheck disable=SC2016
closed 1 '"$1" receive "$2/c" <&-'
[[ ! -e $T/c ]] || t_fail "a replica of nothing"
