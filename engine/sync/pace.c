// SPDX-License-Identifier: Apache-2.0
#include "engine/sync/pace.h"

#define PACE_TIE 0.9 // compressed is taken from this share of the other's rate on

static bool br_pace_better(const struct br_pace *pace)
{
    return pace->rate[1] >= PACE_TIE * pace->rate[0];
}

// What the next window is for: the way never tried, a look at the worse one when it is due, else the better one.
static bool br_pace_next(struct br_pace *pace)
{
    if (pace->rate[0] <= 0) {
        return false;
    }
    bool better = br_pace_better(pace);
    if (pace->windows >= BR_PACE_LOOK_EVERY) {
        pace->windows = 0;
        return !better;
    }
    pace->windows++;
    return better;
}

bool br_pace_batch(struct br_pace *pace, uint64_t bytes, uint64_t now_ns)
{
    if (!pace->begun) {
        *pace = (struct br_pace){.begun = true, .compress = true, .window_ns = now_ns};
    } else if (pace->window_bytes >= BR_PACE_WINDOW_BYTES) {
        uint64_t ns = BR_MAX(now_ns - pace->window_ns, UINT64_C(1));
        pace->rate[pace->compress] = (double)pace->window_bytes * 1e9 / (double)ns;
        pace->compress = br_pace_next(pace);
        pace->window_bytes = 0;
        pace->window_ns = now_ns;
    }
    pace->window_bytes += bytes;
    return pace->compress;
}
