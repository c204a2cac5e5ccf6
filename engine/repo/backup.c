// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/backup.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "engine/repo/lease.h"
#include "engine/repo/reader.h"
#include "engine/repo/verify.h"
#include "engine/repo/version.h"

#define BACKUP_FRAMES      8u
#define BACKUP_OVERLAY_MAX 8u // pages; with more of them a block is stored whole
#define BACKUP_NARROW_TRY  64u

struct backup {
    struct br_backup_params params;
    struct br_frames *frames; // of what is read: nodes, and what lies below overlays
    struct br_point newest;   // of the volume
    struct br_hash newest_hash;
    bool has_newest;
    struct br_point base; // that the run is compared with
    bool has_base;
    struct br_point made;
    bool has_made;

    // The run under way.
    bool active;
    struct br_delta_header header;
    struct br_tree_geometry geometry;
    struct br_uuid domain_id;
    struct br_mac *domain;
    struct br_writer *writer;
    struct br_lease lease;
    bool leased;
    struct br_writer_counts counts; // of the last one
    struct br_repo_version parent;  // of a delta
    struct br_tree_reader *leaves;  // of it
    struct br_tree_store store;     // where the result's nodes go
    struct br_tree_writer *tree;
    uint8_t block[BR_BLOCK_BYTES];
    struct br_buf old, below, overlay, narrowed;
    unsigned narrow_tried, narrow_won;
};

// What stands for the repository in the source's state: the same for all runs of a volume.
static void replica_of(const struct backup *backup, const struct br_uuid *volume, struct br_uuid *ret_replica)
{
    static const char what[] = "blkrep replica in repository";
    uint8_t bytes[sizeof(what) + 2 * BR_UUID_BYTES], hash[32];

    memcpy(bytes, what, sizeof(what));
    memcpy(bytes + sizeof(what), br_repo_config_of(backup->params.repo)->repository.bytes, BR_UUID_BYTES);
    memcpy(bytes + sizeof(what) + BR_UUID_BYTES, volume->bytes, BR_UUID_BYTES);
    if (EVP_Digest(bytes, sizeof(bytes), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort(); // no memory for a hash: no version could be named either
    }
    *ret_replica = br_uuid_make(hash);
}

// What the point before has can't be read: the source's side hears that the far end is damaged, and the next run stores all anew.
static int damaged(int rc, struct br_err *reterr)
{
    char why[sizeof(((struct br_err *)0)->text)];

    if (rc >= 0 || rc == -BR_E_NOMEM || rc == -BR_E_INTERNAL || br_store_is_lost(rc)) {
        return rc;
    }
    snprintf(why, sizeof(why), "%s", reterr ? reterr->text : "");
    return br_err_set(reterr, BR_E_VERIFY,
                      "what the point before has can't be read (%.300s); the next run stores all anew", why);
}

// By what the other side knows the point that the run is compared with.
static const struct br_uuid *base_id(const struct backup *backup)
{
    return br_uuid_is_nil(&backup->params.parent_as) ? &backup->base.id : &backup->params.parent_as;
}

static int backup_info(void *ctx, struct br_endpoint_info *ret_info, struct br_err *reterr)
{
    const struct backup *backup = ctx;
    const struct br_point *base = &backup->base;
    struct br_endpoint_info info = {
        .capacity_bytes = UINT64_MAX, .empty = true, .zero = true, .may_write = true, .may_replace = true};
    struct br_identity *identity = &info.identity;
    int rc = 0;

    if (backup->has_base) {
        info.empty = false;
        identity->state = BR_STATE_COMPLETE;
        identity->volume = base->volume;
        identity->generation =
            (struct br_generation){.counter = base->counter, .id = *base_id(backup), .parent_id = base->parent};
        identity->root = base->root;
        rc = br_point_tree(base, &identity->tree, reterr);
        identity->sector_bytes = base->sector_bytes;
        identity->consistency = base->consistency;
        identity->taken_unix_ns = base->taken_unix_ns;
        identity->finished_unix_ns = base->made_unix_ns;
        identity->unreadable_blocks = base->unreadable_blocks;
        snprintf(identity->label, sizeof(identity->label), "%s", base->label);
        replica_of(backup, &base->volume, &identity->replica);
    } else if (backup->active) {
        replica_of(backup, &backup->header.volume, &identity->replica);
    }
    *ret_info = info;
    return rc;
}

static int backup_fetch_nodes(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                              struct br_err *reterr)
{
    struct backup *backup = ctx;
    struct br_repo_version version;
    int rc = br_repo_version_open(backup->params.repo, backup->frames, &backup->base, &version, reterr);

    rc = rc < 0 ? rc : damaged(br_tree_store_fetch_many(&version.store, links, count, ret_nodes, reterr), reterr);
    br_repo_version_close(&version);
    return rc;
}

// Begin -------------------------------------------------------------------------------------------------------------------------------

static int store_fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct backup *backup = ctx;

    return damaged(br_repo_fetch_node(backup->frames, backup->domain, link, bytes, reterr), reterr);
}

static int store_keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                      struct br_err *reterr)
{
    struct backup *backup = ctx;
    struct br_chunk_entry chunk = {.kind = BR_CHUNK_NODE, .len_bytes = (uint32_t)len};
    int rc = br_chunk_id_node(backup->domain, hash, &chunk.id, reterr);

    rc = rc < 0 ? rc : br_writer_put(backup->writer, &chunk, bytes, reterr);
    *ret_ref = 1;
    return BR_MIN(rc, 0);
}

static void run_close(struct backup *backup)
{
    br_tree_writer_close(backup->tree);
    br_tree_reader_close(backup->leaves);
    br_repo_version_close(&backup->parent);
    if (backup->writer) {
        backup->counts = *br_writer_counts_of(backup->writer);
    }
    br_writer_close(backup->writer);
    if (backup->leased) {
        br_lease_drop(backup->params.repo, &backup->lease);
    }
    br_mac_close(backup->domain);
    br_buf_free(&backup->old);
    br_buf_free(&backup->below);
    br_buf_free(&backup->overlay);
    br_buf_free(&backup->narrowed);
    backup->tree = NULL;
    backup->leaves = NULL;
    backup->writer = NULL;
    backup->domain = NULL;
    backup->leased = false;
    backup->active = false;
}

// Is everything there that the point before needs, and will it stay? 1 or 0. Looked at when packs went away since, or may go. What is noted is the
// newest point's: of an older one it is looked every time.
static int base_lasts(const struct backup *backup, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(backup->params.repo);
    bool newest = backup->has_newest && br_uuid_equal(&backup->base.id, &backup->newest.id);
    bool doomed = br_index_avoid_count(index) > 0;
    struct br_repo_verify_result result;
    uint64_t losses, checked;
    int rc = br_index_losses(index, &losses, reterr);

    rc = rc < 0 ? rc : br_index_noted(index, 'c', &backup->base.volume, &checked, reterr);
    if (rc < 0 || !backup->has_base || (newest && checked == losses && !doomed)) {
        return rc < 0 ? rc : 1;
    }
    const struct br_repo_verify_params params = {
        .repo = backup->params.repo, .points = &backup->base, .point_count = 1, .lasting = true};
    rc = br_repo_verify(&params, &result, reterr);
    if (rc < 0 || result.points_incomplete) {
        return BR_MIN(rc, 0);
    }
    rc = newest ? br_index_note(index, 'c', &backup->base.volume, losses, reterr) : 0;
    return rc < 0 ? rc : 1;
}

// Says that a run writes, and looks again at what it starts from: a prune may have come since that was read.
static int begin_lease(struct backup *backup, const struct br_uuid *run, bool delta, struct br_err *reterr)
{
    const struct br_delta_header *header = &backup->header;
    struct br_point still;

    if (backup->params.given) {
        int there = br_lease_find_point(backup->params.repo, &header->volume, &header->generation.id, &still, reterr);

        if (there) {
            return there < 0 ? there : br_err_set(reterr, BR_E_EXISTS, "the repository has the point already");
        }
        backup->header.generation.id = still.id;
    }
    backup->lease = (struct br_lease){.run = *run, .volume = header->volume, .point = header->generation.id};
    if (backup->params.repair) { // the point is there, and a lease that named it had ended
        backup->lease.point = br_ring_new_uuid(br_repo_ring_of(backup->params.repo));
    }
    snprintf(backup->lease.host, sizeof(backup->lease.host), "%s", backup->params.host ? backup->params.host : "");
    snprintf(backup->lease.label, sizeof(backup->lease.label), "%s", header->label);
    int rc = br_lease_take(backup->params.repo, &backup->lease, reterr);
    backup->leased = !rc;
    if (rc < 0 || !delta) {
        return rc;
    }
    rc = br_repo_point(backup->params.repo, &backup->base.volume, &backup->base.id, &still, NULL, reterr);
    if (rc == -BR_E_NOT_FOUND || (!rc && !br_hash_equal(&still.root, &backup->base.root))) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "the point before was removed meanwhile");
    }
    rc = rc < 0 ? rc : base_lasts(backup, reterr);
    return rc ? BR_MIN(rc, 0)
              : damaged(br_err_set(reterr, BR_E_NOT_FOUND, "a prune removes some of it meanwhile"), reterr);
}

static int begin_tree(struct backup *backup, bool delta, struct br_err *reterr)
{
    struct br_repo *repo = backup->params.repo;
    int rc = 0;

    backup->store = (struct br_tree_store){.fetch = store_fetch, .keep = store_keep, .ctx = backup};
    if (delta) {
        rc = br_repo_version_open(repo, backup->frames, &backup->base, &backup->parent, reterr);
        rc = rc < 0 ? rc : br_tree_reader_open(&backup->parent.tree, &backup->parent.store, &backup->leaves, reterr);
    }
    return rc < 0 ? rc
                  : br_tree_writer_open(&backup->geometry, delta ? &backup->parent.tree : NULL,
                                        delta ? &backup->store : NULL, &backup->store, &backup->tree, reterr);
}

// Does the run share nothing with the point that it would be compared with?
static bool anew(const struct backup *backup)
{
    const struct br_uuid *domain = &backup->params.domain;

    return backup->params.type == BR_POINT_FULL ||
           (backup->has_base && !br_uuid_is_nil(domain) && !br_uuid_equal(domain, &backup->base.domain));
}

static struct br_uuid domain_of(const struct backup *backup)
{
    if (!br_uuid_is_nil(&backup->params.domain)) {
        return backup->params.domain;
    }
    return backup->params.type == BR_POINT_FULL ? br_ring_new_uuid(br_repo_ring_of(backup->params.repo))
           : backup->has_base                   ? backup->base.domain
           : backup->has_newest                 ? backup->newest.domain
                                                : backup->params.first_domain;
}

static int backup_begin(void *ctx, const struct br_replica_begin *begin, bool overwrite, struct br_err *reterr)
{
    struct backup *backup = ctx;
    struct br_repo *repo = backup->params.repo;
    const struct br_delta_header *header = &begin->header;
    bool delta = begin->mode == BR_MODE_DELTA;
    struct br_writer_params writer = {
        .repo = repo,
        .run = br_ring_new_uuid(br_repo_ring_of(repo)),
        .level = backup->params.level,
        .target_bytes = backup->params.pack_bytes,
        .anew = begin->distrusted,
        .repair = backup->params.repair,
    };

    (void)overwrite; // a point never takes the place of another
    assert(!backup->active);
    int rc = br_repo_writable(repo, reterr);
    if (rc < 0) {
        return rc;
    }
    if (delta && (!backup->has_base || !br_uuid_equal(&header->generation.parent_id, base_id(backup)) ||
                  !br_hash_equal(&header->parent_root, &backup->base.root))) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "the volume's newest point is another");
    }
    if (delta && anew(backup)) {
        return br_err_set(reterr, BR_E_INTERNAL, "a full point, or one of another domain, from a delta");
    }
    if (!br_tree_geometry_of(header->size_bytes, &backup->geometry)) {
        return br_err_set(reterr, BR_E_LIMIT, "a volume larger than any version can be");
    }
    backup->active = true;
    backup->narrow_tried = backup->narrow_won = 0;
    backup->header = *header;
    rc = begin_lease(backup, &writer.run, delta, reterr);
    if (rc < 0) {
        run_close(backup);
        return rc;
    }
    backup->domain_id = domain_of(backup);
    rc = br_domain_mac(&br_repo_config_of(repo)->id_secret, &backup->domain_id, &backup->domain, reterr);
    rc = rc < 0 ? rc : br_writer_open(&writer, &backup->writer, reterr);
    rc = rc < 0 ? rc : begin_tree(backup, delta, reterr);
    if (rc < 0) {
        run_close(backup);
    }
    return rc;
}

// Blocks ------------------------------------------------------------------------------------------------------------------------------

static int put_whole(struct backup *backup, const struct br_chunk_id *id, const uint8_t *bytes, uint32_t len,
                     struct br_err *reterr)
{
    const struct br_chunk_entry chunk = {.kind = BR_CHUNK_BLOCK, .len_bytes = len, .id = *id};
    int rc = br_writer_put(backup->writer, &chunk, bytes, reterr);

    return BR_MIN(rc, 0);
}

// Writes what a batch has of a block over the block that is in backup->block.
static void lay_over(struct backup *backup, const struct br_batch_block *block, const uint8_t *data)
{
    struct br_overlay overlay = {.zeros = block->zeros, .pages = block->pages, .data = data};

    br_overlay_apply(&overlay, backup->block, br_block_bytes(&backup->geometry, block->index));
}

// What is stored of a block of the parent.
struct stored {
    bool zero;                   // a hole: there is nothing below
    bool proven;                 // what is stored is known to be what it should be
    uint32_t len_bytes;          // of the block then
    struct br_chunk_id base;     // the whole block
    struct br_index_chunk below; // where it is
    struct br_overlay overlay;   // what earlier runs laid over it; its data is in backup->old
};

static int find_stored(struct backup *backup, uint64_t index, struct stored *ret_stored, struct br_err *reterr)
{
    struct br_index *places = br_repo_index_of(backup->params.repo);
    struct br_index_chunk chunk = {.pack = 0};
    struct br_chunk_id id;
    struct br_hash leaf;
    int rc = damaged(br_tree_read(backup->leaves, index, 1, &leaf, NULL, reterr), reterr);

    *ret_stored = (struct stored){.zero = br_hash_equal(&leaf, &br_hash_zero)};
    if (rc < 0 || ret_stored->zero) {
        return rc;
    }
    ret_stored->len_bytes = br_block_bytes(&backup->parent.tree.geometry, index);
    rc = br_chunk_id_leaf(backup->parent.domain, &leaf, &id, reterr);
    rc = rc < 0 ? rc : br_index_find(places, &id, &chunk, reterr);
    if (!rc) {
        return damaged(br_err_set(reterr, BR_E_NOT_FOUND, "a block that is in no pack"), reterr);
    }
    if (rc > 0 && chunk.kind == BR_CHUNK_OVERLAY) {
        br_buf_reset(&backup->old);
        rc = br_frames_chunk_at(backup->frames, &chunk, &backup->old, reterr);
        rc = rc < 0 ? rc
                    : br_overlay_decode(backup->old.data, backup->old.len, ret_stored->len_bytes, &ret_stored->overlay,
                                        reterr);
    }
    const struct br_chunk_id *base = chunk.kind == BR_CHUNK_OVERLAY ? &chunk.base : &id;
    ret_stored->proven = chunk.proven && !chunk.doomed;
    rc = rc < 0 ? rc : br_index_find_block(places, base, 0, &ret_stored->below, reterr);
    if (!rc) {
        rc = br_err_set(reterr, BR_E_NOT_FOUND, "a block below that is in no pack");
    }
    ret_stored->base = *base;
    ret_stored->proven = ret_stored->proven && ret_stored->below.proven && !ret_stored->below.doomed;
    return damaged(BR_MIN(rc, 0), reterr);
}

// The parent's block into backup->block, cut or filled with zeros to the length that it has now.
static int read_stored(struct backup *backup, const struct stored *stored, uint32_t len, struct br_err *reterr)
{
    memset(backup->block, 0, sizeof(backup->block));
    if (stored->zero) {
        return 0;
    }
    br_buf_reset(&backup->below);
    int rc = br_frames_chunk_at(backup->frames, &stored->below, &backup->below, reterr);
    if (!rc && backup->below.len != stored->len_bytes) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "the block below is another");
    }
    if (!rc) {
        memcpy(backup->block, backup->below.data, stored->len_bytes);
        br_overlay_apply(&stored->overlay, backup->block, stored->len_bytes);
        memset(backup->block + BR_MIN(len, stored->len_bytes), 0, BR_BLOCK_BYTES - BR_MIN(len, stored->len_bytes));
    }
    return damaged(rc, reterr);
}

// The block whole: what is stored, and over it the pages of this run.
static int put_rebuilt(struct backup *backup, const struct br_batch_block *block, const struct br_chunk_id *id,
                       const struct stored *stored, const uint8_t *data, struct br_err *reterr)
{
    uint32_t len = br_block_bytes(&backup->geometry, block->index);
    struct br_hash leaf;
    int rc = read_stored(backup, stored, len, reterr);

    if (rc < 0) {
        return rc;
    }
    lay_over(backup, block, data);
    br_leaf_hash(backup->block, len, &leaf);
    if (!br_hash_equal(&leaf, &block->leaf)) {
        return damaged(br_err_set(reterr, BR_E_CORRUPT, "the block below is not what it was when it was stored"),
                       reterr);
    }
    return put_whole(backup, id, backup->block, len, reterr);
}

// The pages of an overlay: those of this run, and of runs before where this one has none.
static int put_overlay(struct backup *backup, const struct br_batch_block *block, const struct br_chunk_id *id,
                       const struct stored *stored, const uint8_t *data, struct br_err *reterr)
{
    struct br_chunk_entry chunk = {.kind = BR_CHUNK_OVERLAY, .id = *id, .base = stored->base};
    const struct br_overlay *old = &stored->overlay;
    uint16_t changed = block->pages | block->zeros;
    struct br_buf *to = &backup->overlay;
    const uint8_t *old_data = old->data;

    br_buf_reset(to);
    br_buf_u16(to, block->zeros | (old->zeros & (uint16_t)~changed));
    br_buf_u16(to, block->pages | (old->pages & (uint16_t)~changed));
    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t len = br_page_bytes(&backup->geometry, block->index, p);

        if (block->pages >> p & 1) {
            br_buf_append(to, data, len);
        } else if (old->pages >> p & ~changed >> p & 1) {
            br_buf_append(to, old_data, len);
        }
        data += block->pages >> p & 1 ? len : 0;
        old_data += old->pages >> p & 1 ? len : 0;
    }
    if (br_buf_failed(to)) {
        return br_err_set(reterr, BR_E_NOMEM, "an overlay");
    }
    chunk.len_bytes = (uint32_t)to->len;
    int rc = br_writer_put(backup->writer, &chunk, to->data, reterr);
    return BR_MIN(rc, 0);
}

static int put_pages(struct backup *backup, const struct br_batch_block *block, const struct br_chunk_id *id,
                     const uint8_t *data, struct br_err *reterr)
{
    struct stored stored = {.zero = true}; // without a version before, all was zeros
    int rc = backup->leaves ? find_stored(backup, block->index, &stored, reterr) : 0;

    if (rc < 0) {
        return rc;
    }
    // Over what nobody here has seen no overlay is laid: the block is put together and proven, and stored whole.
    bool same = !stored.zero && stored.proven && stored.len_bytes == br_block_bytes(&backup->geometry, block->index);
    unsigned pages =
        (unsigned)__builtin_popcount(block->pages | block->zeros | stored.overlay.pages | stored.overlay.zeros);
    return same && pages <= BACKUP_OVERLAY_MAX ? put_overlay(backup, block, id, &stored, data, reterr)
                                               : put_rebuilt(backup, block, id, &stored, data, reterr);
}

// Where the source's side lost its page hashes, or compares with another version than its last one, whole blocks come for changed pages. What
// is stored tells which. It costs a read, so it is given up, but for a try now and then, where most blocks did change as a whole.
static bool narrow_pays(struct backup *backup)
{
    return ++backup->narrow_tried <= BACKUP_NARROW_TRY || !(backup->narrow_tried % BACKUP_NARROW_TRY) ||
           backup->narrow_won >= backup->narrow_tried / 4;
}

// Returns 1 when it was stored as an overlay, 0 when it is to be stored whole.
static int put_narrowed(struct backup *backup, const struct br_batch_block *block, const struct br_chunk_id *id,
                        const uint8_t *data, struct br_err *reterr)
{
    uint32_t len = br_block_bytes(&backup->geometry, block->index);
    struct br_batch_block narrow = {.index = block->index, .leaf = block->leaf};
    struct br_buf *to = &backup->narrowed;
    struct stored stored;
    struct br_err none;

    // What can't be read is no hindrance to storing the block as it came.
    if (!backup->leaves || !narrow_pays(backup) || find_stored(backup, block->index, &stored, &none) < 0 ||
        stored.zero || !stored.proven || stored.len_bytes != len || read_stored(backup, &stored, len, &none) < 0) {
        return 0;
    }
    br_buf_reset(to);
    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t at = p * BR_PAGE_BYTES, page = br_page_bytes(&backup->geometry, block->index, p);

        if (!page || !memcmp(backup->block + at, data + at, page)) {
            continue;
        }
        if (br_is_zero(data + at, page)) {
            narrow.zeros |= (uint16_t)(1u << p);
        } else {
            narrow.pages |= (uint16_t)(1u << p);
            br_buf_append(to, data + at, page);
        }
    }
    if (br_buf_failed(to)) {
        return br_err_set(reterr, BR_E_NOMEM, "an overlay");
    }
    unsigned pages =
        (unsigned)__builtin_popcount(narrow.pages | narrow.zeros | stored.overlay.pages | stored.overlay.zeros);
    if (pages > BACKUP_OVERLAY_MAX) {
        return 0;
    }
    backup->narrow_won++;
    int rc = put_overlay(backup, &narrow, id, &stored, to->data, reterr);
    return rc < 0 ? rc : 1;
}

static int put_block(struct backup *backup, const struct br_batch_block *block, const uint8_t *data,
                     struct br_err *reterr)
{
    uint16_t all = br_block_pages(&backup->geometry, block->index);
    uint32_t len = br_block_bytes(&backup->geometry, block->index);
    struct br_chunk_id id;
    int rc = br_chunk_id_leaf(backup->domain, &block->leaf, &id, reterr);

    rc = rc < 0 ? rc : br_writer_has(backup->writer, &id, reterr);
    if (!rc && block->pages == all) {
        rc = put_narrowed(backup, block, &id, data, reterr);
        rc = rc ? rc : put_whole(backup, &id, data, len, reterr);
    } else if (!rc && (block->pages | block->zeros) == all) {
        lay_over(backup, block, data);
        rc = put_whole(backup, &id, backup->block, len, reterr);
    } else if (!rc) {
        rc = put_pages(backup, block, &id, data, reterr);
    }
    if (rc < 0 && reterr && !reterr->has_offset) {
        reterr->has_offset = true;
        reterr->offset_bytes = block->index * BR_BLOCK_BYTES;
    }
    return rc < 0 ? rc : br_tree_put(backup->tree, block->index, &block->leaf, NULL, reterr);
}

static int backup_batch(void *ctx, const struct br_batch *batch, br_release_fn *release, void *release_ctx,
                        struct br_err *reterr)
{
    struct backup *backup = ctx;
    const uint8_t *data = batch->data;
    int rc = br_batch_check(batch, &backup->geometry, reterr);

    for (unsigned i = 0; !rc && i < batch->block_count; i++) {
        rc = put_block(backup, &batch->blocks[i], data, reterr);
        data += br_block_data_bytes(&batch->blocks[i], &backup->geometry);
    }
    release(release_ctx);
    return rc;
}

static int backup_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct backup *backup = ctx;
    bool unreadable = run->kind == BR_RUN_UNREADABLE;

    return br_tree_fill(backup->tree, run->first, run->count, unreadable ? &br_hash_unreadable : &br_hash_zero, reterr);
}

// Commit ------------------------------------------------------------------------------------------------------------------------------

// Blocks that the version lacks. A run tells only those that it met.
static int count_unreadable(struct backup *backup, const struct br_tree *tree, const struct br_delta_end *end,
                            uint64_t *ret_blocks, struct br_err *reterr)
{
    bool any = end->unreadable_blocks || (!backup->header.full && backup->base.unreadable_blocks);
    struct br_tree_reader *reader = NULL;
    uint64_t count = 0, at = 0;
    int rc = any ? br_tree_reader_open(tree, &backup->store, &reader, reterr) : 0;

    while (!rc && any) {
        rc = br_tree_next_is(reader, at, &br_hash_unreadable, &at, reterr);
        if (at >= tree->geometry.block_count) {
            break;
        }
        count += rc < 0 ? 0 : 1;
        at++;
    }
    br_tree_reader_close(reader);
    *ret_blocks = count;
    return rc;
}

// What a copy has of its original: all that says what it is and where it is from, and nothing of where it lies.
static void keep_facts(const struct br_point *original, struct br_point *point)
{
    point->counter = original->counter;
    point->type = original->type;
    point->changed_bytes = original->changed_bytes;
    memcpy(point->tracker, original->tracker, sizeof(point->tracker));
    memcpy(point->host, original->host, sizeof(point->host));
    memcpy(point->label, original->label, sizeof(point->label));
    point->tag_count = original->tag_count;
    memcpy(point->tags, original->tags, sizeof(point->tags));
}

static void describe(const struct backup *backup, const struct br_tree *tree, const struct br_delta_end *end,
                     uint64_t unreadable_blocks, struct br_point *ret_point)
{
    const struct br_delta_header *header = &backup->header;
    struct br_point point = {
        .id = header->generation.id,
        .volume = header->volume,
        .counter = backup->has_newest ? backup->newest.counter + 1 : 1,
        .previous = backup->has_newest ? backup->newest_hash : br_hash_zero,
        .root = end->root,
        .size_bytes = header->size_bytes,
        .top = tree->top.hash,
        .sector_bytes = header->sector_bytes,
        .hash_id = header->hash_id,
        .consistency = header->consistency,
        // A differential that had to store all anew was compared with none.
        .type =
            header->full && backup->params.type == BR_POINT_DIFFERENTIAL ? BR_POINT_INCREMENTAL : backup->params.type,
        .domain = backup->domain_id,
        .taken_unix_ns = header->taken_unix_ns,
        .made_unix_ns = br_ring_unix_ns(br_repo_ring_of(backup->params.repo)),
        .unreadable_blocks = unreadable_blocks,
        .changed_bytes = end->data_bytes + end->zero_bytes,
        .stored_bytes = br_writer_counts_of(backup->writer)->stored_bytes,
    };

    if (!header->full) {
        point.parent = backup->base.id;
    }
    if (backup->params.as) {
        keep_facts(backup->params.as, &point);
        *ret_point = point;
        return;
    }
    snprintf(point.tracker, sizeof(point.tracker), "%s", backup->params.tracker ? backup->params.tracker : "");
    snprintf(point.host, sizeof(point.host), "%s", backup->params.host ? backup->params.host : "");
    snprintf(point.label, sizeof(point.label), "%s", header->label);
    for (const char *const *tag = backup->params.tags; tag && *tag && point.tag_count < BR_POINT_TAGS_MAX; tag++) {
        snprintf(point.tags[point.tag_count++], BR_POINT_TAG_BYTES, "%s", *tag);
    }
    *ret_point = point;
}

static int commit(struct backup *backup, const struct br_delta_end *end, struct br_err *reterr)
{
    struct br_tree tree;
    struct br_hash root;
    struct br_point point;
    uint64_t unreadable_blocks;
    int rc = br_tree_finish(backup->tree, &tree, reterr);

    if (rc < 0) {
        return rc;
    }
    br_tree_root(&tree, &root);
    if (!br_hash_equal(&root, &end->root)) {
        return br_err_set(reterr, BR_E_CORRUPT, "what was stored has another root than what was read");
    }
    rc = br_writer_settle(backup->writer, reterr);
    rc = rc < 0 ? rc : count_unreadable(backup, &tree, end, &unreadable_blocks, reterr);
    if (rc < 0) {
        return rc;
    }
    if (backup->params.repair) {
        rc = br_lease_held(backup->params.repo, &backup->lease, reterr);
        rc = rc || !backup->params.renew ? rc : br_repo_renew_point(backup->params.repo, backup->params.as, reterr);
        backup->made = *backup->params.as;
        backup->has_made = !rc;
        return rc;
    }
    describe(backup, &tree, end, unreadable_blocks, &point);
    rc = br_repo_put_point(backup->params.repo, &point, reterr);
    if (rc == -BR_E_EXISTS) {
        return br_err_set(
            reterr, BR_E_BUSY,
            "a prune, or another run, took this one for dead and gave it up; what it stored is found again "
            "by the next run if that comes soon");
    }
    if (rc < 0) {
        return rc;
    }
    backup->made = point;
    backup->has_made = true;
    backup->params.parent_as = (struct br_uuid){0}; // it was said of the parent
    rc = br_repo_point(backup->params.repo, &point.volume, &point.id, &backup->newest, &backup->newest_hash, reterr);
    backup->has_newest = !rc;
    backup->base = backup->newest;
    backup->has_base = !rc;
    return rc;
}

// The rolling recheck (G3) of the point before: a share of it is read and proven, from where the last run stopped.
static int recheck(struct backup *backup, uint64_t recheck_bytes, struct br_replica_result *result,
                   struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(backup->params.repo);
    const struct br_point *point = &backup->base;
    struct br_read_progress progress = {0};
    uint64_t from = 0;
    int rc = br_index_noted(index, 'r', &point->volume, &from, reterr);

    if (rc < 0 || !recheck_bytes || !backup->has_base) {
        return rc;
    }
    from = from * BR_BLOCK_BYTES < point->size_bytes ? from : 0;
    const struct br_read_params params = {
        .repo = backup->params.repo,
        .point = point,
        .offset_bytes = from * BR_BLOCK_BYTES,
        .len_bytes = BR_MIN(recheck_bytes, BR_VOLUME_BYTES_MAX),
        .sink = br_read_drop,
        .go_on = true,
    };
    rc = br_repo_read(&params, &progress, &result->recheck_mismatches, reterr);
    if (rc == -BR_E_NOT_FOUND || rc == -BR_E_CORRUPT || rc == -BR_E_TRUNCATED) {
        result->recheck_mismatches++; // of the tree itself
        rc = 0;
    }
    result->bytes_rechecked = progress.data_bytes;
    if (!rc && result->recheck_mismatches) {
        return br_err_set(reterr, BR_E_VERIFY,
                          "%llu blocks of the point before are missing or damaged; the next run stores them anew",
                          (unsigned long long)result->recheck_mismatches);
    }
    return rc < 0
               ? rc
               : br_index_note(index, 'r', &point->volume, br_div_up(progress.position_bytes, BR_BLOCK_BYTES), reterr);
}

static int backup_commit(void *ctx, const struct br_delta_end *end, uint64_t recheck_bytes,
                         struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct backup *backup = ctx;
    struct br_replica_result result = {0};
    int rc = backup->header.full ? 0 : recheck(backup, recheck_bytes, &result, reterr);

    rc = rc < 0 ? rc : commit(backup, end, reterr);
    const struct br_writer_counts *counts = br_writer_counts_of(backup->writer);
    result.bytes_durable = rc < 0 ? counts->durable_bytes : end->data_bytes;
    result.bytes_written = counts->stored_bytes;
    *ret_result = result;
    if (!rc) {
        run_close(backup);
    }
    return rc;
}

static void backup_abort(void *ctx)
{
    struct backup *backup = ctx;

    if (backup->active) {
        run_close(backup);
    }
}

static int backup_recheck(void *ctx, uint64_t recheck_bytes, struct br_replica_result *ret_result,
                          struct br_err *reterr)
{
    *ret_result = (struct br_replica_result){0};
    return recheck(ctx, recheck_bytes, ret_result, reterr);
}

static uint64_t backup_durable(void *ctx)
{
    const struct backup *backup = ctx;

    return backup->writer ? br_writer_counts_of(backup->writer)->durable_bytes : backup->counts.durable_bytes;
}

static uint64_t backup_sent(void *ctx)
{
    const struct backup *backup = ctx;

    return backup->writer ? br_writer_counts_of(backup->writer)->stored_bytes : backup->counts.stored_bytes;
}

// Verify ------------------------------------------------------------------------------------------------------------------------------

struct verifying {
    br_verify_progress_fn *progress;
    void *progress_ctx;
    volatile bool cancel;
    int rc; // why it was cancelled
};

static void verify_progress(void *ctx, const struct br_read_progress *progress)
{
    struct verifying *verifying = ctx;
    int rc = verifying->progress
                 ? verifying->progress(verifying->progress_ctx, progress->position_bytes, progress->size_bytes)
                 : 0;

    if (rc) {
        verifying->rc = rc;
        verifying->cancel = true;
    }
}

static int backup_verify(void *ctx, br_verify_progress_fn *progress, void *progress_ctx, uint64_t *ret_bad_blocks,
                         struct br_err *reterr)
{
    const struct backup *backup = ctx;
    struct verifying verifying = {.progress = progress, .progress_ctx = progress_ctx};
    struct br_read_params params = {
        .repo = backup->params.repo,
        .point = &backup->newest,
        .len_bytes = UINT64_MAX,
        .sink = br_read_drop,
        .go_on = true,
        .cancel = &verifying.cancel,
        .progress = verify_progress,
        .progress_ctx = &verifying,
    };
    uint64_t bad = 0;

    if (!backup->has_newest) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "the volume has no point");
    }
    int rc = br_repo_read(&params, NULL, &bad, reterr);
    if (ret_bad_blocks) {
        *ret_bad_blocks = bad;
    }
    if (!rc && bad) {
        rc =
            br_err_set(reterr, BR_E_VERIFY, "%llu blocks of the point are missing or damaged", (unsigned long long)bad);
    }
    return verifying.rc ? verifying.rc : rc;
}

static void backup_close(void *ctx)
{
    struct backup *backup = ctx;

    backup_abort(backup);
    br_frames_close(backup->frames);
    free(backup);
}

static const struct br_endpoint_ops backup_ops = {
    .info = backup_info,
    .fetch_nodes = backup_fetch_nodes,
    .begin = backup_begin,
    .batch = backup_batch,
    .run = backup_run,
    .commit = backup_commit,
    .abort = backup_abort,
    .recheck = backup_recheck,
    .durable = backup_durable,
    .verify = backup_verify,
    .sent_bytes = backup_sent,
    .close = backup_close,
};

struct full_search {
    bool found;
    struct br_point point;
};

static int take_full(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct full_search *search = ctx;

    (void)err;
    if (!rc && br_uuid_is_nil(&point->parent) && (!search->found || point->counter > search->point.counter)) {
        search->point = *point;
        search->found = true;
    }
    return 0;
}

// The point to compare with. Full is, for a differential, what was itself compared with none.
static int find_base(struct backup *backup, struct br_err *reterr)
{
    const struct br_backup_params *params = &backup->params;
    struct full_search search = {0};
    int rc = 0;

    if (params->alone) {
        return 0;
    }
    if (!br_uuid_is_nil(&params->parent)) {
        rc = br_repo_point(params->repo, &params->volume, &params->parent, &backup->base, NULL, reterr);
        backup->has_base = !rc;
    } else if (params->type == BR_POINT_DIFFERENTIAL) {
        rc = br_repo_points(params->repo, &params->volume, take_full, &search, reterr);
        backup->base = search.point;
        backup->has_base = search.found;
    } else {
        backup->base = backup->newest;
        backup->has_base = backup->has_newest;
    }
    return rc;
}

int br_backup_open(const struct br_backup_params *params, struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    struct backup *backup = calloc(1, sizeof(*backup));
    int rc = backup ? 0 : br_err_set(reterr, BR_E_NOMEM, "a backup");

    if (!rc) {
        backup->params = *params;
        rc = br_frames_open(params->repo, BACKUP_FRAMES, &backup->frames, reterr);
    }
    if (!rc && !br_uuid_is_nil(&params->volume)) {
        rc = br_repo_newest(params->repo, &params->volume, &backup->newest, &backup->newest_hash, reterr);
        backup->has_newest = rc > 0;
        rc = rc < 0 ? rc : find_base(backup, reterr);
    }
    if (rc >= 0 && backup->params.type == BR_POINT_DIFFERENTIAL && !backup->has_base) {
        backup->params.type = BR_POINT_FULL;
    }
    if (rc < 0) {
        if (backup) {
            br_frames_close(backup->frames);
        }
        free(backup);
        return rc;
    }
    *ret_endpoint = (struct br_endpoint){.ops = &backup_ops, .ctx = backup};
    return 0;
}

int br_backup_whole(const struct br_endpoint *endpoint, struct br_err *reterr)
{
    struct backup *backup = endpoint->ctx;
    int rc = br_doomed_avoid(backup->params.repo, reterr);

    return rc < 0 ? rc : base_lasts(backup, reterr);
}

enum br_point_type br_backup_type(const struct br_endpoint *endpoint)
{
    const struct backup *backup = endpoint->ctx;

    return backup->params.type;
}

bool br_backup_anew(const struct br_endpoint *endpoint)
{
    return anew(endpoint->ctx);
}

int br_backup_held(const struct br_endpoint *endpoint, const struct br_hash *leaf, struct br_err *reterr)
{
    struct backup *backup = endpoint->ctx;
    struct br_chunk_id id;
    int rc = br_chunk_id_leaf(backup->domain, leaf, &id, reterr);

    return rc < 0 ? rc : br_writer_has(backup->writer, &id, reterr);
}

int br_backup_keep(const struct br_endpoint *endpoint, const struct br_keep *keep, struct br_err *reterr)
{
    struct backup *backup = endpoint->ctx;
    int rc = 0;

    for (unsigned i = 0; !rc && i < keep->count; i++) {
        int held = br_backup_held(endpoint, &keep->blocks[i].leaf, reterr);

        rc = held < 0 ? held
             : !held  ? br_err_set(reterr, BR_E_NOT_FOUND, "a block that was held is not any more")
                      : br_tree_put(backup->tree, keep->blocks[i].index, &keep->blocks[i].leaf, NULL, reterr);
    }
    return rc;
}

const struct br_point *br_backup_point(const struct br_endpoint *endpoint)
{
    const struct backup *backup = endpoint->ctx;

    return backup->has_made ? &backup->made : NULL;
}

struct br_writer_counts br_backup_counts(const struct br_endpoint *endpoint)
{
    const struct backup *backup = endpoint->ctx;

    return backup->writer ? *br_writer_counts_of(backup->writer) : backup->counts;
}
