// SPDX-License-Identifier: Apache-2.0
//
// A simulated block device with given content, for readers of what the kernel writes.
#ifndef T_DEVICE_H
#define T_DEVICE_H

#include "engine/ring/sim.h"

struct t_device {
    struct br_sim *sim;
    struct br_ring *ring;
    struct br_file *file;
};

/** t_device_open - a world with one device, "device", of @size_bytes that holds @bytes (NULL: zeros); the caller closes it */
struct t_device t_device_open(const void *bytes, uint64_t size_bytes, uint64_t seed);
/** t_device_put - change what it holds, behind everybody's back */
void t_device_put(struct t_device *device, const void *bytes, size_t len, uint64_t offset_bytes);
/** t_device_close - a zeroed struct is fine */
void t_device_close(struct t_device *device);

/** t_lines_add - a line function (ctx: struct br_buf) that gathers lines, each with a line end */
int t_lines_add(void *ctx, const char *line);
/** t_lines_text - what was gathered, as a string that is valid until more is */
const char *t_lines_text(struct br_buf *lines);

#endif
