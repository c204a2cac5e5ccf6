// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/dump_tree.h"
#include "engine/codec/identity.h"
#include "engine/codec/stream.h"

#define DUMP_MAGIC_BYTES 14u // enough to tell the kinds apart

enum dump_kind {
    DUMP_UNKNOWN,
    DUMP_STREAM,
    DUMP_IDENTITY,
    DUMP_TREE,
};

struct br_dump {
    br_dump_line_fn *line;
    void *ctx;
    bool blocks;
    enum dump_kind kind;
    int stopped; // what line() returned
    struct br_buf start;
    struct br_stream_decoder *decoder;
    struct br_dump_tree *tree;
};

static void say(struct br_dump *dump, const char *fmt, ...) BR_PRINTF(2, 3);
static void say(struct br_dump *dump, const char *fmt, ...)
{
    char line[2048];
    va_list args;

    if (!dump->stopped) {
        va_start(args, fmt);
        vsnprintf(line, sizeof(line), fmt, args);
        va_end(args);
        dump->stopped = dump->line(dump->ctx, line);
    }
}

static void say_uuid(struct br_dump *dump, const char *name, const struct br_uuid *uuid)
{
    char text[BR_UUID_TEXT_BYTES];

    br_uuid_text(uuid, text);
    say(dump, "  %s %s", name, text);
}

static void say_hash(struct br_dump *dump, const char *name, const struct br_hash *hash)
{
    char text[2 * BR_HASH_BYTES + 1];

    br_hash_text(hash, text);
    say(dump, "  %s %s", name, text);
}

static void say_time(struct br_dump *dump, const char *name, uint64_t unix_ns)
{
    char text[64];

    br_time_text(unix_ns, text, sizeof(text));
    say(dump, "  %s %s", name, unix_ns ? text : "never");
}

static void say_label(struct br_dump *dump, const char *name, const char *label)
{
    char text[4 * BR_LABEL_BYTES + 8];

    br_quote(label, text, sizeof(text));
    say(dump, "  %s %s", name, text);
}

static void say_generation(struct br_dump *dump, const char *name, const struct br_generation *generation)
{
    char id[BR_UUID_TEXT_BYTES], parent[BR_UUID_TEXT_BYTES];

    br_uuid_text(&generation->id, id);
    br_uuid_text(&generation->parent_id, parent);
    say(dump, "  %s %" PRIu64 " id %s parent %s", name, generation->counter, id,
        br_uuid_is_nil(&generation->parent_id) ? "none" : parent);
}

static void dump_header(struct br_dump *dump, const struct br_delta_header *header)
{
    say_uuid(dump, "stream", &header->stream_id);
    say_uuid(dump, "volume", &header->volume);
    say_generation(dump, "generation", &header->generation);
    say(dump, "  size %" PRIu64 " bytes, sectors of %" PRIu32 ", hash SHA-256, consistency %s", header->size_bytes,
        header->sector_bytes, br_consistency_name(header->consistency));
    if (header->full) {
        say(dump, "  full");
    } else {
        say_hash(dump, "parent root", &header->parent_root);
        say(dump, "  parent size %" PRIu64 " bytes", header->parent_size_bytes);
    }
    say_time(dump, "taken", header->taken_unix_ns);
    say_label(dump, "label", header->label);
}

static void dump_batch(struct br_dump *dump, const struct br_batch *batch)
{
    char leaf[2 * BR_HASH_BYTES + 1];

    for (unsigned i = 0; dump->blocks && i < batch->block_count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        br_hash_text(&block->leaf, leaf);
        say(dump, "  block %" PRIu64 " pages %04x zeros %04x leaf %s", block->index, block->pages, block->zeros, leaf);
    }
}

static const char *run_name(enum br_run_kind kind)
{
    switch (kind) {
    case BR_RUN_ZERO: return "zero";
    case BR_RUN_DISCARD: return "discard";
    case BR_RUN_UNREADABLE: return "unreadable";
    }
    return "unknown";
}

static void dump_end(struct br_dump *dump, const struct br_delta_end *end)
{
    say_hash(dump, "root", &end->root);
    say(dump, "  data %" PRIu64 " bytes, zeros %" PRIu64 " bytes, unreadable %" PRIu64 " blocks, %" PRIu64 " records",
        end->data_bytes, end->zero_bytes, end->unreadable_blocks, end->records);
}

static void dump_record(struct br_dump *dump, const struct br_stream_record *record)
{
    char at[64];

    snprintf(at, sizeof(at), "%" PRIu64 " at %" PRIu64, record->sequence, record->offset_bytes);
    switch (record->type) {
    case BR_STREAM_HEADER:
        say(dump, "frame %s: header", at);
        dump_header(dump, &record->header);
        break;
    case BR_STREAM_RESIZE:
        say(dump, "frame %s: resize from %" PRIu64 " to %" PRIu64 " bytes", at, record->resize.from_bytes,
            record->resize.to_bytes);
        break;
    case BR_STREAM_DATA:
        say(dump, "frame %s: data, %u blocks %" PRIu64 "..%" PRIu64 ", %zu bytes%s", at, record->batch.block_count,
            record->batch.blocks[0].index, record->batch.blocks[record->batch.block_count - 1].index,
            record->batch.data_bytes, record->compressed ? ", compressed" : "");
        dump_batch(dump, &record->batch);
        break;
    case BR_STREAM_RUN:
        say(dump, "frame %s: %s, %" PRIu64 " blocks from %" PRIu64, at, run_name(record->run.kind), record->run.count,
            record->run.first);
        break;
    case BR_STREAM_NOTE: {
        char text[4 * BR_STREAM_NOTE_BYTES_MAX / 3];
        br_quote(record->note, text, sizeof(text));
        say(dump, "frame %s: note %s", at, text);
        break;
    }
    case BR_STREAM_KEPT:
        say(dump, "frame %s: kept, %d blocks %" PRIu64 "..%" PRIu64 " of the frame at %" PRIu64 " of stage.cut", at,
            __builtin_popcount(record->kept.blocks), record->kept.first, record->kept.last, record->kept.offset_bytes);
        break;
    case BR_STREAM_END:
        say(dump, "frame %s: end", at);
        dump_end(dump, &record->end);
        break;
    }
}

static int dump_stream(struct br_dump *dump, const uint8_t *bytes, size_t len, struct br_err *reterr)
{
    struct br_stream_record record;
    int rc = 0;

    while (!dump->stopped && (rc = br_stream_decoder_next(dump->decoder, &bytes, &len, &record, reterr)) > 0) {
        dump_record(dump, &record);
    }
    return dump->stopped ? dump->stopped : rc;
}

static void say_tree(struct br_dump *dump, const char *name, const struct br_tree *tree)
{
    char hash[2 * BR_HASH_BYTES + 1];

    br_hash_text(&tree->top.hash, hash);
    say(dump, "  %s of %" PRIu64 " bytes, top %s at %" PRIu64, name, tree->geometry.size_bytes, hash, tree->top.ref);
}

static void dump_identity(struct br_dump *dump, const struct br_identity *id)
{
    say_uuid(dump, "volume", &id->volume);
    say_uuid(dump, "replica", &id->replica);
    say_generation(dump, "generation", &id->generation);
    say_generation(dump, "previous", &id->previous);
    say_hash(dump, "root", &id->root);
    say_tree(dump, "tree", &id->tree);
    if (id->state == BR_STATE_APPLYING) {
        say_tree(dump, "parent tree", &id->previous_tree);
        say(dump, "  stage of %" PRIu64 " bytes", id->stage_bytes);
        say_uuid(dump, "stage", &id->stage_id);
    }
    say(dump, "  tree file %" PRIu64 ", %" PRIu64 " bytes", id->tree_file, id->tree_bytes);
    say(dump, "  sectors of %" PRIu32 ", hash SHA-256, consistency %s", id->sector_bytes,
        br_consistency_name(id->consistency));
    if (id->state == BR_STATE_INCOMPLETE) {
        say(dump, "  unknown bytes %" PRIu64 "..%" PRIu64, id->window_start_bytes, id->window_end_bytes);
    }
    if (id->evidence.valid) {
        say(dump, "  evidence size %" PRIu64 " device %" PRIu64 " inode %" PRIu64 " mtime %" PRIu64 " ctime %" PRIu64,
            id->evidence.size_bytes, id->evidence.device, id->evidence.inode, id->evidence.mtime_ns,
            id->evidence.ctime_ns);
    }
    say_time(dump, "taken", id->taken_unix_ns);
    say_time(dump, "finished", id->finished_unix_ns);
    say_time(dump, "full proof", id->full_proof_unix_ns);
    say_time(dump, "recheck round", id->recheck_round_unix_ns);
    say(dump, "  recheck goes on at block %" PRIu64, id->recheck_next_block);
    say(dump, "  unreadable %" PRIu64 " blocks", id->unreadable_blocks);
    say_label(dump, "label", id->label);
}

// Both slots; damaged only when none is good.
static int dump_slots(struct br_dump *dump, struct br_err *reterr)
{
    struct br_identity ids[2] = {{0}};
    struct br_err errs[2] = {{0}};
    int rcs[2];

    for (int i = 0; i < 2; i++) {
        rcs[i] = br_identity_decode(dump->start.data + (size_t)i * BR_IDENTITY_SLOT_BYTES, &ids[i], &errs[i]);
    }
    for (int i = 0; i < 2; i++) {
        bool newer = rcs[i] == 0 && (rcs[!i] < 0 || ids[i].sequence > ids[!i].sequence);
        if (rcs[i] == 0) {
            say(dump, "slot %d: sequence %" PRIu64 ", %s%s", i, ids[i].sequence, br_replica_state_name(ids[i].state),
                newer ? ", this one counts" : "");
            dump_identity(dump, &ids[i]);
        } else {
            say(dump, "slot %d: %s", i, errs[i].text);
        }
    }
    if (dump->stopped) {
        return dump->stopped;
    }
    if (rcs[0] < 0 && rcs[1] < 0) {
        int bad = rcs[0] == -BR_E_NOT_FOUND ? 1 : 0;
        if (reterr) {
            *reterr = errs[bad];
        }
        return rcs[bad];
    }
    return 0;
}

int br_dump_open(br_dump_line_fn *line, void *ctx, bool blocks, struct br_dump **ret_dump, struct br_err *reterr)
{
    struct br_dump *dump = calloc(1, sizeof(*dump));

    if (!dump) {
        return br_err_set(reterr, BR_E_NOMEM, "beginning a dump");
    }
    dump->line = line;
    dump->ctx = ctx;
    dump->blocks = blocks;
    *ret_dump = dump;
    return 0;
}

void br_dump_close(struct br_dump *dump)
{
    if (dump) {
        br_stream_decoder_close(dump->decoder);
        br_dump_tree_close(dump->tree);
        br_buf_free(&dump->start);
        free(dump);
    }
}

// Decides by the first bytes. An identity file may begin with a slot that was never written.
static int find_kind(struct br_dump *dump, struct br_err *reterr)
{
    const uint8_t *bytes = dump->start.data;
    size_t len = dump->start.len;
    size_t zeros = BR_MIN(len, (size_t)BR_IDENTITY_SLOT_BYTES);

    bool staged = len >= DUMP_MAGIC_BYTES && !memcmp(bytes, BR_STREAM_STAGED_PREAMBLE, DUMP_MAGIC_BYTES);
    if (staged || (len >= DUMP_MAGIC_BYTES && !memcmp(bytes, BR_STREAM_PREAMBLE, DUMP_MAGIC_BYTES))) {
        int rc = br_stream_decoder_open(&dump->decoder, reterr);
        if (rc < 0) {
            return rc;
        }
        br_stream_decoder_allow_staged(dump->decoder);
        dump->kind = DUMP_STREAM;
        say(dump, staged ? "staged delta" : "delta stream");
        return dump_stream(dump, bytes, len, reterr);
    }
    if (len >= 8 && !memcmp(bytes, BR_DUMP_TREE_MAGIC, 8)) {
        int rc = br_dump_tree_open(dump->line, dump->ctx, &dump->tree, reterr);
        if (rc < 0) {
            return rc;
        }
        dump->kind = DUMP_TREE;
        return br_dump_tree_bytes(dump->tree, bytes, len, reterr);
    }
    if (len >= 8 && (!memcmp(bytes, "blkrepID", 8) || br_is_zero(bytes, zeros))) {
        dump->kind = DUMP_IDENTITY;
        say(dump, "identity");
        return dump->stopped;
    }
    return br_err_at(reterr, BR_E_CORRUPT, 0, "not a format of blkrep");
}

int br_dump_bytes(struct br_dump *dump, const void *bytes, size_t len, struct br_err *reterr)
{
    if (dump->stopped) {
        return dump->stopped;
    }
    if (dump->kind == DUMP_STREAM) {
        return dump_stream(dump, bytes, len, reterr);
    }
    if (dump->kind == DUMP_TREE) {
        return br_dump_tree_bytes(dump->tree, bytes, len, reterr);
    }
    if (dump->kind == DUMP_IDENTITY && len > 2 * BR_IDENTITY_SLOT_BYTES - dump->start.len) {
        return br_err_at(reterr, BR_E_CORRUPT, 2 * BR_IDENTITY_SLOT_BYTES, "an identity file of more than two slots");
    }
    br_buf_append(&dump->start, bytes, len);
    if (br_buf_failed(&dump->start)) {
        return br_err_set(reterr, BR_E_NOMEM, "reading the beginning of a file");
    }
    if (dump->kind == DUMP_UNKNOWN && dump->start.len >= DUMP_MAGIC_BYTES) {
        int rc = find_kind(dump, reterr);
        if (rc == 0 && dump->kind == DUMP_IDENTITY && dump->start.len > 2 * BR_IDENTITY_SLOT_BYTES) {
            rc = br_err_at(reterr, BR_E_CORRUPT, 2 * BR_IDENTITY_SLOT_BYTES, "an identity file of more than two slots");
        }
        return rc;
    }
    return 0;
}

int br_dump_finish(struct br_dump *dump, struct br_err *reterr)
{
    if (dump->stopped) {
        return dump->stopped;
    }
    switch (dump->kind) {
    case DUMP_STREAM: return br_stream_decoder_finish(dump->decoder, reterr);
    case DUMP_TREE: return br_dump_tree_finish(dump->tree, reterr);
    case DUMP_IDENTITY:
        if (dump->start.len < 2 * BR_IDENTITY_SLOT_BYTES) {
            return br_err_at(reterr, BR_E_TRUNCATED, dump->start.len, "an identity file of less than two slots");
        }
        return dump_slots(dump, reterr);
    default: return br_err_at(reterr, BR_E_CORRUPT, 0, "not a format of blkrep");
    }
}
