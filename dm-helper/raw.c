// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "dm-helper/target.h"
#include "engine/base/bytes.h"

#define DMH_CONTROL "/dev/mapper/control"

void dmh_raw_name_of(const struct dmh_dm *dm, struct dmh_raw_name *ret_name)
{
    memset(ret_name, 0, sizeof(*ret_name));
    if (*dm->uuid) {
        memcpy(ret_name->uuid, dm->uuid, strnlen(dm->uuid, sizeof(ret_name->uuid) - 1));
    } else {
        memcpy(ret_name->name, dm->name, strnlen(dm->name, sizeof(ret_name->name) - 1));
    }
}

int dmh_raw_open(void)
{
    return open(DMH_CONTROL, O_RDWR | O_CLOEXEC);
}

static void dmh_raw_fill(struct dm_ioctl *head, const struct dmh_raw_name *name, uint32_t flags, size_t size)
{
    memset(head, 0, sizeof(*head));
    head->version[0] = DM_VERSION_MAJOR;
    head->data_size = (uint32_t)size;
    head->data_start = sizeof(*head);
    head->flags = flags;
    memcpy(head->name, name->name, sizeof(head->name));
    memcpy(head->uuid, name->uuid, sizeof(head->uuid));
}

static int dmh_raw_call(int control, unsigned long request, struct dm_ioctl *head)
{
    return ioctl(control, request, head) ? -errno : 0;
}

int dmh_raw_suspend(int control, const struct dmh_raw_name *name, uint32_t flags)
{
    struct dm_ioctl head;

    dmh_raw_fill(&head, name, flags | DM_SUSPEND_FLAG, sizeof(head));
    return dmh_raw_call(control, DM_DEV_SUSPEND, &head);
}

int dmh_raw_resume(int control, const struct dmh_raw_name *name, uint32_t flags, uint32_t event_flags)
{
    struct dm_ioctl head;

    dmh_raw_fill(&head, name, flags & ~(uint32_t)DM_SUSPEND_FLAG, sizeof(head));
    head.event_nr = event_flags;
    return dmh_raw_call(control, DM_DEV_SUSPEND, &head);
}

int dmh_raw_clear(int control, const struct dmh_raw_name *name)
{
    struct dm_ioctl head;

    dmh_raw_fill(&head, name, 0, sizeof(head));
    return dmh_raw_call(control, DM_TABLE_CLEAR, &head);
}

int dmh_raw_state(int control, const struct dmh_raw_name *name, struct dmh_raw_state *ret_state)
{
    struct dmh_raw_state state = {0};
    struct dm_ioctl head;

    dmh_raw_fill(&head, name, 0, sizeof(head));
    int error = dmh_raw_call(control, DM_DEV_STATUS, &head);
    if (error && error != -ENXIO) {
        return error;
    }
    state.gone = error == -ENXIO;
    state.suspended = !error && (head.flags & DM_SUSPEND_FLAG);
    state.live_table = !error && (head.flags & DM_ACTIVE_PRESENT_FLAG);
    state.inactive_table = !error && (head.flags & DM_INACTIVE_PRESENT_FLAG);
    *ret_state = state;
    return 0;
}

int dmh_raw_message(int control, const struct dmh_raw_name *name, const char *text, void *buffer, size_t buffer_size)
{
    struct dm_ioctl *head = buffer;
    struct dm_target_msg *message = (struct dm_target_msg *)(head + 1);
    size_t len = strlen(text) + 1;

    if (sizeof(*head) + sizeof(*message) + len > buffer_size) {
        return -ENOSPC;
    }
    dmh_raw_fill(head, name, 0, buffer_size);
    message->sector = 0;
    memcpy(message->message, text, len);
    return dmh_raw_call(control, DM_TARGET_MSG, head);
}

int dmh_raw_lines(int control, const struct dmh_raw_name *name, bool table, bool inactive, void *buffer,
                  size_t buffer_size)
{
    struct dm_ioctl *head = buffer;
    uint32_t flags = DM_NOFLUSH_FLAG;

    flags |= table ? DM_STATUS_TABLE_FLAG : 0;
    flags |= inactive ? DM_QUERY_INACTIVE_TABLE_FLAG : 0;
    dmh_raw_fill(head, name, flags, buffer_size);
    int error = dmh_raw_call(control, DM_TABLE_STATUS, head);
    if (error) {
        return error;
    }
    if (head->flags & DM_BUFFER_FULL_FLAG || head->target_count > buffer_size / sizeof(struct dm_target_spec)) {
        return -ENOSPC;
    }
    return (int)head->target_count;
}

// Each line's `next` counts from the first one (dm-ioctl.h).
const struct dm_target_spec *dmh_raw_line(const void *buffer, int index, const char **ret_params)
{
    const struct dm_ioctl *head = buffer;
    const char *first = (const char *)buffer + head->data_start;
    const struct dm_target_spec *spec = (const void *)first;

    for (int i = 0; i < index; i++) {
        spec = (const void *)(first + spec->next);
    }
    if (index < 0 || (uint32_t)index >= head->target_count) {
        return NULL;
    }
    *ret_params = (const char *)(spec + 1);
    return spec;
}

static uint64_t dmh_hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const uint8_t *byte = bytes;

    // FNV-1a, 64 bits (Fowler, Noll, Vo): compared with itself only, never stored.
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t dmh_raw_table_hash(const void *buffer, int count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (int i = 0; i < count; i++) {
        const char *params = "";
        const struct dm_target_spec *spec = dmh_raw_line(buffer, i, &params);
        hash = dmh_hash_bytes(hash, &spec->sector_start, sizeof(spec->sector_start));
        hash = dmh_hash_bytes(hash, &spec->length, sizeof(spec->length));
        // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): the index is below the count
        hash = dmh_hash_bytes(hash, spec->target_type, strnlen(spec->target_type, sizeof(spec->target_type)));
        if (dmh_target_kind_of(spec->target_type) != DMH_TARGET_OTHER) {
            hash = dmh_hash_bytes(hash, params, strlen(params) + 1);
        }
    }
    return hash ? hash : 1;
}
