#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an export serves is what the source held, to clients that others wrote (nbdinfo, nbdcopy, qemu-img, qemu-io), over a socket, a port and TLS;
# zeros are told as such; nobody can write, or with --writable nothing of the point changes; a damaged block is an error and never data; the
# secret is in no command line or environment; whatever ends it, nbdkit and the socket go too.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/export.sh"

e_need nbdinfo nbdcopy qemu-img qemu-io openssl
v=$T/volume repo=$T/repo sock=$T/run/sock
secret='nobody may see this'
printf '%s\n' "$secret" >"$T/passphrase"
chmod 600 "$T/passphrase"
pass=(--passphrase-file="$T/passphrase")

t_random "$v" 3M 1
truncate -s 9M "$v"
t_random_at "$v" 7000000 12345 2
truncate -s 9437999 "$v" # no whole sector
t_ok blkrep init "$repo" "${pass[@]}"
t_ok blkrep backup "$v" "$repo" "${pass[@]}"
cp --sparse=always "$v" "$T/is.0"
t_random_at "$v" $((65536 * 3 + 8192)) 8192 3
t_random_at "$v" 5000000 70000 4
t_ok blkrep backup "$v" "$repo" "${pass[@]}"
cp --sparse=always "$v" "$T/is.1"

gone() { # NAME: what e_export started has ended, and its socket is gone
    t_wait_for 10 eval "! t_alive $E_NBDKIT"
    [[ ! -e $sock ]] || t_fail "$1: the socket is left"
}

# a socket: every client sees the source, and zeros as zeros
e_export first "$repo@latest" "${pass[@]}" --socket "$sock"
[[ $(stat -c %a "$sock") == ?00 ]] || t_fail "others may use the socket: $(stat -c %a "$sock")"
[[ $E_URI == "nbd+unix:///?socket=$sock" ]] || t_fail "another address: $E_URI"
t_ok nbdinfo --json "$E_URI"
[[ $(jq -r '.exports[0] | [."export-size", .is_read_only, .can_multi_conn] | join(" ")' "$T/out") == "9437999 true true" ]] ||
    t_fail "nbdinfo sees another disk"
t_ok nbdinfo --map "$E_URI"
read -r at len kind _ < <(grep hole,zero "$T/out")
[[ $at == $((48 * 65536)) && $kind == 3 ]] || t_fail "zeros are told to begin at $at"
e_slice "$T/is.1" "$at" "$len" | cmp -s - <(head -c "$len" /dev/zero) || t_fail "what is told to be zeros is none"
t_ok nbdcopy "$E_URI" "$T/copied"
t_file_equal "$T/is.1" "$T/copied"
t_ok qemu-img compare -f raw -F raw "$T/is.1" "$E_URI"
qemu-img compare -f raw -F raw "$T/is.0" "$E_URI" >/dev/null && t_fail "another version compares equal"
for at in 0 4095 65535 65536 204799 204800 4999999 6999999 9437000; do # bytes at odd places
    qemu-io -r -f raw -c "read -v $at 999" "$E_URI" | sed -n 's/^[0-9a-f]*: *\([0-9a-f ]*\)  .*/\1/p' | tr -d ' \n' >"$T/seen"
    e_slice "$T/is.1" $at 999 | od -An -v -tx1 | tr -d ' \n' | cmp - "$T/seen" || t_fail "other bytes at $at"
done
! qemu-io -f raw -c 'write 0 512' "$E_URI" >/dev/null 2>&1 || t_fail "an export can be written"
for pid in "$T_PID" "$E_NBDKIT"; do
    ! grep -qaF "$secret" "/proc/$pid/cmdline" "/proc/$pid/environ" || t_fail "process $pid shows the secret"
done
t_run blkrep export "$repo@latest" "${pass[@]}" --socket "$sock" --json
t_status 7
t_ok nbdinfo --size "$E_URI" # and the first one goes on
t_end "$T_PID"
t_status 0
gone "after SIGTERM"

# the secret in the environment is blkrep's alone; a point by its place
export BLKREP_PASSPHRASE=$secret
e_export second "$repo@latest~1" --socket "$sock"
! grep -qaF "$secret" "/proc/$E_NBDKIT/environ" "/proc/$E_NBDKIT/cmdline" || t_fail "nbdkit shows the secret"
t_ok nbdcopy "$E_URI" "$T/copied"
t_file_equal "$T/is.0" "$T/copied"
# killed: nbdkit ends too, whoever is its client and waits; the socket that is left is in nobody's way
pid=$T_PID
t_background idle stdbuf -oL qemu-io -r -f raw -c 'read 0 512' -c 'sleep 120000' "$E_URI"
t_wait_for 20 grep -q '^read 512' "$T/idle.out"
t_end "$pid" KILL
t_wait_for 10 eval "! t_alive $E_NBDKIT"
touch "$T/file"
t_run blkrep export "$repo@latest" --socket "$T/file"
t_status 3
[[ -f $T/file ]] || t_fail "a file was taken for a socket"

# writable: the client sees what it wrote, the point stays
e_export third "$repo@latest" --socket "$sock" --writable
t_ok qemu-io -f raw -c 'write -P 0x5a 65000 2000' -c 'read -P 0x5a 65000 2000' "$E_URI"
t_stdout_lacks "verification failed"
t_ok nbdcopy "$E_URI" "$T/copied"
t_file_differs "$T/is.1" "$T/copied"
t_end "$T_PID" INT
gone "after SIGINT"
"$BLKREP" restore "$repo@latest" - 2>/dev/null | cmp - "$T/is.1" || t_fail "the point changed"

# as long as a command runs
# shellcheck disable=SC2016 # for the command's shell
t_ok blkrep export "$repo@latest" --socket "$sock" --run 'nbdinfo --size "$uri" && test -S "$unixsocket" && test -z "$BLKREP_PASSPHRASE"'
t_stdout_is 9437999
[[ ! -e $sock ]] || t_fail "the socket is left after --run"
t_run blkrep export "$repo@latest" --socket "$sock" --run 'exit 5' --json
t_status 1
t_json_is error.name HOOK
head -n 1 "$T/out" | jq -e '.type == "ready" and .size_bytes == 9437999' >/dev/null || t_fail "no ready line"
# shellcheck disable=SC2016 # for nbdkit's shell
t_ok "${BLKREP_NBDKIT:-nbdkit}" -U - "${BLKREP%/*}/nbdkit-blkrep-plugin.so" "$repo@latest" state="$BLKREP_STATE" --run 'nbdinfo --size "$uri"'
t_stdout_is 9437999

# a port: loopback only, unless asked for; TLS, with a certificate of a client or without
port=$(t_free_port)
t_run blkrep export "$repo@latest" --port "$port" --address 0.0.0.0 --json
t_status 3
t_json_is error.name REFUSED
e_export plain "$repo@latest" --port "$port"
[[ $E_URI == "nbd://127.0.0.1:$port" ]] || t_fail "another address: $E_URI"
[[ $(awk -v port="$(printf ':%04X' "$port")" '$4 == "0A" && index($2, port)' /proc/net/tcp /proc/net/tcp6) == *0100007F* ]] || t_fail "not only loopback"
t_ok nbdinfo --size "$E_URI"
t_end "$T_PID"
mkdir "$T/pki"
cd "$T/pki"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca-cert.pem -days 2 -subj /CN=ca 2>/dev/null
for who in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=localhost 2>/dev/null
    openssl x509 -req -in $who.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $who-cert.pem \
        -extfile <(echo subjectAltName=DNS:localhost) 2>/dev/null
done
mkdir stranger && cp ca-cert.pem stranger/
cd "$T"
port=$(t_free_port)
e_export tls "$repo@latest" --port "$port" --address 127.0.0.1 --tls-certificates "$T/pki"
uri=nbds://localhost:$port
t_ok nbdinfo --size "$uri?tls-certificates=$T/pki"
t_stdout_is 9437999
! timeout 20 nbdinfo --size "$uri?tls-certificates=$T/pki/stranger" >"$T/out" 2>&1 || t_fail "a client without a certificate reads"
! timeout 20 nbdinfo --size "nbd://localhost:$port" >"$T/out" 2>&1 || t_fail "a client without TLS reads"
t_end "$T_PID"
e_export any "$repo@latest" --port "$port" --address 127.0.0.1 --tls-certificates "$T/pki" --any-client
t_ok nbdinfo --size "$uri?tls-certificates=$T/pki/stranger"
t_end "$T_PID"

# what can't be: named, and nothing is left
for words in "$repo@1111 1" "$repo 2" "$T/none@latest 1"; do
    t_run blkrep export "${words% *}" --socket "$sock"
    t_status "${words##* }"
    [[ ! -e $sock ]] || t_fail "a socket is left"
done
BLKREP_PASSPHRASE=wrong t_run blkrep export "$repo@latest" --socket "$sock" --json
t_status 1
t_json_is error.name KEY
BLKREP_NBDKIT=$T/none t_run blkrep export "$repo@latest" --socket "$sock" --json
t_json_is error.name UNSUPPORTED
t_run blkrep export "$repo@latest" --socket "$sock" --port 1
t_status 2

# a damaged frame: an error for the blocks in it, and the others are served
pack=$(find "$repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1)
e_flip "${pack#* }" 300000
e_export damaged "$repo@latest" --socket "$sock"
! nbdcopy "$E_URI" "$T/copied" 2>"$T/err" || t_fail "a damaged point was copied"
good=0 bad=0
for ((block = 0; block < 144; block++)); do
    if timeout 20 qemu-io -r -f raw -c "read -v $((block * 65536)) 2000" "$E_URI" >"$T/out" 2>&1; then
        good=$((good + 1))
        sed -n 's/^[0-9a-f]*: *\([0-9a-f ]*\)  .*/\1/p' "$T/out" | tr -d ' \n' >"$T/seen"
        e_slice "$T/is.1" $((block * 65536)) 2000 | od -An -v -tx1 | tr -d ' \n' | cmp - "$T/seen" || t_fail "block $block is something else"
    else
        bad=$((bad + 1))
        grep -q 'Input/output error' "$T/out" || t_fail "block $block fails otherwise"
    fi
done
[[ $bad -ge 1 && $bad -le 32 && $good -ge 100 ]] || t_fail "$bad blocks of a damaged frame fail, $good are good"
t_end "$T_PID"
