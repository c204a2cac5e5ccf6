// SPDX-License-Identifier: Apache-2.0
//
// The persistent exception store of dm-snapshot ("P" and "PO" stores), as bytes: what Linux writes to a snapshot's COW device. Source:
// drivers/md/dm-snap-persistent.c (layout, comments there), drivers/md/dm-snap.c (order of commits). All numbers little-endian.
//
//     chunk 0          header: u32 magic 0x70416e53 "SnAp", u32 valid, u32 version 1, u32 chunk size in sectors of 512; then zeros
//     chunk 1          area 0: records of 16 bytes {u64 old chunk of the origin, u64 new chunk of the store}
//     next R chunks    the data of area 0's records, R = records of an area = chunk bytes / 16
//     chunk R + 2      area 1, and so on: area a lies in chunk 1 + a * (R + 1)
//
// A record whose new chunk is 0 ends the list. The kernel hands out new chunks in order and commits records in the same order
// (pe->exception_sequence), so record k always names the k-th data chunk: here that is demanded of every record, which makes a record
// in the wrong place, twice or damaged in its second half visible in a format that has no checksums. What stays invisible: a changed
// old chunk number within the origin, and a cleared record that was the last one. The first needs the rolling recheck; the second is
// caught by the kernel's own count while the kernel that wrote it still runs (engine/track/cow_store.h).
//
// The kernel zeroes an area before it writes the record that fills the one before, so behind the last record of the last area all is
// zero, except when a power cut tore the write of that area: then some sectors are new and earlier ones old. Torn and damaged can't be told
// apart, so both are damage here. What lies in areas behind the last one is of no meaning: the device's former content.
#ifndef BR_CODEC_COW_FORMAT_H
#define BR_CODEC_COW_FORMAT_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_COW_MAGIC           0x70416e53u
#define BR_COW_VERSION         1u
#define BR_COW_HEADER_BYTES    16u
#define BR_COW_RECORD_BYTES    16u
#define BR_COW_CHUNK_BYTES_MIN 512u
#define BR_COW_CHUNK_BYTES_MAX (16u * 1024u * 1024u) // of what is read here; LVM allows 512 KiB, the kernel 1 GiB

struct br_cow_header {
    bool valid; // false: the kernel gave the snapshot up (store full or failed), for ever
    uint64_t chunk_bytes;
};

struct br_cow_geometry {
    uint64_t chunk_bytes;
    uint64_t area_records;  // records of an area
    uint64_t store_chunks;  // whole chunks of the store's device
    uint64_t origin_chunks; // chunks of the origin, the last one may be cut
};

struct br_cow_record {
    uint64_t old_chunk;
    uint64_t new_chunk;
};

/**
 * br_cow_header_decode - the first BR_COW_HEADER_BYTES bytes of a store
 * Errors: -BR_E_NOT_FOUND the magic is 0: no store was made here, or its header was zeroed; -BR_E_CORRUPT another magic, or numbers that
 *         no kernel writes; -BR_E_VERSION
 */
BR_MUST_CHECK int br_cow_header_decode(const uint8_t *bytes, struct br_cow_header *ret_header, struct br_err *reterr);
/**
 * br_cow_geometry_of - the places in a store
 * @store_bytes   size of the store's device; what is no whole chunk at its end is not used
 * @origin_bytes  size of the origin as in the snapshot's table; UINT64_MAX when it is not known
 * Errors: -BR_E_CORRUPT the device can't hold header and first area
 */
BR_MUST_CHECK int br_cow_geometry_of(const struct br_cow_header *header, uint64_t store_bytes, uint64_t origin_bytes,
                                     struct br_cow_geometry *ret_geometry, struct br_err *reterr);
/** br_cow_area_chunk - the chunk that holds area @area; UINT64_MAX when it lies behind the end of the store */
uint64_t br_cow_area_chunk(const struct br_cow_geometry *geometry, uint64_t area);
/** br_cow_data_chunk - the store's chunk with the old data of record @index (counted over all areas); may lie behind the end */
uint64_t br_cow_data_chunk(const struct br_cow_geometry *geometry, uint64_t index);
/** br_cow_records_of_used - how many records the kernel has handed out chunks for, when its status says @used_chunks (header and areas too) */
uint64_t br_cow_records_of_used(const struct br_cow_geometry *geometry, uint64_t used_chunks);
/** br_cow_records_max - the most records that fit before the kernel gives the snapshot up as full */
uint64_t br_cow_records_max(const struct br_cow_geometry *geometry);
/**
 * br_cow_store_bytes - the size of a store in which @records changed chunks fit, and no one byte more is needed
 * @chunk_bytes  a power of two between the bounds above
 * Returns UINT64_MAX when that is more than 2^62.
 */
uint64_t br_cow_store_bytes(uint64_t chunk_bytes, uint64_t records);
/** br_cow_record_at - record @i of an area, as it lies there */
struct br_cow_record br_cow_record_at(const uint8_t *area, uint64_t i);
/**
 * br_cow_area_decode - check all of an area
 * @bytes      chunk_bytes of it
 * Returns the number of its records, area_records when it is full: the next area follows then.
 * Errors: -BR_E_CORRUPT at the record's offset in the store: a record that is not the kernel's next one, of a chunk behind the end of the
 *         origin or the store, or anything but zeros behind the last. In a store that is being written, and read not atomically, this
 *         can be a write on its way: read again.
 */
BR_MUST_CHECK int64_t br_cow_area_decode(const struct br_cow_geometry *geometry, uint64_t area, const uint8_t *bytes,
                                         struct br_err *reterr);
/**
 * br_cow_ns_until_full - a forecast by the rate seen
 * @left_bytes, @grown_bytes, @in_ns  room that is left; what was used up in that time
 * Returns UINT64_MAX when nothing was used up.
 */
uint64_t br_cow_ns_until_full(uint64_t left_bytes, uint64_t grown_bytes, uint64_t in_ns);

#endif
