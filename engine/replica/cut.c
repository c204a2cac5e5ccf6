// SPDX-License-Identifier: Apache-2.0
//
// Two passes over stage.cut: the walk reads heads and tables only and says where which block lies, so that a delta begins at once however
// much is kept; data is read, and its checksum asked, shortly before it is offered, and once more when it is taken.
#include "engine/replica/cut.h"

#include <assert.h>
#include <inttypes.h>

#include "engine/replica/stage.h"
#include "engine/track/tree_file.h"

#define CUT_LOOK_BYTES  (16u * 1024u)        // heads and tables are read in such pieces
#define CUT_START_BYTES 1024u                // preamble, HEADER and RESIZE lie in them
#define CUT_OFFER_BYTES (UINT64_C(64) << 20) // read for one answer
#define CUT_SLACK_BYTES (UINT64_C(1) << 20)
#define CUT_INDEX_STEM  "cut"
#define CUT_INDEX       1u // number of the index's tree file
#define CUT_INDEX_NAME  "cut.1"

static_assert(BR_STREAM_PREAMBLE_BYTES + 2 * BR_STREAM_HEAD_BYTES + BR_STREAM_HEADER_FIXED_BYTES + BR_LABEL_BYTES +
                      BR_STREAM_RESIZE_BYTES <=
                  CUT_START_BYTES,
              "a stream's beginning is read at once");
static_assert(BR_STREAM_HEAD_BYTES + BR_STREAM_TABLE_BYTES_MAX <= CUT_LOOK_BYTES,
              "a head and its table are read at once");

// Where a frame lies.
struct cut_place {
    uint64_t offset_bytes;
    uint64_t chain;
    uint64_t size_bytes; // of its stream's volume
};

struct br_cut {
    struct br_ring *ring;
    struct br_dir *dir;
    const char *what;
    struct br_file *file;
    struct br_tree_geometry geometry; // of the result
    struct br_tree_file *index_file;
    struct br_tree index;
    struct br_tree_reader *ahead;  // for what is offered
    struct br_tree_reader *behind; // for what is taken
    uint64_t end_bytes;
    uint64_t found; // blocks that were put into the index, those found twice too
    uint64_t taken; // blocks
    // The frame looked at last for an offer.
    uint8_t *frame;
    uint64_t frame_offset_bytes; // 0: none
    struct br_batch frame_batch; // of no blocks when it is damaged
};

// The beginning of a stream.
struct cut_start {
    struct br_delta_header header;
    struct br_tree_geometry geometry;
    bool staged;       // the form that holds KEPT records
    uint64_t bytes;    // its length
    uint64_t chain;    // of the first frame behind it
    uint64_t sequence; // of that frame
};

// Streams -----------------------------------------------------------------------------------------------------------------------------

static int start_decode(struct br_stream_decoder *decoder, const uint8_t *bytes, size_t len, struct cut_start *start,
                        struct br_err *reterr)
{
    struct br_stream_record record;
    unsigned due = 1;

    for (unsigned i = 0; i < due; i++) {
        int r = br_stream_decoder_next(decoder, &bytes, &len, &record, reterr);
        if (r <= 0) {
            return r < 0 ? r : br_err_set(reterr, BR_E_CORRUPT, "a stage that is cut in its beginning");
        }
        if (i == 0) {
            start->header = record.header;
            due += !record.header.full && record.header.parent_size_bytes != record.header.size_bytes;
        }
        start->bytes = record.offset_bytes + record.frame_bytes;
        start->sequence = record.sequence + 1;
    }
    start->chain = br_stream_decoder_chain(decoder);
    return 0;
}

// The stream that begins at @offset_bytes.
static int start_read(struct br_file *file, uint64_t offset_bytes, struct cut_start *start, struct br_err *reterr)
{
    uint8_t bytes[CUT_START_BYTES];
    struct br_file_info info;
    struct br_stream_decoder *decoder;

    int r = br_file_stat(file, &info, reterr);
    if (r < 0) {
        return r;
    }
    if (info.size_bytes < offset_bytes + BR_STREAM_PREAMBLE_BYTES) {
        return br_err_set(reterr, BR_E_CORRUPT, "a stage without a beginning");
    }
    size_t len = BR_MIN(info.size_bytes - offset_bytes, (uint64_t)sizeof(bytes));
    r = br_file_read(file, bytes, len, offset_bytes, reterr);
    r = r < 0 ? r : br_stream_decoder_open(&decoder, reterr);
    if (r < 0) {
        return r;
    }
    start->staged = !memcmp(bytes, BR_STREAM_STAGED_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
    br_stream_decoder_allow_staged(decoder);
    r = start_decode(decoder, bytes, len, start, reterr);
    br_stream_decoder_close(decoder);
    if (r == 0 && !br_tree_geometry_of(start->header.size_bytes, &start->geometry)) {
        r = br_err_set(reterr, BR_E_CORRUPT, "a stage of an impossible volume");
    }
    return r;
}

static bool start_is_from(const struct cut_start *start, const struct br_identity *identity)
{
    const struct br_delta_header *header = &start->header;

    return !header->full && br_uuid_equal(&header->volume, &identity->volume) &&
           br_uuid_equal(&header->generation.parent_id, &identity->generation.id) &&
           br_hash_equal(&header->parent_root, &identity->root);
}

enum cut_use { CUT_NONE, CUT_USELESS, CUT_UNKNOWN, CUT_DATA, CUT_LIST };

// Of what use is the file @name to a delta from @identity's version? UNKNOWN: it could not be read.
static enum cut_use cut_use_of(struct br_dir *dir, const char *name, const struct br_identity *identity,
                               uint64_t *ret_bytes)
{
    struct br_file *file;
    struct br_file_info info;
    struct cut_start start;

    int r = br_dir_open(dir, name, BR_OPEN_READ, &file, NULL);
    if (r < 0) {
        return r == -BR_E_NOT_FOUND ? CUT_NONE : CUT_UNKNOWN;
    }
    r = br_file_stat(file, &info, NULL);
    r = r < 0 ? r : start_read(file, 0, &start, NULL);
    br_file_close(file);
    if (r < 0) {
        return r == -BR_E_CORRUPT || r == -BR_E_VERSION ? CUT_USELESS : CUT_UNKNOWN;
    }
    *ret_bytes = info.size_bytes;
    if (!start_is_from(&start, identity)) {
        return CUT_USELESS;
    }
    return start.staged ? CUT_LIST : CUT_DATA;
}

// Housekeeping ------------------------------------------------------------------------------------------------------------------------

static void cut_unlink(struct br_dir *dir, const char *name)
{
    if (br_dir_exists(dir, name, NULL) == 1) {
        (void)!br_dir_unlink(dir, name, NULL);
    }
}

void br_cut_sweep(struct br_dir *dir, const struct br_identity *identity)
{
    static const char *const names[] = {BR_STAGE_NAME, BR_CUT_NAME};
    uint64_t bytes;

    cut_unlink(dir, CUT_INDEX_NAME);
    for (unsigned i = 0; i < BR_ARRAY_LEN(names) && identity->state != BR_STATE_APPLYING; i++) {
        if (identity->state != BR_STATE_COMPLETE || cut_use_of(dir, names[i], identity, &bytes) == CUT_USELESS) {
            cut_unlink(dir, names[i]);
        }
    }
}

void br_cut_drop(struct br_dir *dir)
{
    (void)!br_dir_unlink(dir, BR_STAGE_NAME, NULL);
    (void)!br_dir_sync(dir, NULL);
    if (br_dir_exists(dir, BR_CUT_NAME, NULL) == 1) {
        (void)!br_dir_unlink(dir, BR_CUT_NAME, NULL);
        (void)!br_dir_sync(dir, NULL);
    }
}

uint64_t br_cut_bytes(struct br_dir *dir, const struct br_identity *identity)
{
    uint64_t bytes = 0;

    if (identity->state != BR_STATE_COMPLETE) {
        return 0;
    }
    if (cut_use_of(dir, BR_CUT_NAME, identity, &bytes) == CUT_DATA ||
        cut_use_of(dir, BR_STAGE_NAME, identity, &bytes) == CUT_DATA) {
        return bytes;
    }
    return 0;
}

// Walk --------------------------------------------------------------------------------------------------------------------------------

struct cut_walk {
    struct br_cut *cut;
    uint64_t size_bytes; // of the file
    uint64_t offset_bytes;
    struct cut_start start; // of the stream that it is in
    uint64_t chain;
    uint64_t sequence;
    uint64_t next_block;
    struct br_tree_writer *writer;
    uint64_t look_offset_bytes;
    size_t look_len;
    uint8_t look[CUT_LOOK_BYTES];
};

// The next @len bytes, at most CUT_LOOK_BYTES; NULL when the file ends before or can't be read.
static const uint8_t *walk_look(struct cut_walk *walk, size_t len)
{
    uint64_t at = walk->offset_bytes;

    if (at + len > walk->size_bytes) {
        return NULL;
    }
    if (at < walk->look_offset_bytes || at + len > walk->look_offset_bytes + walk->look_len) {
        walk->look_len = (size_t)BR_MIN(walk->size_bytes - at, (uint64_t)CUT_LOOK_BYTES);
        walk->look_offset_bytes = at;
        if (br_file_read(walk->cut->file, walk->look, walk->look_len, at, NULL) < 0) {
            walk->look_len = 0;
            return NULL;
        }
    }
    return walk->look + (at - walk->look_offset_bytes);
}

// Can what is said of block @index in a stream for @from be kept in a result of @to?
static bool cut_same_block(const struct br_tree_geometry *from, const struct br_tree_geometry *to, uint64_t index)
{
    return index < from->block_count && index < to->block_count &&
           br_block_bytes(from, index) == br_block_bytes(to, index);
}

static int walk_put(struct cut_walk *walk, const struct br_batch *batch, struct br_err *reterr)
{
    struct br_cut *cut = walk->cut;
    const uint64_t where[BR_PAGES_PER_BLOCK] = {walk->offset_bytes, walk->chain, walk->start.header.size_bytes};

    for (unsigned i = 0; i < batch->block_count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        if (br_leaf_is_special(&block->leaf) || !cut_same_block(&walk->start.geometry, &cut->geometry, block->index)) {
            continue;
        }
        int r = br_tree_put(walk->writer, block->index, &block->leaf, where, reterr);
        if (r < 0) {
            return r;
        }
        cut->found++;
    }
    walk->next_block = batch->blocks[batch->block_count - 1].index + 1;
    return 0;
}

// One frame. Returns 1 and stands behind it; 0 when none follows in this stream.
static int walk_frame(struct cut_walk *walk, struct br_err *reterr)
{
    struct br_stream_head head;
    struct br_batch batch;
    const uint8_t *bytes = walk_look(walk, BR_STREAM_HEAD_BYTES);

    if (!bytes || br_stream_head_read(bytes, &head, NULL) < 0 || head.sequence != walk->sequence ||
        br_stream_head_bytes(&head) > walk->size_bytes - walk->offset_bytes) {
        return 0;
    }
    if (head.type == BR_STREAM_DATA) {
        bytes = walk_look(walk, (size_t)BR_STREAM_HEAD_BYTES + head.table_bytes);
        if (!bytes || head.flags ||
            br_stream_blocks_read(&head, bytes + BR_STREAM_HEAD_BYTES, &walk->start.geometry, &batch, NULL) < 0 ||
            batch.blocks[0].index < walk->next_block) {
            return 0;
        }
        int r = walk_put(walk, &batch, reterr);
        if (r < 0) {
            return r;
        }
    } else if (head.type != BR_STREAM_RUN && head.type != BR_STREAM_NOTE && head.type != BR_STREAM_END) {
        return 0;
    }
    walk->chain = head.checksum;
    walk->sequence++;
    walk->offset_bytes += br_stream_head_bytes(&head);
    return 1;
}

// One stream into the index; what it says of a block counts more than what those before say. Returns 0 when none begins here.
static int walk_stream(struct cut_walk *walk, const struct br_identity *identity, struct br_err *reterr)
{
    struct br_cut *cut = walk->cut;
    const struct br_tree_store *store = br_tree_file_store(cut->index_file);

    if (start_read(cut->file, walk->offset_bytes, &walk->start, NULL) < 0 || walk->start.staged ||
        !start_is_from(&walk->start, identity)) {
        return 0;
    }
    walk->offset_bytes += walk->start.bytes;
    walk->chain = walk->start.chain;
    walk->sequence = walk->start.sequence;
    walk->next_block = 0;
    int r = br_tree_writer_open(&cut->geometry, &cut->index, store, store, &walk->writer, reterr);
    if (r < 0) {
        return r;
    }
    do {
        r = walk_frame(walk, reterr);
    } while (r > 0);
    r = r < 0 ? r : br_tree_finish(walk->writer, &cut->index, reterr);
    br_tree_writer_close(walk->writer);
    return r < 0 ? r : 1;
}

static int cut_walk(struct br_cut *cut, uint64_t size_bytes, const struct br_identity *identity, struct br_err *reterr)
{
    struct cut_walk *walk = calloc(1, sizeof(*walk));
    int r;

    if (!walk) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: what is kept of a delta", cut->what);
    }
    walk->cut = cut;
    walk->size_bytes = size_bytes;
    do {
        cut->end_bytes = walk->offset_bytes;
        walk->offset_bytes = br_align_up(walk->offset_bytes, BR_CUT_ALIGN);
        r = walk_stream(walk, identity, reterr);
    } while (r > 0);
    free(walk);
    return r;
}

// Open, close -------------------------------------------------------------------------------------------------------------------------

// Brings stage.cut to its place. 1 when it is there and of use.
static int cut_find(struct br_dir *dir, const struct br_identity *identity, uint64_t most_bytes)
{
    uint64_t bytes = 0;
    enum cut_use use = cut_use_of(dir, BR_CUT_NAME, identity, &bytes);

    if (use == CUT_NONE) {
        use = cut_use_of(dir, BR_STAGE_NAME, identity, &bytes);
        if (use == CUT_DATA && br_dir_rename(dir, BR_STAGE_NAME, BR_CUT_NAME, NULL) < 0) {
            use = CUT_UNKNOWN;
        }
    } else {
        cut_unlink(dir, BR_STAGE_NAME); // it only listed
    }
    return use == CUT_DATA && bytes <= most_bytes;
}

static int cut_open_index(struct br_cut *cut, const struct br_identity *identity, struct br_err *reterr)
{
    struct br_tree_file_name name = {
        .dir = cut->dir, .stem = CUT_INDEX_STEM, .number = CUT_INDEX, .replica = identity->replica};
    struct br_file_info info;

    int r = br_dir_open(cut->dir, BR_CUT_NAME, BR_OPEN_READ, &cut->file, reterr);
    r = r < 0 ? r : br_file_stat(cut->file, &info, reterr);
    r = r < 0 ? r : br_tree_file_create(cut->ring, &name, NULL, &cut->index_file, reterr);
    if (r < 0) {
        return r;
    }
    br_tree_empty(&cut->geometry, &br_hash_zero, &cut->index);
    r = cut_walk(cut, info.size_bytes, identity, reterr);
    const struct br_tree_store *store = br_tree_file_store(cut->index_file);
    r = r < 0 ? r : br_tree_reader_open(&cut->index, store, &cut->ahead, reterr);
    r = r < 0 ? r : br_tree_reader_open(&cut->index, store, &cut->behind, reterr);
    if (r == 0 && cut->found == 0) {
        r = br_err_set(reterr, BR_E_NOT_FOUND, "%s: nothing of use is kept of a delta", cut->what);
    }
    return r;
}

struct br_cut *br_cut_open(struct br_ring *ring, struct br_dir *dir, const struct br_identity *identity,
                           const struct br_tree_geometry *geometry, const char *what)
{
    uint64_t volume_bytes = BR_MAX(geometry->size_bytes, identity->tree.geometry.size_bytes);
    struct br_cut *cut = NULL;

    if (cut_find(dir, identity, volume_bytes + volume_bytes / 4 + CUT_SLACK_BYTES)) {
        cut = calloc(1, sizeof(*cut));
    }
    if (cut) {
        cut->ring = ring;
        cut->dir = dir;
        cut->what = what;
        cut->geometry = *geometry;
        cut->frame = malloc(BR_STREAM_FRAME_BYTES_MAX);
        if (cut->frame && cut_open_index(cut, identity, NULL) == 0) {
            return cut;
        }
        br_cut_close(cut);
    }
    cut_unlink(dir, BR_STAGE_NAME);
    cut_unlink(dir, BR_CUT_NAME);
    return NULL;
}

void br_cut_close(struct br_cut *cut)
{
    if (!cut) {
        return;
    }
    br_tree_reader_close(cut->ahead);
    br_tree_reader_close(cut->behind);
    br_tree_file_close(cut->index_file);
    br_file_close(cut->file);
    cut_unlink(cut->dir, CUT_INDEX_NAME);
    free(cut->frame);
    free(cut);
}

uint64_t br_cut_end_bytes(const struct br_cut *cut)
{
    return cut->end_bytes;
}

// Frames ------------------------------------------------------------------------------------------------------------------------------

// The whole frame at @place, its checksum right; @frame has room for BR_STREAM_FRAME_BYTES_MAX.
static int frame_load(struct br_file *file, const struct cut_place *place, struct br_tree_geometry *ret_geometry,
                      uint8_t *frame, struct br_batch *ret_batch, struct br_err *reterr)
{
    struct br_stream_head head;

    if (!br_tree_geometry_of(place->size_bytes, ret_geometry)) {
        return br_err_set(reterr, BR_E_CORRUPT, "a kept frame of an impossible volume");
    }
    int r = br_file_read(file, frame, BR_STREAM_HEAD_BYTES, place->offset_bytes, reterr);
    r = r < 0 ? r : br_stream_head_read(frame, &head, reterr);
    r = r < 0 ? r
              : br_file_read(file, frame + BR_STREAM_HEAD_BYTES, br_stream_head_bytes(&head) - BR_STREAM_HEAD_BYTES,
                             place->offset_bytes + BR_STREAM_HEAD_BYTES, reterr);
    r = r < 0 ? r
              : br_stream_frame_read(frame, br_stream_head_bytes(&head), place->chain, ret_geometry, ret_batch, reterr);
    return r == -BR_E_TRUNCATED ? br_err_set(reterr, BR_E_CORRUPT, "a kept frame is not whole") : r;
}

// Leaves the blocks of @mask in @batch, whose data lies at @data, and moves their data together.
static void batch_pick(struct br_batch *batch, uint16_t mask, const struct br_tree_geometry *geometry, uint8_t *data)
{
    size_t from = 0, to = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < batch->block_count; i++) {
        size_t len = br_block_data_bytes(&batch->blocks[i], geometry);
        if (mask >> i & 1) {
            memmove(data + to, data + from, len);
            to += len;
            batch->blocks[count++] = batch->blocks[i];
        }
        from += len;
    }
    batch->block_count = count;
    batch->data = data;
    batch->data_bytes = to;
}

// Where the data of a batch that was read from @frame lies, to be written to.
static uint8_t *frame_data(uint8_t *frame, const struct br_batch *batch)
{
    return frame + (batch->data - frame);
}

int br_cut_resolve(struct br_file *file, const struct br_stream_kept *kept, const struct br_tree_geometry *geometry,
                   uint8_t *frame, struct br_batch *ret_batch, struct br_err *reterr)
{
    struct cut_place place = {kept->offset_bytes, kept->chain, kept->size_bytes};
    struct br_tree_geometry own;

    int r = frame_load(file, &place, &own, frame, ret_batch, reterr);
    if (r < 0) {
        return r;
    }
    bool right =
        br_get_u64(frame + BR_STREAM_AT_CHECKSUM) == kept->checksum && !(kept->blocks >> ret_batch->block_count);
    for (unsigned i = 0; right && i < ret_batch->block_count; i++) {
        right = !(kept->blocks >> i & 1) || cut_same_block(&own, geometry, ret_batch->blocks[i].index);
    }
    if (right) {
        batch_pick(ret_batch, kept->blocks, &own, frame_data(frame, ret_batch));
        right = ret_batch->blocks[0].index == kept->first &&
                ret_batch->blocks[ret_batch->block_count - 1].index == kept->last;
    }
    return right ? 0 : br_err_set(reterr, BR_E_CORRUPT, "a kept frame is not the one that was meant");
}

// Offers ------------------------------------------------------------------------------------------------------------------------------

// What the index says of block @index; ZERO: nothing.
static int cut_look_up(struct br_tree_reader *reader, uint64_t index, struct br_hash *ret_leaf,
                       struct cut_place *ret_place, struct br_err *reterr)
{
    uint64_t where[BR_PAGES_PER_BLOCK];

    int r = br_tree_read(reader, index, 1, ret_leaf, where, reterr);
    *ret_place = (struct cut_place){where[0], where[1], where[2]};
    return r;
}

// Reads the frame at @place, unless it was the last one. Returns how many bytes were read.
static uint64_t cut_frame(struct br_cut *cut, const struct cut_place *place)
{
    struct br_tree_geometry geometry;

    if (place->offset_bytes == cut->frame_offset_bytes) {
        return 0;
    }
    cut->frame_offset_bytes = place->offset_bytes;
    if (frame_load(cut->file, place, &geometry, cut->frame, &cut->frame_batch, NULL) < 0) {
        cut->frame_batch.block_count = 0;
    }
    return BR_STREAM_HEAD_BYTES + cut->frame_batch.data_bytes;
}

static const struct br_batch_block *batch_find(const struct br_batch *batch, uint64_t index)
{
    for (unsigned i = 0; i < batch->block_count; i++) {
        if (batch->blocks[i].index == index) {
            return &batch->blocks[i];
        }
    }
    return NULL;
}

int br_cut_held(struct br_cut *cut, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                struct br_err *reterr)
{
    uint64_t read_bytes = 0;
    unsigned count = 0;

    for (uint64_t index = from; count < most && (!count || read_bytes < CUT_OFFER_BYTES); index++) {
        struct br_hash leaf;
        struct cut_place place;
        int r = br_tree_next_not(cut->ahead, index, &br_hash_zero, &index, reterr);
        if (r == 0 && index >= cut->geometry.block_count) {
            break;
        }
        r = r < 0 ? r : cut_look_up(cut->ahead, index, &leaf, &place, reterr);
        if (r < 0) {
            return r;
        }
        read_bytes += cut_frame(cut, &place);
        const struct br_batch_block *block = batch_find(&cut->frame_batch, index);
        if (block && br_hash_equal(&block->leaf, &leaf)) {
            ret_blocks[count++] = (struct br_held_block){.index = index, .leaf = leaf};
        }
    }
    *ret_count = count;
    return 0;
}

// Taking ------------------------------------------------------------------------------------------------------------------------------

// Which blocks of @batch, of a volume of @own, are the first of @blocks; *ret_count of them.
static uint16_t cut_match(const struct br_cut *cut, const struct br_batch *batch, const struct br_tree_geometry *own,
                          const struct br_held_block *blocks, unsigned count, unsigned *ret_count)
{
    uint16_t mask = 0;
    unsigned found = 0;

    for (unsigned i = 0; i < batch->block_count && found < count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        if (block->index == blocks[found].index && br_hash_equal(&block->leaf, &blocks[found].leaf) &&
            cut_same_block(own, &cut->geometry, block->index)) {
            mask |= (uint16_t)(1u << i);
            found++;
        }
    }
    *ret_count = found;
    return mask;
}

int br_cut_take(struct br_cut *cut, const struct br_held_block *blocks, unsigned count, struct br_cut_piece *ret_piece,
                struct br_err *reterr)
{
    struct br_cut_piece *piece = ret_piece;
    struct br_tree_geometry geometry;
    struct br_hash leaf;
    struct cut_place place;

    int r = cut_look_up(cut->behind, blocks[0].index, &leaf, &place, reterr);
    if (r == 0 && !br_hash_equal(&leaf, &blocks[0].leaf)) {
        r = br_err_at(reterr, BR_E_CORRUPT, blocks[0].index * BR_BLOCK_BYTES,
                      "%s: a block is to be kept that is not held", cut->what);
    }
    if (r < 0) {
        return r;
    }
    uint8_t *frame = malloc(BR_STREAM_FRAME_BYTES_MAX);
    if (!frame) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: keeping blocks of a delta that was cut", cut->what);
    }
    r = frame_load(cut->file, &place, &geometry, frame, &piece->batch, reterr);
    uint16_t mask = r < 0 ? 0 : cut_match(cut, &piece->batch, &geometry, blocks, count, &piece->count);
    if (r == 0 && !mask) {
        r = br_err_set(reterr, BR_E_CORRUPT, "a kept frame holds other blocks");
    }
    if (r < 0) {
        free(frame);
        return br_err_prefix(reterr, "%s", cut->what);
    }
    batch_pick(&piece->batch, mask, &geometry, frame_data(frame, &piece->batch));
    piece->kept = (struct br_stream_kept){
        .offset_bytes = place.offset_bytes,
        .chain = place.chain,
        .checksum = br_get_u64(frame + BR_STREAM_AT_CHECKSUM),
        .size_bytes = place.size_bytes,
        .first = piece->batch.blocks[0].index,
        .last = piece->batch.blocks[piece->batch.block_count - 1].index,
        .blocks = mask,
    };
    piece->bytes = frame;
    cut->taken += piece->count;
    return 0;
}

bool br_cut_wasted(struct br_cut *cut, uint64_t taken)
{
    uint64_t all = 0, before = 0;

    for (uint64_t index = 0;; index++) {
        if (br_tree_next_not(cut->ahead, index, &br_hash_zero, &index, NULL) < 0) {
            return true; // what can't be read can't be used
        }
        if (index >= cut->geometry.block_count) {
            break;
        }
        all++;
        before += index < taken;
    }
    return cut->found > all || before > cut->taken;
}
