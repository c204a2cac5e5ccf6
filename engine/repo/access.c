// SPDX-License-Identifier: Apache-2.0
//
// Slots hold blocks. Callbacks of the ring only mark what became of them; all decisions are taken in steps, so that whoever waits for a tree node
// inside of a step may let other reads' frames arrive.
//
//     free -> queued (no frame yet, or one of two) -> waiting (for its frames) -> assembling -> ready (kept, the oldest goes first)
//
// Frames are taken in the order of the queue, by its head alone: the head may wait only for slots that have all of theirs, and those get done.
#include "engine/repo/access.h"

#include <assert.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/repo/block.h"

#define ACCESS_SLOTS       256u // 16 MiB
#define ACCESS_FRAMES      24u
#define ACCESS_NODE_FRAMES 8u
#define ACCESS_READERS     4u  // of leaves: as many ranges of 256 blocks are at hand at once
#define ACCESS_STREAMS     8u  // ends of reads that are remembered
#define ACCESS_AHEAD       32u // blocks that are got before they are asked for
#define ACCESS_LEAVES      256u
#define ACCESS_LOOK        1024u // blocks that one question for an extent looks at

static_assert(ACCESS_FRAMES + ACCESS_NODE_FRAMES <= BR_STORE_GETS_MAX, "the store takes as many reads at once");
static_assert(BR_ACCESS_WINDOW + ACCESS_AHEAD < ACCESS_SLOTS, "a read has room for its blocks");

enum slot_state { SLOT_FREE, SLOT_QUEUED, SLOT_WAITING, SLOT_ASSEMBLING, SLOT_READY };

struct br_access_slot {
    struct br_access *access;
    enum slot_state state;
    uint64_t number; // of the block
    uint32_t len_bytes;
    unsigned holders;
    uint64_t used; // when: a counter
    struct br_block_read block;
    struct br_job job;
    struct br_access_slot *next; // in the queue
    uint8_t *data;               // BR_BLOCK_BYTES; NULL until first needed
};

struct leaves {
    struct br_tree_reader *reader;
    uint64_t group; // the range of 256 blocks that it was at last
    uint64_t used;
};

struct br_access {
    struct br_repo *repo;
    struct br_ring *ring;
    struct br_point point;
    struct br_frames *nodes;
    struct br_frames *frames;
    struct br_repo_version version;
    struct leaves leaves[ACCESS_READERS];
    struct br_access_slot *slots;
    struct br_access_slot *queue, **queue_end;
    uint64_t streams[ACCESS_STREAMS];
    unsigned next_stream;
    uint64_t used;
    unsigned under_way; // slots that wait or are put together
};

// Leaves ------------------------------------------------------------------------------------------------------------------------------

// The reader that is at @block, or was used least lately: each one fetches and proves the nodes of a range once.
static struct br_tree_reader *reader_at(struct br_access *access, uint64_t block)
{
    uint64_t group = block / ACCESS_LEAVES;
    struct leaves *found = &access->leaves[0];

    for (unsigned i = 0; i < ACCESS_READERS; i++) {
        struct leaves *leaves = &access->leaves[i];

        if (leaves->used && leaves->group == group) {
            found = leaves;
            break;
        }
        if (leaves->used < found->used) {
            found = leaves;
        }
    }
    found->group = group;
    found->used = ++access->used;
    return found->reader;
}

// Slots -------------------------------------------------------------------------------------------------------------------------------

static void assemble(struct br_job *job)
{
    struct br_access_slot *slot = job->ctx;

    br_block_assemble(&slot->block, slot->data, slot->len_bytes);
}

static void slot_drop_if_bad(struct br_access_slot *slot)
{
    // What failed is not kept: who asks again may have more luck.
    if (slot->state == SLOT_READY && !slot->holders && slot->block.result < 0) {
        slot->state = SLOT_FREE;
    }
}

static void assembled(struct br_job *job)
{
    struct br_access_slot *slot = job->ctx;

    br_block_release(&slot->block, slot->access->frames);
    slot->access->under_way--;
    slot->state = SLOT_READY;
    slot_drop_if_bad(slot);
}

// Moves every slot on as far as it goes.
static void advance(struct br_access *access)
{
    struct br_access_slot *slot;

    while ((slot = access->queue)) {
        int rc = br_block_acquire(&slot->block, access->repo, access->frames, access->version.domain);

        if (!rc) {
            break;
        }
        access->queue = slot->next;
        access->queue_end = access->queue ? access->queue_end : &access->queue;
        slot->state = rc < 0 ? SLOT_READY : SLOT_WAITING;
        access->under_way += rc > 0;
        slot_drop_if_bad(slot);
    }
    for (unsigned i = 0; access->under_way && i < ACCESS_SLOTS; i++) {
        slot = &access->slots[i];
        if (slot->state == SLOT_WAITING && br_block_frames_ready(&slot->block)) {
            slot->state = SLOT_ASSEMBLING;
            slot->job = (struct br_job){.run = assemble, .done = assembled, .ctx = slot};
            br_ring_job(access->ring, &slot->job);
        }
    }
    br_ring_flush(access->ring);
}

static void slot_put(struct br_access_slot *slot)
{
    if (slot) {
        assert(slot->holders);
        slot->holders--;
        slot_drop_if_bad(slot);
    }
}

// The slot of a block, @room when none has it: one that can be had, NULL none.
static struct br_access_slot *slot_find(struct br_access *access, uint64_t number, struct br_access_slot **room)
{
    *room = NULL;
    for (unsigned i = 0; i < ACCESS_SLOTS; i++) {
        struct br_access_slot *slot = &access->slots[i];
        bool can_go = slot->state == SLOT_FREE || (slot->state == SLOT_READY && !slot->holders);

        if (slot->state != SLOT_FREE && slot->number == number) {
            return slot;
        }
        if (can_go && (!*room || slot->used < (*room)->used)) {
            *room = slot;
        }
    }
    return NULL;
}

// A slot for a block of data. Returns 1 and it, 0 there is no room now.
static int slot_want(struct br_access *access, uint64_t number, const struct br_hash *leaf,
                     struct br_access_slot **ret_slot, struct br_err *reterr)
{
    struct br_access_slot *room, *slot = slot_find(access, number, &room);

    if (!slot && !room) {
        return 0;
    }
    if (!slot) {
        slot = room;
        slot->data = slot->data ? slot->data : malloc(BR_BLOCK_BYTES);
        if (!slot->data) {
            return br_err_set(reterr, BR_E_NOMEM, "a block");
        }
        slot->state = SLOT_QUEUED;
        slot->number = number;
        slot->len_bytes = br_block_bytes(&access->version.tree.geometry, number);
        slot->block = (struct br_block_read){.leaf = *leaf};
        slot->next = NULL;
        *access->queue_end = slot;
        access->queue_end = &slot->next;
    }
    slot->used = ++access->used;
    *ret_slot = slot;
    return 1;
}

// Reads -------------------------------------------------------------------------------------------------------------------------------

static bool continues(struct br_access *access, uint64_t offset_bytes, uint64_t end_bytes)
{
    for (unsigned i = 0; i < ACCESS_STREAMS; i++) {
        if (offset_bytes && access->streams[i] == offset_bytes) {
            access->streams[i] = end_bytes;
            return true;
        }
    }
    access->streams[access->next_stream++ % ACCESS_STREAMS] = end_bytes;
    return false;
}

int br_access_begin(struct br_access *access, struct br_access_read *read, void *to, size_t len, uint64_t offset_bytes,
                    struct br_err *reterr)
{
    if (!br_range_ok(offset_bytes, len, access->point.size_bytes)) {
        return br_err_at(reterr, BR_E_USAGE, offset_bytes, "%zu bytes that are not within the point", len);
    }
    *read = (struct br_access_read){
        .to = to,
        .at_bytes = offset_bytes,
        .end_bytes = offset_bytes + len,
        .next_block = offset_bytes / BR_BLOCK_BYTES,
        .ahead = continues(access, offset_bytes, offset_bytes + len),
    };
    return 0;
}

// Asks for the next block of @read. Returns 1, 0 no room now.
static int ask(struct br_access *access, struct br_access_read *read, struct br_err *reterr)
{
    struct br_access_slot *slot = NULL;
    uint64_t number = read->next_block;
    struct br_hash leaf;
    struct br_err why = {0};
    int rc = br_tree_read(reader_at(access, number), number, 1, &leaf, NULL, &why);

    if (rc < 0) {
        return br_err_at(reterr, -rc, number * BR_BLOCK_BYTES, "%s", why.text);
    }
    if (!br_leaf_is_special(&leaf)) {
        rc = slot_want(access, number, &leaf, &slot, reterr);
        if (rc <= 0) {
            return rc;
        }
        slot->holders++;
    } else if (!br_hash_equal(&leaf, &br_hash_zero)) {
        return br_err_at(reterr, BR_E_GAPS, number * BR_BLOCK_BYTES,
                         "block %llu of the point: the source could not read it", (unsigned long long)number);
    }
    read->window[read->held++] = slot;
    read->next_block++;
    return 1;
}

// More is likely to be asked for: have it under way, where there is room.
static void look_ahead(struct br_access *access, struct br_access_read *read)
{
    uint64_t end = BR_MIN(read->next_block + ACCESS_AHEAD, access->version.tree.geometry.block_count);

    read->ahead = false;
    for (uint64_t number = read->next_block; number < end; number++) {
        struct br_access_slot *slot;
        struct br_hash leaf;

        if (br_tree_read(reader_at(access, number), number, 1, &leaf, NULL, NULL) < 0) {
            return;
        }
        if (!br_leaf_is_special(&leaf) && slot_want(access, number, &leaf, &slot, NULL) <= 0) {
            return;
        }
    }
}

// Hands the first block of the window over. Returns 1, 0 it is not there yet.
static int hand_over(struct br_access *access, struct br_access_read *read, struct br_err *reterr)
{
    struct br_access_slot *slot = read->window[0];
    uint64_t number = read->at_bytes / BR_BLOCK_BYTES;
    size_t from = (size_t)(read->at_bytes % BR_BLOCK_BYTES);
    size_t len = (size_t)BR_MIN(BR_BLOCK_BYTES - from, read->end_bytes - read->at_bytes);

    if (slot && slot->state != SLOT_READY) {
        return 0;
    }
    if (slot && slot->block.result < 0 &&
        !br_block_mend(&slot->block, access->repo, access->version.frames, access->version.domain, slot->data,
                       slot->len_bytes)) {
        return br_err_at(reterr, -slot->block.result, number * BR_BLOCK_BYTES, "block %llu of the point: %s",
                         (unsigned long long)number, slot->block.err.text);
    }
    if (slot) {
        memcpy(read->to, slot->data + from, len);
    } else {
        memset(read->to, 0, len);
    }
    slot_put(slot);
    read->to += len;
    read->at_bytes += len;
    read->held--;
    memmove(read->window, read->window + 1, read->held * sizeof(read->window[0]));
    return 1;
}

int br_access_step(struct br_access *access, struct br_access_read *read, struct br_err *reterr)
{
    uint64_t end_block = br_div_up(read->end_bytes, BR_BLOCK_BYTES);

    while (read->at_bytes < read->end_bytes) {
        int asked = 0, handed = 0, rc = 1;

        while (rc > 0 && read->held < BR_ACCESS_WINDOW && read->next_block < end_block) {
            rc = ask(access, read, reterr);
            asked += rc > 0;
        }
        if (read->ahead && read->next_block == end_block) {
            look_ahead(access, read);
        }
        advance(access);
        while (rc >= 0 && read->held && (rc = hand_over(access, read, reterr)) > 0) {
            handed++;
        }
        if (rc < 0) {
            return rc;
        }
        if (!asked && !handed) {
            return 0;
        }
    }
    return 1;
}

void br_access_end(struct br_access *access, struct br_access_read *read)
{
    (void)access;
    while (read->held) {
        slot_put(read->window[--read->held]);
    }
}

int br_access_read(struct br_access *access, void *to, size_t len, uint64_t offset_bytes, struct br_err *reterr)
{
    struct br_access_read read;
    int rc = br_access_begin(access, &read, to, len, offset_bytes, reterr);

    if (rc < 0) {
        return rc;
    }
    while (!(rc = br_access_step(access, &read, reterr))) {
        br_ring_wait(access->ring, UINT64_MAX);
    }
    br_access_end(access, &read);
    return rc < 0 ? rc : 0;
}

// Extents -----------------------------------------------------------------------------------------------------------------------------

// Where data ends that begins at @block, as far as it is looked for.
static int data_end(struct br_access *access, uint64_t block, uint64_t *ret_end, struct br_err *reterr)
{
    struct br_hash leaves[ACCESS_LEAVES];
    uint64_t last = BR_MIN(block + ACCESS_LOOK, access->version.tree.geometry.block_count);

    while (block < last) {
        unsigned count = (unsigned)BR_MIN(last - block, ACCESS_LEAVES - block % ACCESS_LEAVES);
        int rc = br_tree_read(reader_at(access, block), block, count, leaves, NULL, reterr);

        if (rc < 0) {
            return rc;
        }
        for (unsigned i = 0; i < count; i++) {
            if (br_hash_equal(&leaves[i], &br_hash_zero)) {
                *ret_end = block + i;
                return 0;
            }
        }
        block += count;
    }
    *ret_end = last;
    return 0;
}

int br_access_extent(struct br_access *access, uint64_t offset_bytes, bool *ret_zero, uint64_t *ret_end_bytes,
                     struct br_err *reterr)
{
    uint64_t size_bytes = access->point.size_bytes, block = offset_bytes / BR_BLOCK_BYTES, end;

    if (offset_bytes >= size_bytes) {
        return br_err_at(reterr, BR_E_USAGE, offset_bytes, "an offset that is not within the point");
    }
    int rc = br_tree_next_not(reader_at(access, block), block, &br_hash_zero, &end, reterr);
    bool zero = !rc && end > block;
    if (!rc && !zero) {
        rc = data_end(access, block, &end, reterr);
    }
    if (!rc) {
        *ret_zero = zero;
        *ret_end_bytes = BR_MIN(end * BR_BLOCK_BYTES, size_bytes);
    }
    return rc;
}

// Life --------------------------------------------------------------------------------------------------------------------------------

static int open_parts(struct br_access *access, struct br_err *reterr)
{
    int rc = br_frames_open(access->repo, ACCESS_NODE_FRAMES, &access->nodes, reterr);

    rc = rc < 0 ? rc : br_frames_open(access->repo, ACCESS_FRAMES, &access->frames, reterr);
    rc = rc < 0 ? rc : br_repo_version_open(access->repo, access->nodes, &access->point, &access->version, reterr);
    for (unsigned i = 0; rc >= 0 && i < ACCESS_READERS; i++) {
        rc = br_tree_reader_open(&access->version.tree, &access->version.store, &access->leaves[i].reader, reterr);
    }
    return rc;
}

int br_access_open(struct br_repo *repo, const struct br_point *point, struct br_access **ret_access,
                   struct br_err *reterr)
{
    struct br_access *access = calloc(1, sizeof(*access));

    if (!access || !(access->slots = calloc(ACCESS_SLOTS, sizeof(*access->slots)))) {
        free(access);
        return br_err_set(reterr, BR_E_NOMEM, "the blocks of a point");
    }
    access->repo = repo;
    access->ring = br_repo_ring_of(repo);
    access->point = *point;
    access->queue_end = &access->queue;
    for (unsigned i = 0; i < ACCESS_SLOTS; i++) {
        access->slots[i].access = access;
    }
    int rc = open_parts(access, reterr);
    if (rc < 0) {
        br_access_close(access);
        return rc;
    }
    *ret_access = access;
    return 0;
}

void br_access_close(struct br_access *access)
{
    if (!access) {
        return;
    }
    // What was only got ahead may still be at work.
    access->queue_end = &access->queue;
    if (access->queue) {
        br_block_release(&access->queue->block, access->frames);
        access->queue = NULL;
    }
    while (access->under_way) {
        advance(access);
        br_ring_wait(access->ring, UINT64_MAX);
    }
    for (unsigned i = 0; i < ACCESS_SLOTS; i++) {
        assert(!access->slots[i].holders);
        free(access->slots[i].data);
    }
    for (unsigned i = 0; i < ACCESS_READERS; i++) {
        br_tree_reader_close(access->leaves[i].reader);
    }
    br_repo_version_close(&access->version);
    br_frames_close(access->frames);
    br_frames_close(access->nodes);
    free(access->slots);
    free(access);
}

const struct br_point *br_access_point(const struct br_access *access)
{
    return &access->point;
}
