#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The words of tests/lib/cli.sh can fail: each is seen to accept what is right and to refuse what is wrong.
# timeout: 60
# plain: about tests/lib/cli.sh
. "$(dirname "$0")/../lib/cli.sh"

# refuses WHAT COMMAND...: COMMAND, a t_ word, must end the test as failed
refuses() {
    local rc=0
    ("${@:2}") >"$T/refused" 2>&1 || rc=$?
    [[ $rc -eq 1 ]] || t_fail "$1 was not refused (status $rc): $(cat "$T/refused")"
}

t_run sh -c 'echo out; echo err >&2; exit 3'
t_status 3
t_stdout_has out
t_stderr_has err
t_stdout_lacks err
t_stdout_is out
refuses "a wrong status" t_status 0
refuses "missing text" t_stdout_has nothing
refuses "text that should not be there" t_stderr_lacks err
refuses "output where there should be none" t_stdout_empty
T_RUN_LIMIT=1 refuses "a command that takes too long" t_run sleep 20

t_run printf '%s\n' '{"progress": 1}' '{"schema": 1, "bytes_shipped": 4096, "ok": false, "error": {"code": "BUSY"}}'
t_json_is bytes_shipped 4096
t_json_is .error.code BUSY
t_json_is ok false
refuses "a key that is not there" t_json nothing
refuses "another value" t_json_is bytes_shipped 1

t_random "$T/a" 100K 1
t_random "$T/b" 100K 1
t_random "$T/c" 100K 2
t_file_equal "$T/a" "$T/b"
t_file_differs "$T/a" "$T/c"
refuses "different files" t_file_equal "$T/a" "$T/c"
t_random_at "$T/a" 4K 512 9
[[ $(stat -c %s "$T/a") -eq $((100 * 1024)) ]] || t_fail "t_random_at changed the size"
[[ $(cmp -l "$T/a" "$T/b" | awk 'NR == 1 { a = $1 } { b = $1 } END { print (a > 4096 && b <= 4096 + 512 && NR > 400) }') == 1 ]] ||
    t_fail "t_random_at wrote elsewhere"
refuses "bytes that nobody wrote" t_file_equal "$T/a" "$T/b"

mkdir "$T/files" && echo hello >"$T/files/hello"
t_mkfs_image "$T/fs" 8M "$T/files"
[[ $(stat -c %s "$T/fs") -eq $((8 * 1024 * 1024)) ]] || t_fail "the image has another size"

t_background sleeper sleep 100
t_alive "$T_PID" || t_fail "the background process is not there"
t_end "$T_PID"
t_status 143
refuses "a wait in vain" t_wait_for 1 false

port=$(t_free_port)
! t_listening "$port" || t_fail "a free port has a listener"
t_background listener openssl s_server -accept "127.0.0.1:$port" -nocert
t_wait_for 10 t_listening "$port"
