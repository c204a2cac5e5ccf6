// SPDX-License-Identifier: Apache-2.0
//
// The delta stream, version 1: what `send` writes, `receive` reads, a session carries and a replica stages. blkrep-stream(5) is this note.
//
//     preamble   16 bytes "blkrep stream 1\n"; another number there is another version
//     HEADER     exactly one, first: which version of which volume, from which parent, of what size
//     RESIZE     exactly when there is a parent of another size; before the first DATA or RUN
//     DATA, RUN  any number; blocks ascend over all of them, each block at most once
//     NOTE       anywhere between HEADER and END, for people
//     END        exactly one, last: the root that must result, counters, digest. Nothing becomes a version without it.
//
// A record is one frame: a head of 32 bytes, a table (never compressed: which blocks, which pages), a body (the pages; only DATA has one).
// All numbers are little-endian.
//
//     at  bytes  frame head
//      0   4     magic "BRf1"
//      4   1     type: 1 HEADER  2 RESIZE  3 DATA  4 RUN  5 NOTE  6 END
//      5   1     flags: 1 IGNORABLE (who does not know the type skips the frame; without it he must stop), 2 ZSTD (body is one zstd frame)
//      6   2     table_bytes, at most 1024
//      8   8     sequence: 0 for HEADER, then one more each
//     16   4     body_bytes, as it lies here; at most 1 MiB
//     20   4     raw_bytes, of the body after decompression; at most 1 MiB; equal to body_bytes without ZSTD
//     24   8     checksum = XXH3-64(bytes 0..23 of the head || u64 XXH3-64(body, seed XXH3-64(table)), seed chain)
//                chain = checksum of the frame before; for HEADER XXH3-64(preamble)
//
// The HEADER holds a random stream id and every checksum hangs on the one before, so a frame that is damaged, replayed, left out, moved,
// or taken from another stream is refused. This finds accidents, not forgers: who needs that uses a session (TLS) or signs the file.
//
//     HEADER table                           DATA table: per block, 1 to 16 times     END table
//       0  16  stream id                       0   8  block index                       0  32  root of the result
//      16  16  volume                          8  32  its new leaf                     32   8  data bytes of all DATA
//      32   8  generation: counter            40   2  pages in the body                40   8  bytes made zero
//      40  16  generation: id                 42   2  pages made zero                  48   8  unreadable blocks
//      56  16  generation: parent's id      DATA body: those pages, ascending          56   8  DATA and RUN records
//      72  32  root of the parent                                                      64   8  frames before this one
//     104   8  size of the parent           RUN table                                  72  16  digest of all frames before:
//     112   8  size of the result              0   4  1 ZERO  2 DISCARD  3 UNREADABLE            d = 16 zero bytes, then for each
//     120   4  sector size                     4   4  zero                                       d = XXH3-128(d || its head),
//     124   1  hash id, 1 SHA-256              8   8  first block                                canonical (big-endian) form
//     125   1  consistency                    16   8  count
//     126   1  1 full, 0 has a parent                                                RESIZE table
//     127   1  zero                         NOTE table                                  0   8  size of the parent
//     128   4  block size, 65536               0  n   text                              8   8  size of the result
//     132   4  page size, 4096
//     136   8  taken: Unix nanoseconds
//     144   2  length of the label, at most 255; 146 the label
//
// A reader checks in this order: magic and sizes (before it allocates), checksum, type and flags, sequence, then every field, so that what
// is called "unknown" is a newer writer's and not damage. Compatible additions are ignorable frames; all else is a new preamble.
//
// Transcript: a full copy of a volume of 2 blocks of zeros and 5 bytes "hello" (ids and hashes are made up; tests/unit/test_stream.c makes
// this stream and compares):
//
//   0000  62 6c 6b 72 65 70 20 73 74 72 65 61 6d 20 31 0a                           | preamble
//   0010  42 52 66 31 01 00 9f 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00   | head: HEADER, table of 159 bytes, frame 0, no body
//   0028  3c 73 9a 3e 2f f2 13 31 11 11 11 11 11 11 41 11 91 11 11 11 11 11 11 11   | checksum; stream id
//   0040  22 22 22 22 22 22 42 22 a2 22 22 22 22 22 22 22 07 00 00 00 00 00 00 00   | volume; generation 7
//   0058  33 33 33 33 33 33 43 33 b3 33 33 33 33 33 33 33 00 00 00 00 00 00 00 00   | its id; no parent
//   0070  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
//   0088  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
//   00a0  05 00 02 00 00 00 00 00 00 02 00 00 01 01 01 00 00 00 01 00 00 10 00 00   | size 131077, sector 512, SHA-256, crash, full
//   00b8  00 00 2a 36 fe 9c 97 17 0d 00 2f 64 65 76 2f 76 67 30 2f 72 6f 6f 74      | time; label "/dev/vg0/root"
//   00cf  42 52 66 31 04 00 18 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00   | head: RUN, frame 1
//   00e7  e1 c2 aa 4e a4 3a e8 e2 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00   | checksum; ZERO from block 0
//   00ff  02 00 00 00 00 00 00 00                                                   | 2 blocks
//   0107  42 52 66 31 03 00 2c 00 02 00 00 00 00 00 00 00 05 00 00 00 05 00 00 00   | head: DATA, frame 2, body of 5 bytes
//   011f  38 72 de 64 8a 74 c2 c2 02 00 00 00 00 00 00 00 66 66 66 66 66 66 66 66   | checksum; block 2; its leaf
//   0137  66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66
//   014f  01 00 00 00 68 65 6c 6c 6f                                                | page 0; "hello"
//   0158  42 52 66 31 05 01 06 00 03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00   | head: NOTE, ignorable, frame 3
//   0170  de 0e 26 2c 4f c1 5f 47 61 20 6e 6f 74 65                                 | checksum; "a note"
//   017e  42 52 66 31 06 00 58 00 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00   | head: END, frame 4
//   0196  9e 47 c8 70 e8 b6 2a 8e 77 77 77 77 77 77 77 77 77 77 77 77 77 77 77 77   | checksum; root
//   01ae  77 77 77 77 77 77 77 77 77 77 77 77 77 77 77 77 05 00 00 00 00 00 00 00   | 5 data bytes
//   01c6  00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00   | 131072 zero bytes; 2 records
//   01de  04 00 00 00 00 00 00 00 a0 7d ac 4e 78 51 75 81 19 7b d9 d6 16 df 72 13   | 4 frames before; digest
//
// A replica that goes on with a delta that was cut stages it in a form of its own, which no other reader takes and nobody sends: the preamble
// is "blkrep staged 1\n" (and the first chain XXH3-64 of it), and there is one record more, in block order with DATA and RUN. It counts as a
// frame, and in none of END's other counters.
//
//     KEPT (type 7): blocks whose data is not here but in a DATA frame of stage.cut beside this file (engine/replica/cut.h)
//       0   8  offset of that frame there
//       8   8  chain: the checksum of the frame before it there
//      16   8  its own checksum
//      24   8  size in bytes of the volume that its stream makes
//      32   8  the first of those blocks
//      40   8  the last
//      48   2  which of that frame's blocks they are: bit i its i-th
//      50   6  zero
//
// Making a stream has two steps, so that the costly one can run on workers: br_stream_pack_batch() is a pure function (check, compress,
// hash); br_stream_seal() gives sequence and checksum, in order, at constant cost. A frame is two pieces, head and body, and the body of
// what was not compressed is the caller's data itself: nothing is copied.
#ifndef BR_CODEC_STREAM_H
#define BR_CODEC_STREAM_H

#include <assert.h>

#include "engine/codec/delta.h"

#define BR_STREAM_VERSION         1u
#define BR_STREAM_PREAMBLE        "blkrep stream 1\n"
#define BR_STREAM_STAGED_PREAMBLE "blkrep staged 1\n"
#define BR_STREAM_PREAMBLE_BYTES  16u
#define BR_STREAM_MAGIC           "BRf1"
#define BR_STREAM_HEAD_BYTES      32u
#define BR_STREAM_TABLE_BYTES_MAX 1024u
#define BR_STREAM_NOTE_BYTES_MAX  1000u
#define BR_STREAM_FRAME_BYTES_MAX (BR_STREAM_HEAD_BYTES + BR_STREAM_TABLE_BYTES_MAX + BR_BATCH_DATA_MAX)

#define BR_STREAM_FLAG_IGNORABLE 1u
#define BR_STREAM_FLAG_ZSTD      2u

enum br_stream_type {
    BR_STREAM_HEADER = 1,
    BR_STREAM_RESIZE = 2,
    BR_STREAM_DATA = 3,
    BR_STREAM_RUN = 4,
    BR_STREAM_NOTE = 5,
    BR_STREAM_END = 6,
    BR_STREAM_KEPT = 7, // staged form only
};

enum br_stream_layout { // offsets in the frame head, then sizes of tables
    BR_STREAM_AT_MAGIC = 0,
    BR_STREAM_AT_TYPE = 4,
    BR_STREAM_AT_FLAGS = 5,
    BR_STREAM_AT_TABLE_BYTES = 6,
    BR_STREAM_AT_SEQUENCE = 8,
    BR_STREAM_AT_BODY_BYTES = 16,
    BR_STREAM_AT_RAW_BYTES = 20,
    BR_STREAM_AT_CHECKSUM = 24,
    BR_STREAM_HEADER_FIXED_BYTES = 146,
    BR_STREAM_BLOCK_BYTES = 44,
    BR_STREAM_RUN_BYTES = 24,
    BR_STREAM_RESIZE_BYTES = 16,
    BR_STREAM_END_BYTES = 88,
    BR_STREAM_KEPT_BYTES = 56,
};

static_assert(sizeof(BR_STREAM_PREAMBLE) - 1 == BR_STREAM_PREAMBLE_BYTES, "preamble");
static_assert(sizeof(BR_STREAM_STAGED_PREAMBLE) - 1 == BR_STREAM_PREAMBLE_BYTES, "preamble of the staged form");
static_assert(BR_STREAM_AT_CHECKSUM + 8 == BR_STREAM_HEAD_BYTES, "frame head without padding");
static_assert(BR_STREAM_HEADER_FIXED_BYTES + BR_LABEL_BYTES <= BR_STREAM_TABLE_BYTES_MAX, "HEADER fits a table");
static_assert(BR_BATCH_BLOCKS_MAX * BR_STREAM_BLOCK_BYTES <= BR_STREAM_TABLE_BYTES_MAX, "DATA fits a table");
static_assert(BR_STREAM_NOTE_BYTES_MAX <= BR_STREAM_TABLE_BYTES_MAX, "NOTE fits a table");
static_assert(BR_BATCH_DATA_MAX == BR_BATCH_BLOCKS_MAX * BR_BLOCK_BYTES, "a batch of whole blocks fits a body");

// What a KEPT record says.
struct br_stream_kept {
    uint64_t offset_bytes; // of the frame
    uint64_t chain;
    uint64_t checksum;
    uint64_t size_bytes;  // of its stream's volume
    uint64_t first, last; // blocks
    uint16_t blocks;      // which of the frame's
};

// Making ------------------------------------------------------------------------------------------------------------------------------

// One frame ready to go: head, then body. A zeroed struct is valid and empty and can be used again and again.
struct br_stream_frame {
    uint8_t
        head[BR_STREAM_PREAMBLE_BYTES + 2 * BR_STREAM_HEAD_BYTES + BR_STREAM_RESIZE_BYTES + BR_STREAM_TABLE_BYTES_MAX];
    size_t head_len;
    const uint8_t *body; // the batch's data itself, or the compressed form, which the frame owns
    size_t body_len;

    // What br_stream_seal() needs; the codec's own.
    uint64_t payload_hash;
    uint64_t first_block;
    uint64_t end_block;
    struct br_delta_end counts;
    struct br_buf packed;
};
/** br_stream_frame_free - releases the compressed form; the frame is empty and reusable */
void br_stream_frame_free(struct br_stream_frame *frame);
/** br_stream_frame_append - head and body behind what @to holds, for writers that want one piece */
void br_stream_frame_append(const struct br_stream_frame *frame, struct br_buf *to);

// Where a stream being made stands. Plain data: copying it copies the position.
struct br_stream_encoder {
    struct br_tree_geometry geometry;
    uint64_t sequence;  // of the next frame
    uint64_t chain;     // checksum of the frame before
    uint8_t digest[16]; // over all frame heads before
    uint64_t next_block;
    uint64_t bytes;             // made so far, preamble included
    struct br_delta_end counts; // of the records so far; root unused
    bool staged;                // KEPT may come
    bool ended;
};

/**
 * br_stream_start - begin a stream: preamble, HEADER, and RESIZE when it is called for, in one frame struct
 * Errors: what br_delta_header_check() says
 */
BR_MUST_CHECK int br_stream_start(struct br_stream_encoder *encoder, const struct br_delta_header *header,
                                  struct br_stream_frame *ret_frame, struct br_err *reterr);
/** br_stream_start_staged - the same in the staged form */
BR_MUST_CHECK int br_stream_start_staged(struct br_stream_encoder *encoder, const struct br_delta_header *header,
                                         struct br_stream_frame *ret_frame, struct br_err *reterr);
/**
 * br_stream_pack_batch - all of a DATA frame but its place in the stream
 * @geometry  of the result
 * @level     0 never compresses; else zstd's level, -7 to 19. Data that looks random is not tried; what saves less than 1/16 is not kept.
 * Owner: ret_frame->body may point to batch->data, which must outlive the frame's use    Allocates: the compressed form
 * Pure and thread safe.    Errors: what br_batch_check() says; -BR_E_NOMEM
 */
BR_MUST_CHECK int br_stream_pack_batch(const struct br_tree_geometry *geometry, const struct br_batch *batch, int level,
                                       struct br_stream_frame *ret_frame, struct br_err *reterr);
/** br_stream_seal - give a packed frame its place; call in stream order. -BR_E_INTERNAL blocks do not ascend */
BR_MUST_CHECK int br_stream_seal(struct br_stream_encoder *encoder, struct br_stream_frame *frame,
                                 struct br_err *reterr);
/** br_stream_batch - pack and seal in one */
BR_MUST_CHECK int br_stream_batch(struct br_stream_encoder *encoder, const struct br_batch *batch, int level,
                                  struct br_stream_frame *ret_frame, struct br_err *reterr);
/** br_stream_run - a sealed RUN frame */
BR_MUST_CHECK int br_stream_run(struct br_stream_encoder *encoder, const struct br_run *run,
                                struct br_stream_frame *ret_frame, struct br_err *reterr);
/** br_stream_kept - a sealed KEPT frame; -BR_E_INTERNAL in a stream that is not in the staged form */
BR_MUST_CHECK int br_stream_kept(struct br_stream_encoder *encoder, const struct br_stream_kept *kept,
                                 struct br_stream_frame *ret_frame, struct br_err *reterr);
/** br_stream_note - a sealed NOTE frame; text beyond BR_STREAM_NOTE_BYTES_MAX is cut */
BR_MUST_CHECK int br_stream_note(struct br_stream_encoder *encoder, const char *text, struct br_stream_frame *ret_frame,
                                 struct br_err *reterr);
/** br_stream_end - the sealed END frame; @root only, counters are the encoder's (encoder->counts has them afterwards, root too) */
BR_MUST_CHECK int br_stream_end(struct br_stream_encoder *encoder, const struct br_hash *root,
                                struct br_stream_frame *ret_frame, struct br_err *reterr);

// Reading -----------------------------------------------------------------------------------------------------------------------------

struct br_stream_record {
    enum br_stream_type type;
    uint64_t sequence;
    uint64_t offset_bytes; // of its frame in the stream
    size_t frame_bytes;
    bool
        compressed; // DATA: batch.data lies in the decoder's (or br_stream_decoder_unpack_to()'s) buffer, else in `in_place` or the decoder's
    bool in_place;  // DATA: batch.data lies in the bytes that the caller gave
    union {
        struct br_delta_header header;
        struct {
            uint64_t from_bytes;
            uint64_t to_bytes;
        } resize;
        struct br_batch batch;
        struct br_run run;
        struct br_stream_kept kept;
        char note[BR_STREAM_NOTE_BYTES_MAX + 1];
        struct br_delta_end end;
    };
};

// Reads a stream in pieces of any size. Memory: one frame and one decompressed body, about 2.2 MiB, allocated when first needed.
struct br_stream_decoder;

/** br_stream_decoder_open - a decoder at the beginning of a stream */
BR_MUST_CHECK int br_stream_decoder_open(struct br_stream_decoder **ret_decoder, struct br_err *reterr);
/** br_stream_decoder_allow_staged - take the staged form too, for who reads a replica's own stages; before the first bytes */
void br_stream_decoder_allow_staged(struct br_stream_decoder *decoder);
/** br_stream_decoder_close - NULL is fine */
void br_stream_decoder_close(struct br_stream_decoder *decoder);
/**
 * br_stream_decoder_next - take bytes, give a record
 * @bytes, @len  advanced over what was taken; call again with the rest, and with more bytes, until it returns 0 or fails
 * Returns 1 a record; 0 all was taken and more is needed. What the record points to is valid until the next call and, for what lies in
 * place, as long as the caller keeps the bytes. Unknown ignorable frames are passed over.
 * Errors: -BR_E_CORRUPT -BR_E_VERSION -BR_E_NOMEM, with the offset in the stream; every later call fails the same way
 */
BR_MUST_CHECK int br_stream_decoder_next(struct br_stream_decoder *decoder, const uint8_t **bytes, size_t *len,
                                         struct br_stream_record *ret_record, struct br_err *reterr);
/** br_stream_decoder_unpack_to - decompress into @buffer (BR_BATCH_DATA_MAX bytes, the caller's) from now on; NULL: the decoder's own */
void br_stream_decoder_unpack_to(struct br_stream_decoder *decoder, void *buffer);
/** br_stream_decoder_finish - no more bytes will come: 0 when END was read, else -BR_E_TRUNCATED (or the error that stopped it) */
BR_MUST_CHECK int br_stream_decoder_finish(const struct br_stream_decoder *decoder, struct br_err *reterr);
/** br_stream_decoder_header - the HEADER, NULL before it was read */
const struct br_delta_header *br_stream_decoder_header(const struct br_stream_decoder *decoder);
/** br_stream_decoder_offset - bytes taken so far */
uint64_t br_stream_decoder_offset(const struct br_stream_decoder *decoder);
/** br_stream_decoder_skipped - how many unknown ignorable frames were passed over */
uint64_t br_stream_decoder_skipped(const struct br_stream_decoder *decoder);
/** br_stream_decoder_chain - the checksum of the frame read last, which the next one hangs on */
uint64_t br_stream_decoder_chain(const struct br_stream_decoder *decoder);

// One frame alone ---------------------------------------------------------------------------------------------------------------------

// What a frame's head says of it.
struct br_stream_head {
    uint8_t type;
    uint8_t flags;
    uint16_t table_bytes;
    uint32_t body_bytes;
    uint32_t raw_bytes;
    uint64_t sequence;
    uint64_t checksum;
};
/** br_stream_head_read - magic and sizes within bounds, nothing else is checked; -BR_E_CORRUPT */
BR_MUST_CHECK int br_stream_head_read(const uint8_t head[BR_STREAM_HEAD_BYTES], struct br_stream_head *ret_head,
                                      struct br_err *reterr);
/** br_stream_head_bytes - length of the whole frame */
static inline size_t br_stream_head_bytes(const struct br_stream_head *head)
{
    return (size_t)BR_STREAM_HEAD_BYTES + head->table_bytes + head->body_bytes;
}
/**
 * br_stream_blocks_read - the blocks of a DATA frame's table, with the masks and sizes that they must have
 * Sets all of *ret_batch but data. Says nothing of damage: the frame's checksum does.
 * Errors: -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_stream_blocks_read(const struct br_stream_head *head, const uint8_t *table,
                                        const struct br_tree_geometry *geometry, struct br_batch *ret_batch,
                                        struct br_err *reterr);
/**
 * br_stream_frame_read - a whole DATA frame away from its stream
 * @frame  br_stream_head_bytes(); a compressed one is refused
 * @chain  the checksum of the frame before it
 * ret_batch->data points into @frame.    Errors: -BR_E_CORRUPT damaged, or no such frame
 */
BR_MUST_CHECK int br_stream_frame_read(const uint8_t *frame, size_t len, uint64_t chain,
                                       const struct br_tree_geometry *geometry, struct br_batch *ret_batch,
                                       struct br_err *reterr);

#endif
