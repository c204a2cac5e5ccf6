#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is wrong in the configuration is named with its line before anything listens; SIGHUP reads it anew, and a wrong one leaves the old.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

serve() { s_server t_run timeout 10 "$BLKREP" serve "$@"; }
s_configure "listne = 1.2.3.4"
serve
t_status 2
t_stderr_has "$S_CONF:4"
t_stderr_has "listne"
s_configure "sessions-max = many"
serve
t_status 2
t_stderr_has "sessions-max"
s_configure "[replica x]" "colour = red"
serve
t_status 2
t_stderr_has "colour"
s_configure
for listen in 'host:x' '' '127.0.0.1:99999' 'no-such-host.invalid'; do
    serve "--listen=$listen"
    [[ $T_STATUS -ne 0 && $T_STATUS -ne 124 ]] || t_fail "listens on: $listen"
done
serve argument
t_status 2
serve --unknown
t_status 2
chmod 666 "$S_CONF"
serve
t_status 1
t_stderr_has "$S_CONF"

t_random "$T/a.img" 1M 1
s_configure
s_start
serve # the port is taken
t_status 7
t_stderr_has "$S_ADDR"

s_pair alice
printf '[serve]\nlisten = %s\n' "$S_ADDR" >"$S_CONF" # no directory any more
kill -HUP "$S_PID"
reread() { grep -q "read anew; addresses" "$T/server.err"; }
t_wait_for 5 reread
s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 1
t_stderr_has "no replica db"
s_configure "nonsense"
kill -HUP "$S_PID"
kept() { grep -q "the old one stays" "$T/server.err"; }
t_wait_for 5 kept
s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 1
s_configure "[replica db]" "path = $T/at last.img"
kill -HUP "$S_PID"
works() { BLKREP_STATE=$T/client-alice "$BLKREP" sync "$T/a.img" "$S_URL/db"; }
t_wait_for 5 works
t_file_equal "$T/a.img" "$T/at last.img"
s_stop
