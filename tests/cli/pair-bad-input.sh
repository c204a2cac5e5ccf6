#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep pair says what is wrong with an address or a token, never takes a secret from the command line, and keeps nothing when it fails.
. "$(dirname "$0")/../lib/cli.sh"

token=$("$BLKREP" token create --state="$T/server" 2>/dev/null)
echo "$token" >"$T/token"

for address in '' :4777 host:0 host:65536 host:x '[::1' 'a b' -x a/b blkrep://host; do
    t_run_in "$T/token" blkrep pair -- "$address"
    t_status 2
done
t_run_in "$T/token" blkrep pair
t_status 2
t_run blkrep pair localhost "$token" # two arguments: the token does not belong there
t_status 2

pair_with() { # what stands in the token file
    printf '%s' "$1" >"$T/wrong"
    t_run_in "$T/wrong" blkrep pair localhost
}
pair_with ''
t_status 2
t_stderr_has "holds no token"
pair_with 'hello'
t_status 2
t_stderr_has "not a token"
pair_with "${token%?}"
t_status 2
t_stderr_has "not whole"
last=${token: -1}
pair_with "${token%?}$([[ $last == x ]] && echo y || echo x)"
t_status 2
t_stderr_has "not whole"
head -c 100000 /dev/zero | tr '\0' 'a' >"$T/wrong"
t_run_in "$T/wrong" blkrep pair localhost
t_status 2

t_run blkrep pair localhost --token-file="$T/none"
t_status 1
t_stderr_has "$T/none"

# nobody listens there; a host that does not exist
port=$(t_free_port)
t_run_in "$T/token" blkrep pair "127.0.0.1:$port"
t_status 5
t_stderr_has "127.0.0.1:$port"
t_run_in "$T/token" blkrep pair "no-such-host.invalid"
t_status 5
t_stderr_has "no-such-host.invalid"

# somebody else answers: no TLS, then silence
# shellcheck disable=SC2016 # perl's variables
t_background other perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
    my $c = $s->accept; syswrite($c, "220 mail ready\r\n"); sysread($c, my $x, 9999); close $c;
    $c = $s->accept; sleep 30' "$port"
t_wait_for 5 t_listening "$port"
t_run_in "$T/token" blkrep pair "127.0.0.1:$port"
t_status 5
t_stderr_has "does not speak TLS"
t_run_in "$T/token" blkrep pair --timeout=1s "127.0.0.1:$port"
t_status 5
t_stderr_has "in time"

[[ ! -e $BLKREP_STATE/servers ]] || t_fail "a server was kept though no pairing succeeded"
