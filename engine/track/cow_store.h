// SPDX-License-Identifier: Apache-2.0
//
// Which chunks of an origin changed since a persistent dm-snapshot of it was made, read from the snapshot's exception store, and what they
// held before (engine/codec/cow_format.h has the format).
//
// A store may be read while the kernel appends to it. Then what is read holds at least every change that was committed when br_cow_store_read()
// was called: the kernel commits a record before it lets the write to the origin go on. An area that is torn, because its write is on the way,
// is read again until it is whole, or damaged for too long. Areas that the kernel's status calls complete are read many at once, those behind one
// by one, because an area means something only when the one before was seen full.
//
// Damage that is found by itself, always: a record cleared in front of others of its area, a record that names another chunk of the store
// than its place allows (moved, doubled, half written), a chunk outside origin or store, a chunk that is there twice, a store that is
// larger than its device, a header that is not a valid one.
// Damage that is found in a store that br_cow_store_wipe() prepared (`wiped`): an area cleared in front of others.
// Damage that the kernel's status tells (`before`, `after`), while the kernel that wrote the records has the store open: fewer records than it
// handed out, also none at all and also when the last ones are missing.
// Damage that can't be seen here, and is left to the rolling recheck: an old chunk number changed into another one of the origin; the last
// records cleared while no kernel had the store open. (The kernel believes such a store, too.)
//
// What it needs from its caller:
//  - The device is read, not a file below it (engine/track/fresh.h).
//  - The snapshot is not written to: a write to it makes a record whose old data isn't the origin's.
//  - The header was zeroed before the snapshot was loaded, and after that `used == metadata` in its status: else the kernel took up an old store.
//  - Snapshot semantics: every write, write-zeroes and discard that reaches the origin makes records of all the chunks that it touches
//    (the origin target refuses discards); what goes to the disk below it makes none.
#ifndef BR_TRACK_COW_STORE_H
#define BR_TRACK_COW_STORE_H

#include "engine/codec/cow_format.h"
#include "engine/map/extent_map.h"
#include "engine/ring/ring.h"

#define BR_COW_RUNS_MAX (UINT64_C(4) << 20) // kept to find old data: 96 MiB

struct br_cow_store;

// The numbers of `dmsetup status` of the snapshot: "USED/TOTAL METADATA", sectors of 512 bytes.
struct br_cow_status {
    bool known;
    uint64_t used_sectors;     // header, areas and every chunk handed out
    uint64_t metadata_sectors; // header and areas
};

struct br_cow_store_params {
    struct br_file *file;        // the store's device; must outlive the store
    uint64_t store_bytes;        // its size
    uint64_t origin_bytes;       // the snapshot's length; UINT64_MAX: not known, and no chunk is outside
    uint64_t chunk_bytes;        // as in the snapshot's table: another one is damage; 0: any
    struct br_cow_status before; // asked before this call
    bool wiped;                  // br_cow_store_wipe() prepared the device: what is behind the end must be zero
    uint64_t settle_ns;          // how long a torn area or a missing record may be a write on its way; 0: nobody writes
    size_t runs_max;             // 0: BR_COW_RUNS_MAX
};

struct br_cow_usage {
    uint64_t chunk_bytes;
    uint64_t records;     // changed chunks
    uint64_t records_max; // that fit in the store, before the kernel gives the snapshot up
    uint64_t used_bytes;  // of the store, header and areas included
    uint64_t store_bytes;
};

/**
 * br_cow_store_read - read a store to its end
 * Blocks: runs the ring, for about settle_ns after the last read at most
 * Allocates: a chunk, or 16 while areas are read ahead; 24 bytes for each run of neighbouring chunks up to runs_max, then only an extent map, which is
 *            bounded and over-reports (engine/map/extent_map.h)
 * Errors: -BR_E_CORRUPT damaged or given up by the kernel ("invalid"), at the offset in the store, or "the kernel says n records, the store
 *         shows m"; -BR_E_NOT_FOUND the header is zero; -BR_E_VERSION; -BR_E_IO, -BR_E_TRUNCATED, -BR_E_NOMEM.
 *         After any of them the origin has to be compared whole.
 */
BR_MUST_CHECK int br_cow_store_read(const struct br_cow_store_params *params, struct br_cow_store **ret_store,
                                    struct br_err *reterr);
/** br_cow_store_close - NULL is fine */
void br_cow_store_close(struct br_cow_store *store);
/**
 * br_cow_store_agrees - compare what was read with a status that was asked after br_cow_store_read() returned
 * Errors: -BR_E_CORRUPT the store showed more records than the kernel handed out: left-overs, whose old data is none
 */
BR_MUST_CHECK int br_cow_store_agrees(const struct br_cow_store *store, const struct br_cow_status *after,
                                      struct br_err *reterr);
/** br_cow_store_changed - what changed, in bytes of the origin, whole chunks cut at its end; valid until the store is closed */
const struct br_extent_map *br_cow_store_changed(const struct br_cow_store *store);
/** br_cow_store_usage - what of the store was in use when it was read */
struct br_cow_usage br_cow_store_usage(const struct br_cow_store *store);
/**
 * br_cow_store_locate - where the store keeps the old data of the origin's byte @offset_bytes
 * @ret_store_bytes, @ret_len_bytes  the place in the store, and how far the old data goes on from there without a gap
 * Returns 1; 0 when the byte did not change: read it from the origin's frozen view.
 * Errors: -BR_E_LIMIT more runs changed than runs_max: read the snapshot's device instead
 */
BR_MUST_CHECK int br_cow_store_locate(const struct br_cow_store *store, uint64_t offset_bytes,
                                      uint64_t *ret_store_bytes, uint64_t *ret_len_bytes, struct br_err *reterr);
/**
 * br_cow_store_read_old - what a changed range of the origin held when the snapshot was made
 * @offset_bytes, @len_bytes  within changed chunks and the origin; any alignment
 * Blocks: runs the ring
 * Errors: -BR_E_NOT_FOUND a part of the range did not change; -BR_E_LIMIT as above; -BR_E_IO
 */
BR_MUST_CHECK int br_cow_store_read_old(struct br_cow_store *store, void *buf, size_t len_bytes, uint64_t offset_bytes,
                                        struct br_err *reterr);

/**
 * br_cow_store_wipe - prepare a device before a snapshot is made on it: header and all areas read as zeros
 * @file  open for writing; the only call here that writes
 * Without it what was on the device before can look like the records of areas to come, and `wiped` can't be said. Cost: a chunk in every
 * chunk_bytes / 16 + 1.
 * Durable: yes, when it returns 0
 */
BR_MUST_CHECK int br_cow_store_wipe(struct br_file *file, uint64_t store_bytes, uint64_t chunk_bytes,
                                    struct br_err *reterr);

/** br_cow_store_line_fn - takes one line of text without a line end; non-zero stops the dump and is returned */
typedef int br_cow_store_line_fn(void *ctx, const char *line);
/**
 * br_cow_store_dump - a store as text: header, areas, each record
 * @params  chunk_bytes, before and settle_ns are not used
 * Errors: as br_cow_store_read(), after the lines up to the damage; a store that the kernel gave up is shown, too, and is no error
 */
BR_MUST_CHECK int br_cow_store_dump(const struct br_cow_store_params *params, br_cow_store_line_fn *line, void *ctx,
                                    struct br_err *reterr);

#endif
