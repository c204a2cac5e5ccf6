#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SIGTERM during a first copy: systemd is told, sessions are told, the server exits 0 in time; the next run ships only the rest.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

# what systemd would hear
# shellcheck disable=SC2016 # perl's variables
t_background notify perl -MIO::Socket::UNIX -MSocket -e '
    my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
    $| = 1; while (defined $s->recv(my $m, 4096)) { print "$m\n" }' "$T/notify.sock"
there() { [[ -S $T/notify.sock ]]; }
t_wait_for 5 there

t_random "$T/a.img" 48M 1
NOTIFY_SOCKET=$T/notify.sock s_start
heard() { grep -qx "$1" "$T/notify.out"; }
t_wait_for 5 heard READY=1
s_pair alice
s_as alice t_background sync blkrep sync --json --bwlimit=8M "$T/a.img" "$S_URL/db"
sync_pid=$T_PID
half() { [[ $(stat -c %b "$T/replicas/db" 2>/dev/null || echo 0) -gt 24576 ]]; } # 12 MiB
t_wait_for 20 half

started=$SECONDS
s_stop
[[ $((SECONDS - started)) -le 8 ]] || t_fail "stopping took $((SECONDS - started)) s"
t_wait_for 2 heard STOPPING=1
T_STATUS=0
wait "$sync_pid" || T_STATUS=$?
[[ $T_STATUS -eq 5 || $T_STATUS -eq 1 ]] || t_fail "the client exited with $T_STATUS: $(cat "$T/sync.err")"
[[ $(s_sessions) -eq 0 ]] || t_fail "children were left behind"

s_start
s_as alice t_ok blkrep sync --json "$T/a.img" "$S_URL/db"
t_json_is resumed true
t_le "$(t_json bytes_shipped)" "$(t_bytes 42M)" "shipped by the second run"
t_file_equal "$T/a.img" "$T/replicas/db"

# idle: SIGINT ends it as well, at once
s_stop INT
