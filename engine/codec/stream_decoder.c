// SPDX-License-Identifier: Apache-2.0
//
// Reading a stream. Bytes come in pieces of any size; a frame that lies whole in one piece is read where it is, any other is collected
// first. Nothing of a frame but its sizes is believed before its checksum was seen to be right.
#include "engine/codec/stream.h"

#include "engine/codec/pack.h"
#include "engine/codec/stream_sums.h"

#include <assert.h>
#include <inttypes.h>

struct br_stream_decoder {
    struct br_buf pending; // the beginning of a frame (or of the preamble)
    bool pending_given;    // its frame was given to the caller; dropped by the next call
    uint8_t *raw;          // decompressed body
    void *unpack_to;       // the caller's, instead of raw
    struct br_unpacker *unpacker;

    uint64_t offset_bytes; // of the next frame
    uint64_t taken_bytes;  // by br_stream_decoder_next()
    uint64_t sequence;     // that the next frame must have; 0: HEADER
    uint64_t chain;
    uint8_t digest[16];
    uint64_t skipped;

    bool staged_allowed;
    bool staged;
    bool preamble_seen;
    bool resize_due;
    bool ended;
    struct br_delta_header header;
    struct br_tree_geometry geometry;
    uint64_t next_block;
    struct br_delta_end counts;

    struct br_err failed; // code 0: not
};

// A frame whose sizes are within bounds.
struct frame {
    struct br_stream_head is;
    const uint8_t *head;
    const uint8_t *table;
    const uint8_t *body;
    bool in_place;
};

static size_t frame_len(const struct frame *frame)
{
    return br_stream_head_bytes(&frame->is);
}

int br_stream_decoder_open(struct br_stream_decoder **ret_decoder, struct br_err *reterr)
{
    struct br_stream_decoder *decoder = calloc(1, sizeof(*decoder));

    if (!decoder) {
        return br_err_set(reterr, BR_E_NOMEM, "making a stream decoder");
    }
    *ret_decoder = decoder;
    return 0;
}

void br_stream_decoder_close(struct br_stream_decoder *decoder)
{
    if (decoder) {
        br_buf_free(&decoder->pending);
        br_unpacker_close(decoder->unpacker);
        free(decoder->raw);
        free(decoder);
    }
}

void br_stream_decoder_allow_staged(struct br_stream_decoder *decoder)
{
    assert(!decoder->preamble_seen);
    decoder->staged_allowed = true;
}

void br_stream_decoder_unpack_to(struct br_stream_decoder *decoder, void *buffer)
{
    decoder->unpack_to = buffer;
}

const struct br_delta_header *br_stream_decoder_header(const struct br_stream_decoder *decoder)
{
    return decoder->sequence ? &decoder->header : NULL;
}

uint64_t br_stream_decoder_offset(const struct br_stream_decoder *decoder)
{
    return decoder->taken_bytes;
}

uint64_t br_stream_decoder_skipped(const struct br_stream_decoder *decoder)
{
    return decoder->skipped;
}

uint64_t br_stream_decoder_chain(const struct br_stream_decoder *decoder)
{
    return decoder->chain;
}

// Keeps the failure for every later call.
static int fail(struct br_stream_decoder *decoder, const struct br_err *err, struct br_err *reterr)
{
    decoder->failed = *err;
    decoder->failed.has_offset = true;
    decoder->failed.offset_bytes = decoder->offset_bytes;
    if (reterr) {
        *reterr = decoder->failed;
    }
    return -err->code;
}

static int read_preamble(struct br_stream_decoder *decoder, const uint8_t *bytes, struct br_err *reterr)
{
    const size_t name_len = strlen("blkrep stream ");

    assert(bytes); // collected before
    decoder->staged = !memcmp(bytes, BR_STREAM_STAGED_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
    if (decoder->staged && !decoder->staged_allowed) {
        return br_err_set(reterr, BR_E_CORRUPT, "no stream, but what a replica staged for its own use");
    }
    if (decoder->staged || !memcmp(bytes, BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES)) {
        decoder->preamble_seen = true;
        decoder->offset_bytes = BR_STREAM_PREAMBLE_BYTES;
        decoder->chain = decoder->staged ? br_stream_sum_start_staged() : br_stream_sum_start();
        return 0;
    }
    if (!memcmp(bytes, BR_STREAM_PREAMBLE, name_len) && bytes[name_len] >= '0' && bytes[name_len] <= '9') {
        int digits = bytes[name_len + 1] >= '0' && bytes[name_len + 1] <= '9' ? 2 : 1;
        return br_err_set(reterr, BR_E_VERSION, "a stream of version %.*s; this program knows version %u", digits,
                          (const char *)bytes + name_len, BR_STREAM_VERSION);
    }
    return br_err_set(reterr, BR_E_CORRUPT, "not a blkrep stream");
}

// Checksum, then place: what is damaged is told apart from what is moved.
static int check_place(struct br_stream_decoder *decoder, const struct frame *f, struct br_err *reterr)
{
    uint64_t payload = br_stream_sum_payload(f->table, f->is.table_bytes, f->body, f->is.body_bytes);
    uint64_t sequence = f->is.sequence;
    uint64_t sum = br_stream_sum_frame(f->head, payload, decoder->chain);

    if (sequence != decoder->sequence) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "frame %" PRIu64 " where frame %" PRIu64 " is due (damaged, left out, moved or repeated)",
                          sequence, decoder->sequence);
    }
    if (sum != f->is.checksum) {
        return br_err_set(reterr, BR_E_CORRUPT, "frame %" PRIu64 " is damaged or of another stream", sequence);
    }
    return 0;
}

static int read_header(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                       struct br_err *reterr)
{
    struct br_delta_header *h = &record->header;
    struct br_reader r = br_reader_init(f->table, f->is.table_bytes);

    memset(h, 0, sizeof(*h));
    br_reader_copy(&r, h->stream_id.bytes, 16);
    br_reader_copy(&r, h->volume.bytes, 16);
    h->generation.counter = br_reader_u64(&r);
    br_reader_copy(&r, h->generation.id.bytes, 16);
    br_reader_copy(&r, h->generation.parent_id.bytes, 16);
    br_reader_copy(&r, h->parent_root.bytes, BR_HASH_BYTES);
    h->parent_size_bytes = br_reader_u64(&r);
    h->size_bytes = br_reader_u64(&r);
    h->sector_bytes = br_reader_u32(&r);
    h->hash_id = br_reader_u8(&r);
    h->consistency = br_reader_u8(&r);
    uint8_t full = br_reader_u8(&r);
    uint8_t zero = br_reader_u8(&r);
    uint32_t block_bytes = br_reader_u32(&r);
    uint32_t page_bytes = br_reader_u32(&r);
    h->taken_unix_ns = br_reader_u64(&r);
    br_reader_string(&r, h->label, sizeof(h->label));
    if (!br_reader_done(&r) || full > 1 || zero) {
        return br_err_set(reterr, BR_E_CORRUPT, "a HEADER that is not as the format says");
    }
    if (block_bytes != BR_BLOCK_BYTES || page_bytes != BR_PAGE_BYTES) {
        return br_err_set(reterr, BR_E_VERSION, "blocks of %u and pages of %u bytes; this program knows %u and %u",
                          block_bytes, page_bytes, BR_BLOCK_BYTES, BR_PAGE_BYTES);
    }
    h->full = full;
    int rc = br_delta_header_check(h, reterr);
    if (rc < 0) {
        return rc;
    }
    if (!br_tree_geometry_of(h->size_bytes, &decoder->geometry)) {
        return br_err_set(reterr, BR_E_CORRUPT, "a volume of an impossible size");
    }
    decoder->header = *h;
    decoder->resize_due = !h->full && h->parent_size_bytes != h->size_bytes;
    return 0;
}

static int read_resize(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                       struct br_err *reterr)
{
    struct br_reader r = br_reader_init(f->table, f->is.table_bytes);

    record->resize.from_bytes = br_reader_u64(&r);
    record->resize.to_bytes = br_reader_u64(&r);
    if (!br_reader_done(&r) || !decoder->resize_due || record->resize.from_bytes != decoder->header.parent_size_bytes ||
        record->resize.to_bytes != decoder->header.size_bytes) {
        return br_err_set(reterr, BR_E_CORRUPT, "a RESIZE that the HEADER does not call for");
    }
    decoder->resize_due = false;
    return 0;
}

// Blocks [first, end) are next.
static int take_blocks(struct br_stream_decoder *decoder, uint64_t first, uint64_t end, struct br_err *reterr)
{
    if (decoder->resize_due) {
        return br_err_set(reterr, BR_E_CORRUPT, "blocks before the RESIZE that the HEADER calls for");
    }
    if (first < decoder->next_block) {
        return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " comes when block %" PRIu64 " or later is due", first,
                          decoder->next_block);
    }
    decoder->next_block = end;
    return 0;
}

static int unpack(struct br_stream_decoder *decoder, const struct frame *f, const uint8_t **ret_data,
                  struct br_err *reterr)
{
    uint8_t *to = decoder->unpack_to;

    if (!to) {
        to = decoder->raw = decoder->raw ? decoder->raw : malloc(BR_BATCH_DATA_MAX);
    }
    if (!to) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a compressed frame");
    }
    if (!decoder->unpacker) {
        int rc = br_unpacker_open(&decoder->unpacker, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    *ret_data = to;
    return br_unpack(decoder->unpacker, f->body, f->is.body_bytes, to, f->is.raw_bytes, reterr);
}

static int read_data(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                     struct br_err *reterr)
{
    struct br_batch *batch = &record->batch;

    int rc = br_stream_blocks_read(&f->is, f->table, &decoder->geometry, batch, reterr);
    batch->data = f->body;
    if (rc == 0) {
        rc = take_blocks(decoder, batch->blocks[0].index, batch->blocks[batch->block_count - 1].index + 1, reterr);
    }
    if (rc == 0 && (f->is.flags & BR_STREAM_FLAG_ZSTD)) {
        rc = unpack(decoder, f, &batch->data, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    record->compressed = f->is.flags & BR_STREAM_FLAG_ZSTD;
    record->in_place = f->in_place && !record->compressed;
    br_delta_count_batch(&decoder->counts, batch, &decoder->geometry);
    return 0;
}

static int read_run(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                    struct br_err *reterr)
{
    struct br_reader r = br_reader_init(f->table, f->is.table_bytes);
    uint32_t kind = br_reader_u32(&r);
    uint32_t zero = br_reader_u32(&r);

    record->run.first = br_reader_u64(&r);
    record->run.count = br_reader_u64(&r);
    if (!br_reader_done(&r) || zero) {
        return br_err_set(reterr, BR_E_CORRUPT, "a RUN that is not as the format says");
    }
    record->run.kind = (enum br_run_kind)kind;
    int rc = br_run_check(&record->run, &decoder->geometry, reterr);
    if (rc == 0) {
        rc = take_blocks(decoder, record->run.first, record->run.first + record->run.count, reterr);
    }
    if (rc == 0) {
        br_delta_count_run(&decoder->counts, &record->run, &decoder->geometry);
    }
    return rc;
}

static int read_note(const struct frame *f, struct br_stream_record *record, struct br_err *reterr)
{
    if (f->is.table_bytes > BR_STREAM_NOTE_BYTES_MAX || memchr(f->table, 0, f->is.table_bytes)) {
        return br_err_set(reterr, BR_E_CORRUPT, "a NOTE that is not as the format says");
    }
    memcpy(record->note, f->table, f->is.table_bytes);
    record->note[f->is.table_bytes] = 0;
    return 0;
}

static int read_kept(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                     struct br_err *reterr)
{
    struct br_stream_kept *kept = &record->kept;
    struct br_reader r = br_reader_init(f->table, f->is.table_bytes);

    kept->offset_bytes = br_reader_u64(&r);
    kept->chain = br_reader_u64(&r);
    kept->checksum = br_reader_u64(&r);
    kept->size_bytes = br_reader_u64(&r);
    kept->first = br_reader_u64(&r);
    kept->last = br_reader_u64(&r);
    kept->blocks = br_reader_u16(&r);
    uint64_t zero = br_reader_u16(&r) | br_reader_u32(&r);
    if (!br_reader_done(&r) || zero || !kept->blocks || kept->first > kept->last ||
        kept->last >= decoder->geometry.block_count || kept->size_bytes > BR_VOLUME_BYTES_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "a KEPT that is not as the format says");
    }
    return take_blocks(decoder, kept->first, kept->last + 1, reterr);
}

static int read_end(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                    struct br_err *reterr)
{
    struct br_delta_end *end = &record->end;
    struct br_reader r = br_reader_init(f->table, f->is.table_bytes);
    uint8_t digest[16];

    br_reader_copy(&r, end->root.bytes, BR_HASH_BYTES);
    end->data_bytes = br_reader_u64(&r);
    end->zero_bytes = br_reader_u64(&r);
    end->unreadable_blocks = br_reader_u64(&r);
    end->records = br_reader_u64(&r);
    uint64_t frames = br_reader_u64(&r);
    br_reader_copy(&r, digest, sizeof(digest));
    if (!br_reader_done(&r) || decoder->resize_due) {
        return br_err_set(reterr, BR_E_CORRUPT, "an END that is not as the format says");
    }
    if (frames != decoder->sequence || memcmp(digest, decoder->digest, sizeof(digest)) ||
        !br_delta_counts_equal(end, &decoder->counts)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the END counts other records than came");
    }
    decoder->ended = true;
    return 0;
}

static bool is_known(const struct br_stream_decoder *decoder, uint8_t type)
{
    return type >= BR_STREAM_HEADER && type <= (decoder->staged ? BR_STREAM_KEPT : BR_STREAM_END);
}

// Returns 1 when @record was filled, 0 when the frame was passed over.
static int read_record(struct br_stream_decoder *decoder, const struct frame *f, struct br_stream_record *record,
                       struct br_err *reterr)
{
    int rc;

    if (f->is.flags & ~(BR_STREAM_FLAG_IGNORABLE | BR_STREAM_FLAG_ZSTD)) {
        return br_err_set(reterr, BR_E_VERSION, "a frame with unknown flags 0x%02x", f->is.flags);
    }
    if ((f->is.type == BR_STREAM_HEADER) != !decoder->sequence) {
        return br_err_set(reterr, BR_E_CORRUPT, decoder->sequence ? "a second HEADER" : "a stream without a HEADER");
    }
    if (is_known(decoder, f->is.type) && f->is.type != BR_STREAM_DATA && f->is.body_bytes) {
        return br_err_set(reterr, BR_E_CORRUPT, "a record of type %u with a body", f->is.type);
    }
    switch (is_known(decoder, f->is.type) ? f->is.type : 0) {
    case BR_STREAM_HEADER: rc = read_header(decoder, f, record, reterr); break;
    case BR_STREAM_RESIZE: rc = read_resize(decoder, f, record, reterr); break;
    case BR_STREAM_DATA: rc = read_data(decoder, f, record, reterr); break;
    case BR_STREAM_RUN: rc = read_run(decoder, f, record, reterr); break;
    case BR_STREAM_NOTE: rc = read_note(f, record, reterr); break;
    case BR_STREAM_END: rc = read_end(decoder, f, record, reterr); break;
    case BR_STREAM_KEPT: rc = read_kept(decoder, f, record, reterr); break;
    default:
        if (!(f->is.flags & BR_STREAM_FLAG_IGNORABLE)) {
            return br_err_set(reterr, BR_E_VERSION, "a record of type %u, which must be understood", f->is.type);
        }
        decoder->skipped++;
        return 0;
    }
    return rc < 0 ? rc : 1;
}

// A whole frame is at hand.
static int read_frame(struct br_stream_decoder *decoder, struct frame *f, struct br_stream_record *record,
                      struct br_err *reterr)
{
    f->table = f->head + BR_STREAM_HEAD_BYTES;
    f->body = f->table + f->is.table_bytes;
    int rc = check_place(decoder, f, reterr);
    if (rc < 0) {
        return rc;
    }
    record->type = (enum br_stream_type)f->is.type;
    record->sequence = decoder->sequence;
    record->offset_bytes = decoder->offset_bytes;
    record->frame_bytes = frame_len(f);
    record->compressed = record->in_place = false;
    rc = read_record(decoder, f, record, reterr);
    if (rc >= 0) {
        decoder->sequence++;
        decoder->chain = f->is.checksum;
        br_stream_sum_digest(decoder->digest, f->head);
        decoder->offset_bytes += frame_len(f);
    }
    return rc;
}

// Collects until pending holds @want bytes; false when the input ends before.
static bool collect(struct br_stream_decoder *decoder, size_t want, const uint8_t **bytes, size_t *len)
{
    size_t more = BR_MIN(want - decoder->pending.len, *len);

    br_buf_append(&decoder->pending, *bytes, more);
    *bytes += more;
    *len -= more;
    decoder->taken_bytes += more;
    return decoder->pending.len == want && !br_buf_failed(&decoder->pending);
}

// Gives 1 when a whole frame (or the preamble: head NULL) is at hand, 0 when more bytes are needed.
static int next_frame(struct br_stream_decoder *decoder, const uint8_t **bytes, size_t *len, struct frame *f,
                      struct br_err *reterr)
{
    struct br_buf *pending = &decoder->pending;
    size_t head_len = decoder->preamble_seen ? BR_STREAM_HEAD_BYTES : BR_STREAM_PREAMBLE_BYTES;

    if (decoder->preamble_seen && !pending->len && *len >= BR_STREAM_HEAD_BYTES) {
        int rc = br_stream_head_read(*bytes, &f->is, reterr);
        if (rc < 0) {
            return rc;
        }
        f->head = *bytes;
        if (*len >= frame_len(f)) {
            f->in_place = true;
            *bytes += frame_len(f);
            *len -= frame_len(f);
            decoder->taken_bytes += frame_len(f);
            return 1;
        }
    }
    if (pending->len < head_len && !collect(decoder, head_len, bytes, len)) {
        return 0;
    }
    if (!decoder->preamble_seen) {
        f->head = NULL;
        return 1;
    }
    int rc = br_stream_head_read(pending->data, &f->is, reterr);
    if (rc < 0) {
        return rc;
    }
    if (pending->len < frame_len(f)) {
        br_buf_reserve(pending, frame_len(f) - pending->len);
        if (!collect(decoder, frame_len(f), bytes, len)) {
            return 0;
        }
    }
    f->head = pending->data;
    decoder->pending_given = true;
    return 1;
}

int br_stream_decoder_next(struct br_stream_decoder *decoder, const uint8_t **bytes, size_t *len,
                           struct br_stream_record *ret_record, struct br_err *reterr)
{
    struct br_err err = {0};

    if (decoder->failed.code) {
        return fail(decoder, &decoder->failed, reterr);
    }
    for (;;) {
        struct frame f = {0};
        if (decoder->pending_given) {
            br_buf_reset(&decoder->pending);
            decoder->pending_given = false;
        }
        if (decoder->ended) {
            if (!*len) {
                return 0;
            }
            br_err_set(&err, BR_E_CORRUPT, "bytes behind the END");
            return fail(decoder, &err, reterr);
        }
        int rc = next_frame(decoder, bytes, len, &f, &err);
        if (br_buf_failed(&decoder->pending)) {
            rc = br_err_set(&err, BR_E_NOMEM, "collecting a frame");
        }
        if (rc == 0) {
            return 0;
        }
        if (rc > 0 && !f.head) {
            rc = read_preamble(decoder, decoder->pending.data, &err);
            br_buf_reset(&decoder->pending);
        } else if (rc > 0) {
            rc = read_frame(decoder, &f, ret_record, &err);
        }
        if (rc < 0) {
            return fail(decoder, &err, reterr);
        }
        if (rc > 0) {
            return 1;
        }
    }
}

int br_stream_decoder_finish(const struct br_stream_decoder *decoder, struct br_err *reterr)
{
    if (decoder->failed.code) {
        if (reterr) {
            *reterr = decoder->failed;
        }
        return -decoder->failed.code;
    }
    if (!decoder->ended) {
        return br_err_at(reterr, BR_E_TRUNCATED, decoder->taken_bytes, "the stream has no END");
    }
    return 0;
}
