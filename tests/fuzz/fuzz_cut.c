// SPDX-License-Identifier: Apache-2.0
//
// A hostile stage.cut. The input is its bytes behind one that says (bit 7) whether the frames' checksums are made right first, in every stream
// of it, so that the search gets behind them, and (bit 0) whether the result has another size. What is offered must be in order and be
// given when it is asked for, and what is given must hold the promises of a batch: the replica works with it before the leaves are proven.
#include "engine/codec/stream_sums.h"
#include "engine/replica/cut.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

#define OFFERS 7u

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static bool begins_here(const uint8_t *bytes, size_t len, size_t at)
{
    return at + BR_STREAM_PREAMBLE_BYTES <= len && !memcmp(bytes + at, BR_STREAM_PREAMBLE, 14);
}

// Right sums and sequences for the frames of every stream.
static void seal(uint8_t *bytes, size_t len)
{
    for (size_t at = 0; begins_here(bytes, len, at); at = br_align_up(at, BR_CUT_ALIGN)) {
        uint64_t chain = br_stream_sum_start(), sequence = 0;
        memcpy(bytes + at, BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
        at += BR_STREAM_PREAMBLE_BYTES;
        while (at + BR_STREAM_HEAD_BYTES <= len) {
            uint8_t *head = bytes + at, *table = head + BR_STREAM_HEAD_BYTES;
            size_t table_len = br_get_u16(head + BR_STREAM_AT_TABLE_BYTES);
            size_t body_len = br_get_u32(head + BR_STREAM_AT_BODY_BYTES);
            if (memcmp(head, BR_STREAM_MAGIC, 4) || table_len + body_len > len - at - BR_STREAM_HEAD_BYTES) {
                break;
            }
            br_put_u64(head + BR_STREAM_AT_SEQUENCE, sequence++);
            chain =
                br_stream_sum_frame(head, br_stream_sum_payload(table, table_len, table + table_len, body_len), chain);
            br_put_u64(head + BR_STREAM_AT_CHECKSUM, chain);
            at += BR_STREAM_HEAD_BYTES + table_len + body_len;
        }
    }
}

static uint64_t touched;

static void take(struct br_cut *cut, const struct br_tree_geometry *geometry, struct br_file *file,
                 const struct br_held_block *blocks, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        struct br_cut_piece piece;
        uint8_t *frame = malloc(BR_STREAM_FRAME_BYTES_MAX);
        struct br_batch again;
        require(frame && br_cut_take(cut, blocks + done, count - done, &piece, NULL) == 0);
        require(piece.count > 0 && piece.count == piece.batch.block_count && piece.count <= count - done);
        require(br_batch_check(&piece.batch, geometry, NULL) == 0);
        for (unsigned i = 0; i < piece.count; i++) {
            require(piece.batch.blocks[i].index == blocks[done + i].index);
            require(br_hash_equal(&piece.batch.blocks[i].leaf, &blocks[done + i].leaf));
        }
        touched += XXH3_64bits(piece.batch.data, piece.batch.data_bytes);
        // and the same by the name that a stage gives it
        require(br_cut_resolve(file, &piece.kept, geometry, frame, &again, NULL) == 0);
        require(t_batch_equal(&again, &piece.batch));
        done += piece.count;
        free(piece.bytes);
        free(frame);
    }
}

static void look(struct br_cut *cut, const struct br_tree_geometry *geometry, struct br_file *file)
{
    struct br_held_block blocks[OFFERS];
    uint64_t from = 0;
    unsigned count;

    do {
        require(br_cut_held(cut, from, blocks, OFFERS, &count, NULL) == 0);
        for (unsigned i = 0; i < count; i++) {
            require(blocks[i].index >= from && blocks[i].index < geometry->block_count);
            from = blocks[i].index + 1;
        }
        take(cut, geometry, file, blocks, count);
    } while (count > 0);
    struct br_file_info info;
    require(br_file_stat(file, &info, NULL) == 0 && br_cut_end_bytes(cut) <= info.size_bytes);
    touched += br_cut_wasted(cut, geometry->block_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct br_delta_header header = t_delta_header(40 * BR_BLOCK_BYTES + 100, 40 * BR_BLOCK_BYTES);
    struct br_identity identity = {
        .state = BR_STATE_COMPLETE, .volume = header.volume, .root = header.parent_root, .replica = header.volume};
    struct br_sim_options options = {.seed = 1};
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_file *file;
    struct br_tree_geometry geometry;

    if (len_bytes < 2) {
        return 0;
    }
    identity.generation.id = header.generation.parent_id;
    require(br_tree_geometry_of(header.parent_size_bytes, &identity.tree.geometry));
    require(br_tree_geometry_of(header.size_bytes - (data[0] & 1 ? 5 * BR_BLOCK_BYTES + 50 : 0), &geometry));
    struct br_sim *sim = br_sim_new(&options);
    require(br_sim_ring(sim, NULL, &ring, NULL) == 0 && br_sim_dir(ring, "r.blkrep", &dir, NULL) == 0);
    require(br_dir_open(dir, BR_CUT_NAME, BR_OPEN_WRITE | BR_OPEN_CREATE, &file, NULL) == 0);
    uint8_t *bytes = malloc(len_bytes - 1);
    require(bytes != NULL);
    memcpy(bytes, data + 1, len_bytes - 1);
    if (data[0] & 0x80) {
        seal(bytes, len_bytes - 1);
    }
    require(br_file_write(file, bytes, len_bytes - 1, 0, NULL) == 0);
    br_cut_sweep(dir, &identity);
    struct br_cut *cut = br_cut_open(ring, dir, &identity, &geometry, "fuzz");
    if (cut) {
        look(cut, &geometry, file);
        br_cut_close(cut);
    }
    free(bytes);
    br_file_close(file);
    br_dir_close(dir);
    br_ring_close(ring);
    br_sim_free(sim);
    return 0;
}
