// SPDX-License-Identifier: Apache-2.0
#include "engine/replica/identity_slots.h"

#include <assert.h>
#include <stdio.h>

// What one slot turned out to be.
struct br_slot_look {
    bool valid;
    bool newer_program;
    struct br_identity identity;
};

static int br_slot_read(struct br_identity_slots *slots, unsigned index, struct br_slot_look *look,
                        struct br_err *reterr)
{
    uint8_t bytes[BR_IDENTITY_SLOT_BYTES];
    struct br_err err;
    *look = (struct br_slot_look){0};
    int r = br_file_read(slots->file, bytes, sizeof(bytes), (uint64_t)index * BR_IDENTITY_SLOT_BYTES, &err);
    if (r == -BR_E_TRUNCATED) {
        return 0; // a file that was cut: this slot is lost
    }
    if (r < 0) {
        if (reterr) {
            *reterr = err;
        }
        return br_err_prefix(reterr, "identity record %s", slots->name);
    }
    r = br_identity_decode(bytes, &look->identity, &err);
    look->valid = r == 0;
    look->newer_program = r == -BR_E_VERSION;
    return 0;
}

static void br_identity_slots_init(struct br_dir *dir, const char *name, struct br_identity_slots *slots)
{
    *slots = (struct br_identity_slots){.dir = dir};
    int n = snprintf(slots->name, sizeof(slots->name), "%s", name);
    assert(n > 0 && (size_t)n + sizeof(".new") <= sizeof(slots->name));
}

// Takes the newest valid record of both slots.
static int br_identity_slots_choose(struct br_identity_slots *slots, struct br_identity *ret_identity,
                                    struct br_err *reterr)
{
    BR_AUTO_FREE struct br_slot_look *look = calloc(2, sizeof(*look));
    if (!look) {
        return br_err_set(reterr, BR_E_NOMEM, "identity record %s", slots->name);
    }
    for (unsigned i = 0; i < 2; i++) {
        int r = br_slot_read(slots, i, &look[i], reterr);
        if (r < 0) {
            return r;
        }
    }
    if (look[0].newer_program || look[1].newer_program) {
        return br_err_set(reterr, BR_E_VERSION, "identity record %s was written by a newer blkrep", slots->name);
    }
    if (!look[0].valid && !look[1].valid) {
        return br_err_set(reterr, BR_E_CORRUPT, "identity record %s: both slots are damaged", slots->name);
    }
    unsigned newest = !look[0].valid || (look[1].valid && look[1].identity.sequence > look[0].identity.sequence);
    slots->next = 1 - newest;
    slots->sequence = look[newest].identity.sequence;
    *ret_identity = look[newest].identity;
    return 0;
}

// The newest record may lie in the cache only: its run was killed before the sync, or the sync failed and the kernel took the page for
// clean. What is done in its name must not outlive it, so it is written again, where it lies, and synced.
static int br_identity_slots_settle(struct br_identity_slots *slots, const struct br_identity *identity,
                                    struct br_err *reterr)
{
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    br_identity_encode(identity, slot);
    int r =
        br_file_write(slots->file, slot, sizeof(slot), (uint64_t)(1 - slots->next) * BR_IDENTITY_SLOT_BYTES, reterr);
    r = r < 0 ? r : br_file_sync(slots->file, reterr);
    r = r < 0 ? r : br_dir_sync(slots->dir, reterr);
    return r < 0 ? br_err_prefix(reterr, "identity record %s", slots->name) : 0;
}

int br_identity_slots_load(struct br_dir *dir, const char *name, bool writable, struct br_identity_slots *slots,
                           struct br_identity *ret_identity, struct br_err *reterr)
{
    struct br_err err;
    br_identity_slots_init(dir, name, slots);
    int r = br_dir_open(dir, name, writable ? BR_OPEN_WRITE : BR_OPEN_READ, &slots->file, &err);
    if (r == -BR_E_NOT_FOUND) {
        slots->file = NULL;
        *ret_identity = (struct br_identity){.state = BR_STATE_NONE};
        return 0;
    }
    if (r < 0) {
        slots->file = NULL;
        if (reterr) {
            *reterr = err;
        }
        return r;
    }
    r = br_identity_slots_choose(slots, ret_identity, reterr);
    r = r < 0 || !writable ? r : br_identity_slots_settle(slots, ret_identity, reterr);
    if (r < 0) {
        br_identity_slots_close(slots);
    }
    return r;
}

void br_identity_slots_open_damaged(struct br_dir *dir, const char *name, struct br_identity_slots *slots)
{
    br_identity_slots_init(dir, name, slots);
}

// The first record: a whole file beside, renamed when it is durable.
static int br_identity_slots_create(struct br_identity_slots *slots, const uint8_t slot[BR_IDENTITY_SLOT_BYTES],
                                    struct br_err *reterr)
{
    char fresh[BR_IDENTITY_NAME_MAX];
    uint8_t both[2 * BR_IDENTITY_SLOT_BYTES] = {0};
    struct br_file *file;
    snprintf(fresh, sizeof(fresh), "%.120s.new", slots->name);
    memcpy(both, slot, BR_IDENTITY_SLOT_BYTES);
    int r = br_dir_open(slots->dir, fresh, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, reterr);
    if (r < 0) {
        return r;
    }
    r = br_file_write(file, both, sizeof(both), 0, reterr);
    r = r < 0 ? r : br_file_sync(file, reterr);
    br_file_close(file);
    r = r < 0 ? r : br_dir_rename(slots->dir, fresh, slots->name, reterr);
    r = r < 0 ? r : br_dir_sync(slots->dir, reterr);
    r = r < 0 ? r : br_dir_open(slots->dir, slots->name, BR_OPEN_WRITE, &slots->file, reterr);
    if (r < 0) {
        slots->file = NULL;
        return r;
    }
    slots->next = 1;
    return 0;
}

int br_identity_slots_store(struct br_identity_slots *slots, struct br_identity *identity, struct br_err *reterr)
{
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    int r;
    identity->sequence = ++slots->sequence;
    br_identity_encode(identity, slot);
    if (!slots->file) {
        r = br_identity_slots_create(slots, slot, reterr);
    } else {
        r = br_file_write(slots->file, slot, sizeof(slot), (uint64_t)slots->next * BR_IDENTITY_SLOT_BYTES, reterr);
        r = r < 0 ? r : br_file_sync(slots->file, reterr);
        if (r == 0) {
            slots->next = 1 - slots->next;
        }
    }
    return r < 0 ? br_err_prefix(reterr, "identity record %s", slots->name) : 0;
}

void br_identity_slots_close(struct br_identity_slots *slots)
{
    br_file_close(slots->file);
    slots->file = NULL;
}
