#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A clock decades off, forwards or back between runs, changes no byte and refuses nothing; status says that a version is from the future.
. "$(dirname "$0")/../lib/cli.sh"
t_need cc

cat >"$T/shim.c" <<'END'
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts)
{
    long rc = syscall(SYS_clock_gettime, id, ts);
    if (!rc && id == CLOCK_REALTIME) {
        ts->tv_sec += atol(getenv("SHIFT"));
    }
    return (int)rc;
}
time_t time(time_t *t)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return t ? (*t = ts.tv_sec) : ts.tv_sec;
}
END
cc -shared -fPIC -o "$T/shim.so" "$T/shim.c"
t_random "$T/a" 1M 1
at() { # YEARS COMMAND...
    local years=$1
    shift
    t_run env LD_PRELOAD="$T/shim.so" SHIFT=$((years * 31557600)) "$BLKREP" "$@"
    if grep -q "cannot be preloaded\|AddressSanitizer\|ASan runtime" "$T/err"; then t_skip "a clock can't be preloaded here"; fi
}
at 0 sync "$T/a" "$T/b"
t_status 0
for years in 30 -50 -20 60 0; do
    t_random_at "$T/a" 0 4096 $((years + 100))
    at $years sync --json "$T/a" "$T/b"
    t_status 0
    t_json_is bytes_shipped 4096
    t_file_equal "$T/a" "$T/b"
    at $years verify "$T/b"
    t_status 0
done
at 60 sync --json "$T/a" "$T/c"
t_status 0
t_ok blkrep status "$T/c"
t_stdout_has future
t_ok blkrep status --audit
