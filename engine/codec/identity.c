// SPDX-License-Identifier: Apache-2.0
//
// One identity slot. Little-endian throughout:
//
//     at    bytes
//      0      8   magic "blkrepID"
//      8      4   version, 1
//     12      4   payload length
//     16      8   sequence
//     24      n   payload: the fields in the order of put_payload() and take_payload(), without padding; the label last
//     24+n    .   zeros
//   4080     16   XXH3-128 of bytes 0..4079, canonical (big-endian) form
//
// Magic, sequence and sum stay where they are in every version, so that a damaged slot is told from a newer program's.
#include "engine/codec/identity.h"

#include <assert.h>
#include <inttypes.h>
#include <xxhash.h>

#define ID_MAGIC       "blkrepID"
#define ID_VERSION     1u
#define ID_AT_PAYLOAD  24u
#define ID_AT_SUM      (BR_IDENTITY_SLOT_BYTES - 16u)
#define ID_FIXED_BYTES (4u + 4u + 32u + 2u * 40u + 32u + 2u * 48u + 16u + 16u + 24u + 40u + 48u)

static_assert(ID_AT_PAYLOAD + ID_FIXED_BYTES + 2u + BR_LABEL_BYTES <= ID_AT_SUM, "every identity fits its slot");

static void put(uint8_t **at, const void *bytes, size_t len)
{
    memcpy(*at, bytes, len);
    *at += len;
}

static void put_u64(uint8_t **at, uint64_t v)
{
    br_put_u64(*at, v);
    *at += 8;
}

static void put_generation(uint8_t **at, const struct br_generation *generation)
{
    put_u64(at, generation->counter);
    put(at, generation->id.bytes, BR_UUID_BYTES);
    put(at, generation->parent_id.bytes, BR_UUID_BYTES);
}

static void put_tree(uint8_t **at, const struct br_tree *tree)
{
    put_u64(at, tree->geometry.size_bytes);
    put(at, tree->top.hash.bytes, BR_HASH_BYTES);
    put_u64(at, tree->top.ref);
}

static void put_payload(uint8_t **at, const struct br_identity *id)
{
    size_t label_len = strnlen(id->label, sizeof(id->label) - 1);
    uint8_t small[8] = {(uint8_t)id->state, id->consistency, BR_HASH_SHA256, id->evidence.valid};

    br_put_u32(small + 4, id->sector_bytes);
    put(at, small, sizeof(small));
    put(at, id->volume.bytes, BR_UUID_BYTES);
    put(at, id->replica.bytes, BR_UUID_BYTES);
    put_generation(at, &id->generation);
    put_generation(at, &id->previous);
    put(at, id->root.bytes, BR_HASH_BYTES);
    put_tree(at, &id->tree);
    put_tree(at, &id->previous_tree);
    put_u64(at, id->tree_file);
    put_u64(at, id->tree_bytes);
    put_u64(at, id->window_start_bytes);
    put_u64(at, id->window_end_bytes);
    put_u64(at, id->stage_bytes);
    put(at, id->stage_id.bytes, BR_UUID_BYTES);
    put_u64(at, id->evidence.size_bytes);
    put_u64(at, id->evidence.device);
    put_u64(at, id->evidence.inode);
    put_u64(at, id->evidence.mtime_ns);
    put_u64(at, id->evidence.ctime_ns);
    put_u64(at, id->taken_unix_ns);
    put_u64(at, id->finished_unix_ns);
    put_u64(at, id->full_proof_unix_ns);
    put_u64(at, id->recheck_next_block);
    put_u64(at, id->recheck_round_unix_ns);
    put_u64(at, id->unreadable_blocks);
    br_put_u16(*at, (uint16_t)label_len);
    *at += 2;
    put(at, id->label, label_len);
}

static void slot_sum(const uint8_t slot[BR_IDENTITY_SLOT_BYTES], uint8_t sum[16])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(slot, ID_AT_SUM));
    memcpy(sum, canonical.digest, 16);
}

void br_identity_encode(const struct br_identity *identity, uint8_t slot[BR_IDENTITY_SLOT_BYTES])
{
    uint8_t *at = slot + ID_AT_PAYLOAD;

    memset(slot, 0, BR_IDENTITY_SLOT_BYTES);
    put_payload(&at, identity);
    memcpy(slot, ID_MAGIC, 8);
    br_put_u32(slot + 8, ID_VERSION);
    br_put_u32(slot + 12, (uint32_t)(at - slot - ID_AT_PAYLOAD));
    br_put_u64(slot + 16, identity->sequence);
    slot_sum(slot, slot + ID_AT_SUM);
}

static void take_generation(struct br_reader *r, struct br_generation *generation)
{
    generation->counter = br_reader_u64(r);
    br_reader_copy(r, generation->id.bytes, BR_UUID_BYTES);
    br_reader_copy(r, generation->parent_id.bytes, BR_UUID_BYTES);
}

static bool take_tree(struct br_reader *r, struct br_tree *tree)
{
    uint64_t size_bytes = br_reader_u64(r);

    br_reader_copy(r, tree->top.hash.bytes, BR_HASH_BYTES);
    tree->top.ref = br_reader_u64(r);
    return br_tree_geometry_of(size_bytes, &tree->geometry);
}

// Gives the name of the first field that is out of its range, or NULL.
static const char *bad_field(const struct br_identity *id)
{
    bool held = id->state != BR_STATE_NONE;

    if (id->state > BR_STATE_REPLACING) {
        return "state";
    }
    if (id->consistency > BR_CONSISTENCY_CLEAN) {
        return "consistency";
    }
    if (held && (br_uuid_is_nil(&id->volume) || br_uuid_is_nil(&id->replica) || br_uuid_is_nil(&id->generation.id))) {
        return "ids";
    }
    if (held &&
        (id->sector_bytes < 512 || id->sector_bytes > BR_BLOCK_BYTES || (id->sector_bytes & (id->sector_bytes - 1)))) {
        return "sector size";
    }
    if (id->window_start_bytes > id->window_end_bytes || id->window_end_bytes > BR_VOLUME_BYTES_MAX) {
        return "window";
    }
    if (id->tree_bytes > INT64_MAX || id->stage_bytes > INT64_MAX) {
        return "file length";
    }
    if (id->recheck_next_block > BR_VOLUME_BYTES_MAX / BR_BLOCK_BYTES) {
        return "recheck position";
    }
    return NULL;
}

static const char *take_payload(struct br_reader *r, struct br_identity *id, uint8_t *ret_hash_id)
{
    id->state = (enum br_replica_state)br_reader_u8(r);
    id->consistency = br_reader_u8(r);
    *ret_hash_id = br_reader_u8(r);
    uint8_t evidence = br_reader_u8(r);
    id->evidence.valid = evidence == 1;
    id->sector_bytes = br_reader_u32(r);
    br_reader_copy(r, id->volume.bytes, BR_UUID_BYTES);
    br_reader_copy(r, id->replica.bytes, BR_UUID_BYTES);
    take_generation(r, &id->generation);
    take_generation(r, &id->previous);
    br_reader_copy(r, id->root.bytes, BR_HASH_BYTES);
    bool trees = take_tree(r, &id->tree);
    trees = take_tree(r, &id->previous_tree) && trees;
    id->tree_file = br_reader_u64(r);
    id->tree_bytes = br_reader_u64(r);
    id->window_start_bytes = br_reader_u64(r);
    id->window_end_bytes = br_reader_u64(r);
    id->stage_bytes = br_reader_u64(r);
    br_reader_copy(r, id->stage_id.bytes, BR_UUID_BYTES);
    id->evidence.size_bytes = br_reader_u64(r);
    id->evidence.device = br_reader_u64(r);
    id->evidence.inode = br_reader_u64(r);
    id->evidence.mtime_ns = br_reader_u64(r);
    id->evidence.ctime_ns = br_reader_u64(r);
    id->taken_unix_ns = br_reader_u64(r);
    id->finished_unix_ns = br_reader_u64(r);
    id->full_proof_unix_ns = br_reader_u64(r);
    id->recheck_next_block = br_reader_u64(r);
    id->recheck_round_unix_ns = br_reader_u64(r);
    id->unreadable_blocks = br_reader_u64(r);
    br_reader_string(r, id->label, sizeof(id->label));
    if (!br_reader_done(r)) {
        return "length";
    }
    if (evidence > 1) {
        return "evidence";
    }
    return trees ? bad_field(id) : "size";
}

int br_identity_decode(const uint8_t slot[BR_IDENTITY_SLOT_BYTES], struct br_identity *ret_identity,
                       struct br_err *reterr)
{
    struct br_identity id = {0};
    uint8_t sum[16], hash_id = 0;

    if (br_is_zero(slot, BR_IDENTITY_SLOT_BYTES)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "identity slot: never written");
    }
    slot_sum(slot, sum);
    if (memcmp(slot, ID_MAGIC, 8) || memcmp(sum, slot + ID_AT_SUM, sizeof(sum))) {
        return br_err_set(reterr, BR_E_CORRUPT, "identity slot: damaged");
    }
    if (br_get_u32(slot + 8) != ID_VERSION) {
        return br_err_set(reterr, BR_E_VERSION, "identity slot of version %" PRIu32 "; this program knows version %u",
                          br_get_u32(slot + 8), ID_VERSION);
    }
    uint32_t len = br_get_u32(slot + 12);
    if (len > ID_AT_SUM - ID_AT_PAYLOAD || !br_is_zero(slot + ID_AT_PAYLOAD + len, ID_AT_SUM - ID_AT_PAYLOAD - len)) {
        return br_err_set(reterr, BR_E_CORRUPT, "identity slot: bad length");
    }
    struct br_reader r = br_reader_init(slot + ID_AT_PAYLOAD, len);
    id.sequence = br_get_u64(slot + 16);
    const char *bad = take_payload(&r, &id, &hash_id);
    if (bad) {
        return br_err_set(reterr, BR_E_CORRUPT, "identity slot: bad %s", bad);
    }
    if (hash_id != BR_HASH_SHA256) {
        return br_err_set(reterr, BR_E_VERSION, "identity slot: hash %u; this program knows 1 (SHA-256)", hash_id);
    }
    *ret_identity = id;
    return 0;
}

const char *br_replica_state_name(enum br_replica_state state)
{
    static const char *const names[] = {
        [BR_STATE_NONE] = "none",         [BR_STATE_INCOMPLETE] = "incomplete", [BR_STATE_COMPLETE] = "complete",
        [BR_STATE_APPLYING] = "applying", [BR_STATE_REPLACING] = "replacing",
    };

    return state < BR_ARRAY_LEN(names) ? names[state] : "unknown";
}

const char *br_consistency_name(uint8_t consistency)
{
    static const char *const names[] = {
        [BR_CONSISTENCY_NONE] = "none",
        [BR_CONSISTENCY_CRASH] = "crash",
        [BR_CONSISTENCY_CLEAN] = "clean",
    };

    return consistency < BR_ARRAY_LEN(names) ? names[consistency] : "unknown";
}
