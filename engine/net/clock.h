// SPDX-License-Identifier: Apache-2.0
//
// Deadlines of sockets. Monotonic: what the wall clock says never decides whether a peer is alive.
#ifndef BR_NET_CLOCK_H
#define BR_NET_CLOCK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/** br_clock_ns - CLOCK_MONOTONIC in nanoseconds */
static inline uint64_t br_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/** br_clock_ms_until - milliseconds for poll(): rounded up, 0 only when @deadline_ns has passed, -1 for UINT64_MAX */
static inline int br_clock_ms_until(uint64_t deadline_ns)
{
    uint64_t now = br_clock_ns();
    if (deadline_ns == UINT64_MAX) {
        return -1;
    }
    if (deadline_ns <= now) {
        return 0;
    }
    uint64_t ms = (deadline_ns - now + 999999) / 1000000;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

#define BR_CLOCK_LOOK_MS 250 // so often a wait that may be given up is interrupted to look

/** br_clock_cancelled - has who waits been told to stop? NULL: never */
static inline bool br_clock_cancelled(const volatile bool *cancel)
{
    return cancel && *cancel;
}

/** br_clock_look_ms - br_clock_ms_until(), but at most BR_CLOCK_LOOK_MS when there is a @cancel to look at */
static inline int br_clock_look_ms(uint64_t deadline_ns, const volatile bool *cancel)
{
    int ms = br_clock_ms_until(deadline_ns);
    return cancel && (ms < 0 || ms > BR_CLOCK_LOOK_MS) ? BR_CLOCK_LOOK_MS : ms;
}

#endif
