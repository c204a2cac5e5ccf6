# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A server and its clients for command line tests, each with a state folder of its own under $T. After cli.sh:
#
#   . "$(dirname "$0")/../lib/serve.sh"
#   s_start                      # blkrep serve on a free loopback port; replicas in $T/replicas
#   s_pair alice --role=writer   # makes a client; options go to `blkrep token create`
#   s_as alice t_ok blkrep sync "$T/a.img" "$S_URL/db"
#
# shellcheck disable=SC2034,SC2153,SC2317 # for the tests that read this; optional arguments
#
# $S_PORT, $S_ADDR (127.0.0.1:PORT), $S_URL (blkrep://127.0.0.1:PORT), $S_PID, $S_STATE and $S_CONF are the server's.

S_STATE=$T/server-state
S_CONF=$T/server.conf
S_PORT=$(t_free_port)
S_ADDR=127.0.0.1:$S_PORT
S_URL=blkrep://$S_ADDR
S_PID=

# s_configure [LINE...]: the server's configuration, lines of [serve] beside listen= and directory=, then other sections
s_configure() {
    mkdir -p "$T/replicas"
    printf '[serve]\nlisten = %s\ndirectory = %s\n' "$S_ADDR" "$T/replicas" >"$S_CONF"
    [[ $# -eq 0 ]] || printf '%s\n' "$@" >>"$S_CONF"
    chmod 600 "$S_CONF"
}

# s_start [OPTION...]: starts the server with the configuration that there is, and waits until it listens
s_start() {
    [[ -e $S_CONF ]] || s_configure
    BLKREP_STATE=$S_STATE BLKREP_CONFIG=$S_CONF t_background server blkrep serve "$@"
    S_PID=$T_PID
    s_up() { t_listening "$S_PORT" || ! t_alive "$S_PID"; }
    t_wait_for 10 s_up
    t_alive "$S_PID" || t_fail "the server ended: $(cat "$T/server.err")"
}

# s_stop [SIGNAL]: ends the server; it must exit 0
s_stop() {
    t_end "$S_PID" "${1:-TERM}" 15
    [[ $T_STATUS -eq 0 ]] || t_fail "the server exited with $T_STATUS: $(cat "$T/server.err")"
}

# s_server COMMAND ARGS...: runs it as the server's host
s_server() { BLKREP_STATE=$S_STATE BLKREP_CONFIG=$S_CONF "$@"; }

# s_as CLIENT COMMAND ARGS...: runs it as that client's host
s_as() {
    mkdir -p "$T/client-$1"
    BLKREP_STATE=$T/client-$1 "${@:2}"
}

# s_token FILE [OPTION...]: a token of the server into FILE
s_token() { s_server "$BLKREP" token create "${@:2}" >"$1" 2>"$T/token.err" || t_fail "no token: $(cat "$T/token.err")"; }

# s_pair CLIENT [OPTION...]: makes a token with these options and pairs CLIENT with it
s_pair() {
    local client=$1
    s_token "$T/token-$client" "${@:2}"
    s_as "$client" t_run_in "$T/token-$client" blkrep pair --name="$client" "$S_ADDR"
    t_status 0
}

# s_start_repository: a server that keeps an empty repository, $R, in $T/main; client boss is its admin
s_start_repository() {
    s_configure "[repository main]" "path = $T/main" "serve = yes"
    s_start
    s_pair boss --role=admin
    R=$S_URL/main
    s_as boss t_ok blkrep init "$R"
}

# s_audit CLIENT|server: the audit log
s_audit() { cat "$T/${1/#server/server-state}/audit.ndjson"; }

# s_sessions: how many sessions the server has; its children are its connections
s_sessions() { pgrep -c -P "$S_PID" || true; }
