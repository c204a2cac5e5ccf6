// SPDX-License-Identifier: Apache-2.0
//
// Evidence of foreign writes (G4). A file tells by its size and times. What a file system does at every mount tells on devices too: it
// writes to its superblock and to the head of its log. Those blocks, and some drawn at random, are compared with the tree.
//
// Layouts read here (only to find blocks, so a wrong guess costs a read and nothing else):
//     ext4   Documentation/filesystems/ext4: superblock at 1024; s_jnl_blocks copies the journal inode's i_block
//     XFS    xfs_format.h, struct xfs_dsb: sb_logstart, sb_logblocks
//     GPT    UEFI specification 2.10, 5.3: header in sector 1, entries with first LBA at 32
//     MBR    four entries at 446
#include "engine/replica/replica_impl.h"

#include <assert.h>
#include <inttypes.h>

#define BR_SAMPLES_MAX       160u
#define BR_SAMPLES_RANDOM    16u
#define BR_SAMPLE_PARTITIONS 16u
#define BR_SAMPLE_LOG_BLOCKS 8u
#define BR_SAMPLE_DEPTH      8u

struct br_samples {
    struct br_replica *replica;
    const struct br_tree *tree;
    uint64_t blocks[BR_SAMPLES_MAX];
    unsigned count;
};

int br_evidence_take(struct br_file *file, struct br_evidence *ret_evidence, struct br_err *reterr)
{
    struct br_file_info info;
    int r = br_file_stat(file, &info, reterr);
    if (r == 0) {
        *ret_evidence = (struct br_evidence){
            .valid = true,
            .size_bytes = info.size_bytes,
            .device = info.device,
            .inode = info.inode,
            .mtime_ns = info.mtime_ns,
            .ctime_ns = info.ctime_ns,
        };
    }
    return r;
}

bool br_evidence_equal(const struct br_evidence *a, const struct br_evidence *b)
{
    return a->valid == b->valid && a->size_bytes == b->size_bytes && a->device == b->device && a->inode == b->inode &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

// Which blocks ------------------------------------------------------------------------------------------------------------------------

static void br_samples_add(struct br_samples *samples, uint64_t offset_bytes)
{
    uint64_t block = offset_bytes / BR_BLOCK_BYTES;
    if (offset_bytes >= samples->tree->geometry.size_bytes || samples->count == BR_SAMPLES_MAX) {
        return;
    }
    for (unsigned i = 0; i < samples->count; i++) {
        if (samples->blocks[i] == block) {
            return;
        }
    }
    samples->blocks[samples->count++] = block;
}

// Bytes of the replica to look for layouts in; false when there are none.
static bool br_samples_peek(struct br_samples *samples, uint64_t offset_bytes, void *bytes, size_t len)
{
    return br_range_ok(offset_bytes, len, samples->tree->geometry.size_bytes) &&
           br_file_read(samples->replica->file, bytes, len, offset_bytes, NULL) == 0;
}

static uint32_t br_be32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof(v));
    return be32toh(v);
}

static uint64_t br_be64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof(v));
    return be64toh(v);
}

// Offset within the file system of the ext4 journal's superblock, 0 when it isn't found.
static uint64_t br_ext4_journal(struct br_samples *samples, uint64_t base, const uint8_t *superblock)
{
    const uint8_t *map = superblock + 0x10c; // s_jnl_blocks: i_block[15], size
    uint32_t shift = br_get_u32(superblock + 0x18);
    uint8_t node[28];
    if (shift > 6) {
        return 0;
    }
    uint64_t block_bytes = UINT64_C(1024) << shift;
    if (br_get_u16(map) != 0xf30a) { // no extents: i_block[0] is the first block
        return br_get_u32(map) * block_bytes;
    }
    memcpy(node, map, sizeof(node));
    for (unsigned depth = br_get_u16(node + 6), i = 0; depth > 0 && i < 5; depth = br_get_u16(node + 6), i++) {
        uint64_t leaf = br_get_u32(node + 16) | (uint64_t)br_get_u16(node + 20) << 32;
        if (leaf > UINT64_C(1) << 48 || !br_samples_peek(samples, base + leaf * block_bytes, node, sizeof(node)) ||
            br_get_u16(node) != 0xf30a) {
            return 0;
        }
    }
    return (br_get_u32(node + 20) | (uint64_t)br_get_u16(node + 18) << 32) * block_bytes;
}

static void br_samples_ext4(struct br_samples *samples, uint64_t base)
{
    uint8_t superblock[1024], magic[4];
    if (!br_samples_peek(samples, base + 1024, superblock, sizeof(superblock)) ||
        br_get_u16(superblock + 0x38) != 0xef53) {
        return;
    }
    uint64_t journal = br_ext4_journal(samples, base, superblock);
    if (journal > 0 && journal < UINT64_C(1) << 60 && br_samples_peek(samples, base + journal, magic, sizeof(magic)) &&
        br_be32(magic) == 0xc03b3998) {
        br_samples_add(samples, base + journal);
    }
}

static void br_samples_xfs(struct br_samples *samples, uint64_t base)
{
    uint8_t superblock[128];
    if (!br_samples_peek(samples, base, superblock, sizeof(superblock)) || memcmp(superblock, "XFSB", 4) != 0) {
        return;
    }
    uint64_t block_bytes = br_be32(superblock + 4), log_start = br_be64(superblock + 48);
    uint64_t ag_blocks = br_be32(superblock + 84), log_blocks = br_be32(superblock + 96);
    unsigned ag_shift = superblock[124];
    if (block_bytes < 512 || block_bytes > BR_BLOCK_BYTES || log_start == 0 || ag_shift == 0 || ag_shift > 31) {
        return;
    }
    uint64_t group = log_start >> ag_shift, within = log_start & ((UINT64_C(1) << ag_shift) - 1);
    uint64_t start, log_bytes = log_blocks * block_bytes;
    if (!br_mul_u64(group, ag_blocks, &start) || start > UINT64_C(1) << 45) {
        return;
    }
    start = base + (start + within) * block_bytes;
    for (unsigned i = 0; i < BR_SAMPLE_LOG_BLOCKS; i++) {
        br_samples_add(samples, start + log_bytes / BR_SAMPLE_LOG_BLOCKS * i);
    }
}

// Where a file system may begin: superblocks of ext4 and XFS lie in its first block, that of btrfs in its second.
static void br_samples_filesystem(struct br_samples *samples, uint64_t base)
{
    br_samples_add(samples, base);
    br_samples_add(samples, base + BR_BLOCK_BYTES);
    br_samples_ext4(samples, base);
    br_samples_xfs(samples, base);
}

static bool br_samples_gpt(struct br_samples *samples, uint32_t sector_bytes)
{
    uint8_t header[92], entry[128];
    if (!br_samples_peek(samples, sector_bytes, header, sizeof(header)) || memcmp(header, "EFI PART", 8) != 0) {
        return false;
    }
    uint64_t entries = br_get_u64(header + 72);
    uint32_t count = br_get_u32(header + 80), entry_bytes = br_get_u32(header + 84);
    if (entries > UINT32_MAX || entry_bytes < sizeof(entry) || entry_bytes > 4096) {
        return true;
    }
    for (uint32_t i = 0; i < BR_MIN(count, BR_SAMPLE_PARTITIONS); i++) {
        if (!br_samples_peek(samples, entries * sector_bytes + (uint64_t)i * entry_bytes, entry, sizeof(entry))) {
            break;
        }
        uint64_t first = br_get_u64(entry + 32);
        if (!br_is_zero(entry, 16) && first < UINT64_C(1) << 50) {
            br_samples_filesystem(samples, first * sector_bytes);
        }
    }
    return true;
}

static void br_samples_partitions(struct br_samples *samples)
{
    uint8_t mbr[512];
    if (br_samples_gpt(samples, 512) || br_samples_gpt(samples, 4096)) {
        return;
    }
    if (!br_samples_peek(samples, 0, mbr, sizeof(mbr)) || br_get_u16(mbr + 510) != 0xaa55) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *entry = mbr + 446 + (size_t)i * 16;
        if (entry[4] != 0) {
            br_samples_filesystem(samples, br_get_u32(entry + 8) * UINT64_C(512));
        }
    }
}

// splitmix64: spreads the seed; nothing here needs more.
static uint64_t br_samples_draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Half of them anywhere, half where the tree knows data: a mostly empty volume would otherwise be sampled in its holes only.
static int br_samples_random(struct br_samples *samples, const struct br_uuid *seed, struct br_err *reterr)
{
    uint64_t block_count = samples->tree->geometry.block_count;
    uint64_t state = br_get_u64(seed->bytes) ^ br_get_u64(seed->bytes + 8);
    struct br_tree_reader *reader = NULL;
    int r = br_tree_reader_open(samples->tree, br_replica_store(samples->replica), &reader, reterr);
    for (unsigned i = 0; i < BR_SAMPLES_RANDOM && r == 0; i++) {
        uint64_t block = br_samples_draw(&state) % block_count;
        if (i % 2) {
            r = br_tree_next_not(reader, block, &br_hash_zero, &block, reterr);
        }
        br_samples_add(samples, block * BR_BLOCK_BYTES);
    }
    if (reader) {
        br_tree_reader_close(reader);
    }
    return r;
}

// Comparing ---------------------------------------------------------------------------------------------------------------------------

struct br_sample_read {
    uint64_t block;
    struct br_hash leaf;
    uint8_t *bytes;
    uint32_t len_bytes;
    struct br_io_queue *queue;
    const char *what;
};

static void br_sample_done(void *ctx, const struct br_io *io)
{
    struct br_sample_read *read = ctx;
    struct br_hash leaf = br_hash_unknown;
    if (io->result < 0) {
        return;
    }
    if (io->done_bytes == read->len_bytes) {
        br_leaf_hash(read->bytes, read->len_bytes, &leaf);
    }
    if (!br_hash_equal(&leaf, &read->leaf)) {
        struct br_err err;
        br_err_at(&err, BR_E_FOREIGN_WRITE, read->block * BR_BLOCK_BYTES, "%s: this block is not the recorded one",
                  read->what);
        br_io_queue_fail(read->queue, &err);
    }
}

static int br_samples_compare(struct br_samples *samples, struct br_tree_reader *reader, struct br_io_queue *queue,
                              uint8_t *bytes, struct br_err *reterr)
{
    struct br_sample_read reads[BR_SAMPLE_DEPTH];
    int r = 0;
    for (unsigned i = 0; i < samples->count && r == 0; i++) {
        struct br_sample_read *read = &reads[i % BR_SAMPLE_DEPTH];
        if (i % BR_SAMPLE_DEPTH == 0) {
            r = br_io_queue_drain(queue, reterr);
        }
        *read = (struct br_sample_read){
            .block = samples->blocks[i],
            .bytes = bytes + (size_t)(i % BR_SAMPLE_DEPTH) * BR_BLOCK_BYTES,
            .len_bytes = br_block_bytes(&samples->tree->geometry, samples->blocks[i]),
            .queue = queue,
            .what = samples->replica->what,
        };
        r = r < 0 ? r : br_tree_read(reader, read->block, 1, &read->leaf, NULL, reterr);
        if (r < 0 || br_hash_equal(&read->leaf, &br_hash_unknown) || br_hash_equal(&read->leaf, &br_hash_unreadable)) {
            continue;
        }
        r = br_io_queue_submit(queue, BR_IO_READ, samples->replica->file, read->bytes, read->len_bytes,
                               read->block * BR_BLOCK_BYTES, br_sample_done, read, reterr);
    }
    int drained = br_io_queue_drain(queue, r < 0 ? NULL : reterr);
    return r < 0 ? r : drained;
}

static int br_samples_check(struct br_samples *samples, struct br_err *reterr)
{
    struct br_tree_reader *reader = NULL;
    struct br_io_queue queue = {0};
    BR_AUTO_FREE uint8_t *bytes = aligned_alloc(BR_PAGE_BYTES, (size_t)BR_SAMPLE_DEPTH * BR_BLOCK_BYTES);
    if (!bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: sampling it", samples->replica->what);
    }
    int r = br_io_queue_open(&queue, samples->replica->ring, BR_SAMPLE_DEPTH, samples->replica->what, reterr);
    r = r < 0 ? r : br_tree_reader_open(samples->tree, br_replica_store(samples->replica), &reader, reterr);
    if (r == 0) {
        r = br_samples_compare(samples, reader, &queue, bytes, reterr);
        br_tree_reader_close(reader);
    }
    if (queue.ring) {
        br_io_queue_close(&queue);
    }
    return r;
}

int br_evidence_samples(struct br_replica *replica, const struct br_tree *tree, const struct br_uuid *seed,
                        struct br_err *reterr)
{
    struct br_samples samples = {.replica = replica, .tree = tree};
    if (tree->geometry.block_count == 0) {
        return 0;
    }
    br_samples_filesystem(&samples, 0);
    br_samples_add(&samples, tree->geometry.size_bytes - 1);
    br_samples_partitions(&samples);
    int r = br_samples_random(&samples, seed, reterr);
    return r < 0 ? r : br_samples_check(&samples, reterr);
}

// The check before a delta ------------------------------------------------------------------------------------------------------------

// The times say that something happened: read all of it. Clean content is recorded as a full proof.
static int br_foreign_prove(struct br_replica *replica, const struct br_evidence *now, struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    struct br_proof proof;
    int r = br_prove(replica, &identity->tree, 0, identity->tree.geometry.block_count, UINT64_MAX, NULL, NULL, &proof,
                     reterr);
    if (r < 0) {
        return r;
    }
    if (proof.bad_blocks > 0) {
        return br_err_at(reterr, BR_E_FOREIGN_WRITE, proof.first_bad_block * BR_BLOCK_BYTES,
                         "%s: its times moved, and %" PRIu64 " of its blocks are not the recorded ones, the first",
                         replica->what, proof.bad_blocks);
    }
    identity->evidence = *now;
    identity->full_proof_unix_ns = br_ring_unix_ns(replica->ring);
    return replica->read_only ? 0 : br_replica_store_identity(replica, reterr);
}

int br_replica_check_foreign(struct br_replica *replica, struct br_err *reterr)
{
    struct br_evidence now = {0}, *then = &replica->identity.evidence;
    struct br_file_info info = {0};
    int r = br_replica_need_complete(replica, reterr);
    r = r < 0 ? r : br_file_stat(replica->file, &info, reterr);
    r = r < 0 ? r : br_evidence_take(replica->file, &now, reterr);
    if (r < 0) {
        return r;
    }
    uint64_t size = replica->identity.tree.geometry.size_bytes;
    if (info.is_block ? now.size_bytes < size : now.size_bytes != size) {
        return br_err_set(reterr, BR_E_FOREIGN_WRITE, "%s: it has %" PRIu64 " bytes, the recorded version %" PRIu64,
                          replica->what, now.size_bytes, size);
    }
    r = br_evidence_samples(replica, &replica->identity.tree, &replica->identity.generation.id, reterr);
    if (r < 0 || info.is_block) {
        return r;
    }
    // The device number alone says nothing: it differs after a reboot for some file systems.
    bool moved = !then->valid || now.mtime_ns != then->mtime_ns || now.inode != then->inode;
    if (moved) {
        return br_foreign_prove(replica, &now, reterr);
    }
    *then = now; // a moved ctime alone: kept with the next record
    return 0;
}
