// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_device.h"

struct t_device t_device_open(const void *bytes, uint64_t size_bytes, uint64_t seed)
{
    struct t_device device = {.sim = br_sim_new(&(struct br_sim_options){.seed = seed})};

    assert_int_equal(br_sim_ring(device.sim, NULL, &device.ring, NULL), 0);
    assert_int_equal(br_sim_device(device.ring, "device", size_bytes, 512, &device.file, NULL), 0);
    if (bytes) {
        t_device_put(&device, bytes, size_bytes, 0);
    }
    return device;
}

void t_device_put(struct t_device *device, const void *bytes, size_t len, uint64_t offset_bytes)
{
    br_sim_poke(device->sim, "device", bytes, len, offset_bytes);
}

void t_device_close(struct t_device *device)
{
    br_file_close(device->file);
    br_ring_close(device->ring);
    br_sim_free(device->sim);
    *device = (struct t_device){0};
}

int t_lines_add(void *ctx, const char *line)
{
    struct br_buf *lines = ctx;

    for (const char *at = line; *at; at++) {
        assert_true((unsigned char)*at >= 0x20);
    }
    br_buf_append(lines, line, strlen(line));
    br_buf_append(lines, "\n", 1);
    return 0;
}

const char *t_lines_text(struct br_buf *lines)
{
    br_buf_u8(lines, 0);
    lines->len--;
    return (const char *)lines->data;
}
