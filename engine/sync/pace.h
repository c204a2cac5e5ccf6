// SPDX-License-Identifier: Apache-2.0
//
// Does compressing pay on this link? Not guessed but tried: data is sent in windows of 16 MiB, compressed or as it is, and the way that
// moved more of the volume a second is kept, with a short look at the other one now and then. On a slow link that is compression; between
// two fast hosts the CPU is better spent elsewhere. When both are about as fast (the source is the bottleneck) compressing wins, because it
// spares the link.
#ifndef BR_SYNC_PACE_H
#define BR_SYNC_PACE_H

#include "engine/base/bytes.h"

#define BR_PACE_WINDOW_BYTES (UINT64_C(16) << 20)
#define BR_PACE_LOOK_EVERY   24u // windows of the better way between two looks at the other one

struct br_pace {
    bool compress;         // of the window under way
    uint64_t window_bytes; // handed over in it
    uint64_t window_ns;    // when it began
    double rate[2];        // bytes a second seen last: as it is, compressed; 0 not known
    unsigned windows;      // of the better way since the last look at the other
    bool begun;
};

/** br_pace_batch - note @bytes of data to be sent at @now_ns; true when they are to be compressed. A zeroed struct is a fresh start */
bool br_pace_batch(struct br_pace *pace, uint64_t bytes, uint64_t now_ns);

#endif
