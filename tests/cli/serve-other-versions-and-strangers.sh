#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A peer of another protocol version is told apart from a stranger; older TLS and garbage end their own connection only.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 1M 1
s_start
s_pair alice
said() { grep -q "$1" "$T/server.err"; }

# clients of all kinds, with a key that the server knows
openssl req -x509 -new -key "$T/client-alice/identity.key" -subj /CN=x -days 1 -out "$T/alice.pem" 2>/dev/null
client() {
    timeout 10 openssl s_client -connect "$S_ADDR" -cert "$T/alice.pem" -key "$T/client-alice/identity.key" "$@" \
        </dev/null >"$T/s_client" 2>&1 || true
}
client -alpn blkrep/2
t_wait_for 5 said "unknown format or protocol version"
client -tls1_2 -alpn blkrep/1
t_wait_for 5 said "does not speak TLS 1.3"
# shellcheck disable=SC2016 # the inner shell's
printf 'GET / HTTP/1.0\r\n\r\n' | timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"; cat >&3; cat <&3' x "$S_PORT" >/dev/null || true
t_wait_for 5 said "does not speak TLS;"

# garbage inside a good connection, from a client that is trusted
{ head -c 65536 /dev/urandom; } | timeout 10 openssl s_client -quiet -no_ign_eof -connect "$S_ADDR" -cert "$T/alice.pem" \
    -key "$T/client-alice/identity.key" -alpn blkrep/1 >/dev/null 2>&1 || true
t_wait_for 5 said "broke the protocol"
s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
s_stop

# a server with the right key that speaks the next version only
openssl req -x509 -new -key "$S_STATE/identity.key" -subj /CN=x -days 1 -out "$T/server.pem" 2>/dev/null
t_background next openssl s_server -accept "$S_ADDR" -cert "$T/server.pem" -key "$S_STATE/identity.key" -alpn blkrep/2 -tls1_3 -rev
t_wait_for 5 t_listening "$S_PORT"
s_as alice t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 1
t_stderr_has "no version of the blkrep protocol"
t_end "$T_PID"
