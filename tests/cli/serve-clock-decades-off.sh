#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A wall clock decades off, on either side, changes nothing: identity, pairing and sync go on.
# Method: a library that shifts the wall clock, and only that, is built and preloaded.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"
t_need gcc
! ldd "$BLKREP" | grep libasan >/dev/null || t_skip "the address sanitizer wants to be loaded first"

cat >"$T/shift.c" <<'C'
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) { return atol(getenv("T_SHIFT") ? getenv("T_SHIFT") : "0"); }
int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    t->tv_sec += id == CLOCK_REALTIME ? shift() : 0;
    return rc;
}
time_t time(time_t *to)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return to ? *to = t.tv_sec : t.tv_sec;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
C
gcc -shared -fPIC -O1 -o "$T/shift.so" "$T/shift.c"
t_random "$T/a.img" 1M 1
shifted() { LD_PRELOAD=$T/shift.so T_SHIFT=$1 "${@:2}"; }
shifted 1500000000 t_ok blkrep token create --state="$T/probe"
grep -q '"time":"207' "$T/probe/audit.ndjson" || t_fail "the clock was not shifted: $(cat "$T/probe/audit.ndjson")"

replica=0
for shift in 1500000000 -1700000000; do # about 2074 and 1972
    shifted "$shift" s_start
    s_pair "near$shift" # the server's clock is off, and the token was made by one that is not
    s_as "near$shift" t_ok blkrep sync "$T/a.img" "$S_URL/db$((replica += 1))"
    s_stop
    s_start
    s_token "$T/token"
    shifted "$shift" s_as "far$shift" t_run_in "$T/token" blkrep pair "$S_ADDR"
    t_status 0
    shifted "$shift" s_as "far$shift" t_ok blkrep sync "$T/a.img" "$S_URL/db$((replica += 1))"
    s_stop
done
for r in 1 2 3 4; do t_file_equal "$T/a.img" "$T/replicas/db$r"; done
