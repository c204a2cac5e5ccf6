// SPDX-License-Identifier: Apache-2.0
//
// Records come in the order of the writes that caused them. They are gathered as runs (neighbouring chunks in neighbouring records), sorted once
// at the end, and become a sorted map and a table for binary search. When there are more runs than may be kept, the gathered ones are folded into
// the map, and the table is given up.
#include "engine/track/cow_store.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/track/fresh.h"

#define AREAS_AHEAD       16u
#define WIPES_AHEAD       64u
#define WIPE_ALIGN        4096u
#define AHEAD_BYTES_MAX   (4u * 1024u * 1024u)
#define LOOK_AGAIN_NS     UINT64_C(1000000) // first pause; doubles up to
#define LOOK_AGAIN_NS_MAX UINT64_C(50000000)
#define SECTOR_BYTES      512u

struct run {
    uint64_t old_chunk;
    uint64_t index; // of the record of old_chunk
    uint64_t count;
};

struct br_cow_store {
    struct br_fresh fresh;
    struct br_cow_header header;
    struct br_cow_geometry geometry;
    uint64_t origin_bytes;
    uint64_t records;
    struct run *runs; // sorted by old_chunk once the store is read
    size_t run_count;
    size_t run_capacity;
    size_t runs_max;
    bool folded; // runs were given up
    struct br_extent_map changed;
};

// Patience: how long something that looks wrong may be a write on its way.
struct patience {
    struct br_ring *ring;
    uint64_t until_ns; // 0: none
    uint64_t pause_ns;
};

static struct patience patience_of(const struct br_cow_store *store, uint64_t settle_ns)
{
    struct br_ring *ring = br_file_ring(store->fresh.file);

    return (struct patience){
        .ring = ring, .until_ns = settle_ns ? br_ring_now_ns(ring) + settle_ns : 0, .pause_ns = LOOK_AGAIN_NS};
}

// Waits a little; false when it was waited long enough.
static bool wait_a_little(struct patience *patience)
{
    if (!patience->until_ns || br_ring_now_ns(patience->ring) >= patience->until_ns) {
        return false;
    }
    br_ring_sleep(patience->ring, patience->pause_ns);
    patience->pause_ns = BR_MIN(2 * patience->pause_ns, LOOK_AGAIN_NS_MAX);
    return true;
}

// Records -----------------------------------------------------------------------------------------------------------------------------

static int compare_runs(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    return x->old_chunk < y->old_chunk ? -1 : x->old_chunk > y->old_chunk;
}

static int mark_run(const struct br_cow_store *store, const struct run *run, struct br_extent_map *map,
                    struct br_err *reterr)
{
    const uint64_t chunk_bytes = store->geometry.chunk_bytes;
    uint64_t start, len;

    if (!br_mul_u64(run->old_chunk, chunk_bytes, &start) || !br_mul_u64(run->count, chunk_bytes, &len)) {
        return br_err_set(reterr, BR_E_CORRUPT, "snapshot store: chunk %" PRIu64 " is no place", run->old_chunk);
    }
    return br_extent_map_mark(map, start, BR_MIN(len, store->origin_bytes - start), reterr);
}

// Sorts the runs gathered, looks for chunks that are there twice, and adds them to the map.
static int add_runs_to_map(struct br_cow_store *store, struct br_err *reterr)
{
    struct br_extent_map map = {.limit = store->changed.limit};
    int rc = 0;

    if (store->run_count) {
        qsort(store->runs, store->run_count, sizeof(*store->runs), compare_runs);
    }
    for (size_t i = 0; i < store->run_count && rc == 0; i++) {
        const struct run *run = &store->runs[i];
        if (i && run->old_chunk - run[-1].old_chunk < run[-1].count) {
            rc = br_err_set(reterr, BR_E_CORRUPT, "snapshot store: chunk %" PRIu64 " of the origin is there twice",
                            run->old_chunk);
        } else {
            rc = mark_run(store, run, &map, reterr);
        }
    }
    if (rc == 0) {
        rc = br_extent_map_add(&store->changed, &map, reterr);
    }
    br_extent_map_free(&map);
    return rc;
}

static int make_room_for_run(struct br_cow_store *store, struct br_err *reterr)
{
    if (store->run_count < store->run_capacity) {
        return 0;
    }
    if (store->run_count == store->runs_max) {
        int rc = add_runs_to_map(store, reterr);
        store->folded = true;
        store->run_count = 0;
        return rc;
    }
    const size_t capacity = BR_MIN(BR_MAX(store->run_capacity * 2, (size_t)1024), store->runs_max);
    struct run *runs = realloc(store->runs, capacity * sizeof(*runs));
    if (!runs) {
        return br_err_set(reterr, BR_E_NOMEM, "snapshot store of more than %zu runs", store->run_count);
    }
    store->runs = runs;
    store->run_capacity = capacity;
    return 0;
}

static int add_record(struct br_cow_store *store, uint64_t old_chunk, struct br_err *reterr)
{
    struct run *last = store->run_count ? &store->runs[store->run_count - 1] : NULL;

    if (last && old_chunk - last->old_chunk == last->count) {
        last->count++;
    } else {
        int rc = make_room_for_run(store, reterr);
        if (rc < 0) {
            return rc;
        }
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set on every path that leads here
        store->runs[store->run_count++] = (struct run){.old_chunk = old_chunk, .index = store->records, .count = 1};
    }
    store->records++;
    return 0;
}

// Takes from a checked area what was not taken at an earlier look.
static int add_area(struct br_cow_store *store, uint64_t area, const uint8_t *bytes, uint64_t count,
                    struct br_err *reterr)
{
    const uint64_t first = area * store->geometry.area_records;
    int rc = 0;

    for (uint64_t i = store->records - first; i < count && rc == 0; i++) {
        rc = add_record(store, br_cow_record_at(bytes, i).old_chunk, reterr);
    }
    return rc;
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static int read_header(struct br_cow_store *store, struct br_cow_header *ret_header, struct br_err *reterr)
{
    const uint8_t *bytes;

    if (store->fresh.size_bytes < BR_COW_CHUNK_BYTES_MIN) {
        return br_err_set(reterr, BR_E_CORRUPT, "snapshot store: a device of %" PRIu64 " bytes",
                          store->fresh.size_bytes);
    }
    int rc = br_fresh_read_one(&store->fresh, 0, BR_COW_HEADER_BYTES, &bytes, reterr);
    return rc < 0 ? rc : br_cow_header_decode(bytes, ret_header, reterr);
}

static int refuse_invalid(struct br_err *reterr)
{
    return br_err_at(reterr, BR_E_CORRUPT, 4, "the snapshot is invalid: its store was full or failed");
}

static int no_such_area(const struct br_cow_store *store, uint64_t area, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_CORRUPT,
                      "snapshot store: area %" PRIu64 " lies behind the end of a device of %" PRIu64 " bytes", area,
                      store->fresh.size_bytes);
}

// Reads and checks one area; returns its number of records.
static int64_t look_at_area(struct br_cow_store *store, uint64_t area, const uint8_t **ret_bytes, struct br_err *reterr)
{
    const uint64_t chunk = br_cow_area_chunk(&store->geometry, area);

    if (chunk == UINT64_MAX) {
        return no_such_area(store, area, reterr);
    }
    int rc = br_fresh_read_one(&store->fresh, chunk * store->geometry.chunk_bytes, store->geometry.chunk_bytes,
                               ret_bytes, reterr);
    return rc < 0 ? rc : br_cow_area_decode(&store->geometry, area, *ret_bytes, reterr);
}

// Reads several areas at once, from @area on; returns how many, 0 when all lie behind the end.
static int read_areas(struct br_cow_store *store, uint64_t area, uint64_t count, struct br_fresh_read *reads,
                      struct br_err *reterr)
{
    const uint64_t chunk_bytes = store->geometry.chunk_bytes;
    const uint64_t ahead = BR_MAX(BR_MIN(AREAS_AHEAD, AHEAD_BYTES_MAX / chunk_bytes), UINT64_C(1));
    unsigned n = 0;

    for (; n < BR_MIN(ahead, count); n++) {
        const uint64_t chunk = br_cow_area_chunk(&store->geometry, area + n);
        if (chunk == UINT64_MAX) {
            break;
        }
        reads[n] = (struct br_fresh_read){.offset_bytes = chunk * chunk_bytes, .len_bytes = chunk_bytes};
    }
    int rc = br_fresh_read(&store->fresh, reads, n, reterr);
    return rc < 0 ? rc : (int)n;
}

static int add_complete_area(struct br_cow_store *store, uint64_t area, const struct br_fresh_read *read,
                             struct br_err *reterr)
{
    const int64_t records = br_cow_area_decode(&store->geometry, area, read->bytes, reterr);

    if (records < 0) {
        return (int)records;
    }
    if ((uint64_t)records < store->geometry.area_records) {
        return br_err_at(reterr, BR_E_CORRUPT, read->offset_bytes,
                         "snapshot store: the kernel says that area %" PRIu64 " is complete, it holds %" PRId64
                         " records",
                         area, records);
    }
    return add_area(store, area, read->bytes, (uint64_t)records, reterr);
}

// The areas that the kernel called complete: no write touches them any more.
static int read_complete_areas(struct br_cow_store *store, uint64_t areas, struct br_err *reterr)
{
    struct br_fresh_read reads[AREAS_AHEAD];

    for (uint64_t area = 0; area < areas;) {
        const int count = read_areas(store, area, areas - area, reads, reterr);
        if (count <= 0) {
            return count < 0 ? count : no_such_area(store, area, reterr);
        }
        for (int i = 0; i < count; i++, area++) {
            int rc = add_complete_area(store, area, &reads[i], reterr);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

// In a wiped store, all areas from @area on are zero.
static int check_rest(struct br_cow_store *store, uint64_t area, struct br_err *reterr)
{
    struct br_fresh_read reads[AREAS_AHEAD];
    int count;

    while ((count = read_areas(store, area, UINT64_MAX, reads, reterr)) > 0) {
        for (int i = 0; i < count; i++, area++) {
            if (!br_is_zero(reads[i].bytes, reads[i].len_bytes)) {
                return br_err_at(reterr, BR_E_CORRUPT, reads[i].offset_bytes,
                                 "snapshot store: records end at number %" PRIu64 ", and area %" PRIu64
                                 " behind them is not empty",
                                 store->records, area);
            }
        }
    }
    return count;
}

// One look at area *area: what is new in it. Returns 1 when that was the end of the records, 0 when the next area follows.
static int read_open_area(struct br_cow_store *store, uint64_t *area, const struct br_cow_store_params *params,
                          uint64_t expected, struct br_err *reterr)
{
    const uint8_t *bytes;
    const int64_t count = look_at_area(store, *area, &bytes, reterr);
    int rc = count < 0 ? (int)count : add_area(store, *area, bytes, (uint64_t)count, reterr);

    if (rc < 0) {
        return rc;
    }
    if ((uint64_t)count == store->geometry.area_records) {
        ++*area;
        return 0;
    }
    if (store->records < expected) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "snapshot store: the kernel says %" PRIu64 " records, the store shows %" PRIu64, expected,
                          store->records);
    }
    rc = params->wiped ? check_rest(store, *area + 1, reterr) : 0;
    return rc < 0 ? rc : 1;
}

// From @area on, one by one, to an area that is not full, with at least @expected records in all.
static int read_open_areas(struct br_cow_store *store, uint64_t area, const struct br_cow_store_params *params,
                           uint64_t expected, struct br_err *reterr)
{
    struct patience patience = patience_of(store, params->settle_ns);
    struct br_err err = {0};
    int rc;

    do {
        rc = read_open_area(store, &area, params, expected, &err);
    } while (rc == 0 || (rc == -BR_E_CORRUPT && wait_a_little(&patience)));
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc < 0 ? rc : 0;
}

// What a status implies: complete areas and records handed out. The kernel reads its two numbers one after the other, and the second may be
// newer than the first.
static int understand(const struct br_cow_store *store, const struct br_cow_status *status,
                      uint64_t *ret_complete_areas, uint64_t *ret_records, struct br_err *reterr)
{
    const uint64_t chunk_sectors = store->geometry.chunk_bytes / SECTOR_BYTES;
    const uint64_t used = status->used_sectors / chunk_sectors, metadata = status->metadata_sectors / chunk_sectors;

    if (status->used_sectors % chunk_sectors || status->metadata_sectors % chunk_sectors || metadata < 2 ||
        used > store->geometry.store_chunks || metadata > used) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "snapshot store: the kernel says %" PRIu64 " sectors used and %" PRIu64
                          " of metadata, which a store of %" PRIu64 " chunks of %" PRIu64 " bytes can't have",
                          status->used_sectors, status->metadata_sectors, store->geometry.store_chunks,
                          store->geometry.chunk_bytes);
    }
    *ret_complete_areas = metadata - 2;
    *ret_records =
        BR_MAX(br_cow_records_of_used(&store->geometry, used), (metadata - 2) * store->geometry.area_records);
    return 0;
}

static int read_records(struct br_cow_store *store, const struct br_cow_store_params *params, struct br_err *reterr)
{
    uint64_t complete_areas = 0, expected = 0;
    int rc = 0;

    if (params->before.known) {
        rc = understand(store, &params->before, &complete_areas, &expected, reterr);
    }
    if (rc == 0) {
        rc = read_complete_areas(store, complete_areas, reterr);
    }
    if (rc == 0) {
        rc = read_open_areas(store, complete_areas, params, expected, reterr);
    }
    return rc == 0 ? add_runs_to_map(store, reterr) : rc;
}

static int open_store(const struct br_cow_store_params *params, struct br_cow_store **ret_store, struct br_err *reterr)
{
    struct br_cow_store *store = calloc(1, sizeof(*store));

    if (!store) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a snapshot store");
    }
    store->origin_bytes = params->origin_bytes;
    store->runs_max = params->runs_max ? params->runs_max : BR_COW_RUNS_MAX;
    int rc = br_fresh_open(params->file, params->store_bytes, &store->fresh, reterr);
    if (rc == 0) {
        rc = read_header(store, &store->header, reterr);
    }
    if (rc == 0) {
        rc = br_cow_geometry_of(&store->header, params->store_bytes, params->origin_bytes, &store->geometry, reterr);
    }
    if (rc < 0) {
        br_cow_store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

int br_cow_store_read(const struct br_cow_store_params *params, struct br_cow_store **ret_store, struct br_err *reterr)
{
    struct br_cow_store *store;
    struct br_cow_header again;
    int rc = open_store(params, &store, reterr);

    if (rc < 0) {
        return rc;
    }
    if (!store->header.valid) {
        rc = refuse_invalid(reterr);
    } else if (params->chunk_bytes && params->chunk_bytes != store->header.chunk_bytes) {
        rc = br_err_at(reterr, BR_E_CORRUPT, 12,
                       "snapshot store: chunks of %" PRIu64 " bytes, the snapshot's table says %" PRIu64,
                       store->header.chunk_bytes, params->chunk_bytes);
    } else {
        rc = read_records(store, params, reterr);
    }
    // The kernel may have given the snapshot up meanwhile: then records are missing.
    if (rc == 0 && params->settle_ns) {
        rc = read_header(store, &again, reterr);
        if (rc == 0 && !again.valid) {
            rc = refuse_invalid(reterr);
        }
    }
    if (rc < 0) {
        br_cow_store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

void br_cow_store_close(struct br_cow_store *store)
{
    if (store) {
        br_fresh_close(&store->fresh);
        br_extent_map_free(&store->changed);
        free(store->runs);
        free(store);
    }
}

// What was read -----------------------------------------------------------------------------------------------------------------------

int br_cow_store_agrees(const struct br_cow_store *store, const struct br_cow_status *after, struct br_err *reterr)
{
    uint64_t complete_areas, handed_out;
    int rc = understand(store, after, &complete_areas, &handed_out, reterr);

    if (rc == 0 && store->records > handed_out) {
        rc = br_err_set(reterr, BR_E_CORRUPT,
                        "snapshot store: the kernel says %" PRIu64 " records, the store shows %" PRIu64, handed_out,
                        store->records);
    }
    return rc;
}

const struct br_extent_map *br_cow_store_changed(const struct br_cow_store *store)
{
    return &store->changed;
}

struct br_cow_usage br_cow_store_usage(const struct br_cow_store *store)
{
    const uint64_t areas = store->records / store->geometry.area_records + 1;

    return (struct br_cow_usage){
        .chunk_bytes = store->geometry.chunk_bytes,
        .records = store->records,
        .records_max = br_cow_records_max(&store->geometry),
        .used_bytes = (1 + areas + store->records) * store->geometry.chunk_bytes,
        .store_bytes = store->fresh.size_bytes,
    };
}

// The last run that begins at or before the chunk; NULL when the chunk is not in it.
static const struct run *find_run(const struct br_cow_store *store, uint64_t old_chunk)
{
    size_t low = 0, high = store->run_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (store->runs[middle].old_chunk <= old_chunk) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct run *run = low ? &store->runs[low - 1] : NULL;
    return run && old_chunk - run->old_chunk < run->count ? run : NULL;
}

int br_cow_store_locate(const struct br_cow_store *store, uint64_t offset_bytes, uint64_t *ret_store_bytes,
                        uint64_t *ret_len_bytes, struct br_err *reterr)
{
    const uint64_t chunk_bytes = store->geometry.chunk_bytes, area_records = store->geometry.area_records;
    const uint64_t old_chunk = offset_bytes / chunk_bytes, within = offset_bytes % chunk_bytes;

    if (store->folded) {
        return br_err_set(reterr, BR_E_LIMIT, "snapshot store: more than %zu runs of changed chunks", store->runs_max);
    }
    const struct run *run = offset_bytes < store->origin_bytes ? find_run(store, old_chunk) : NULL;
    if (!run) {
        return 0;
    }
    const uint64_t index = run->index + (old_chunk - run->old_chunk);
    // Data chunks follow each other up to the next area.
    const uint64_t chunks = BR_MIN(run->index + run->count, (index / area_records + 1) * area_records) - index;
    *ret_store_bytes = br_cow_data_chunk(&store->geometry, index) * chunk_bytes + within;
    *ret_len_bytes = BR_MIN(chunks * chunk_bytes - within, store->origin_bytes - offset_bytes);
    return 1;
}

int br_cow_store_read_old(struct br_cow_store *store, void *buf, size_t len_bytes, uint64_t offset_bytes,
                          struct br_err *reterr)
{
    size_t done = 0;

    while (done < len_bytes) {
        uint64_t at, len;
        const uint8_t *bytes;
        int rc = br_cow_store_locate(store, offset_bytes + done, &at, &len, reterr);
        if (rc == 0) {
            rc = br_err_at(reterr, BR_E_NOT_FOUND, offset_bytes + done, "this part of the origin did not change");
        }
        if (rc > 0) {
            len = BR_MIN(BR_MIN(len, len_bytes - done), (uint64_t)AHEAD_BYTES_MAX);
            rc = br_fresh_read_one(&store->fresh, at, len, &bytes, reterr);
        }
        if (rc < 0) {
            return rc;
        }
        memcpy((uint8_t *)buf + done, bytes, len);
        done += len;
    }
    return 0;
}

static void wiped_one(struct br_io *io)
{
    size_t *flying = io->ctx;

    --*flying;
}

// Zeros over @count chunks at once: one by one a large store would take as long as a run.
static int wipe_chunks(struct br_file *file, uint64_t chunk_bytes, uint8_t *zeros, const uint64_t *chunks, size_t count,
                       struct br_err *reterr)
{
    struct br_io ios[WIPES_AHEAD];
    struct br_ring *ring = br_file_ring(file);
    size_t flying = count;

    for (size_t i = 0; i < count; i++) {
        ios[i] = (struct br_io){.op = BR_IO_WRITE,
                                .file = file,
                                .buf = zeros,
                                .len_bytes = chunk_bytes,
                                .offset_bytes = chunks[i] * chunk_bytes,
                                .done = wiped_one,
                                .ctx = &flying};
        br_ring_submit(ring, &ios[i]);
    }
    while (flying) {
        br_ring_wait(ring, UINT64_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (ios[i].result < 0) {
            int rc = ios[i].os_errno
                         ? br_err_os(reterr, ios[i].os_errno, "cannot write %" PRIu64 " bytes", chunk_bytes)
                         : br_err_set(reterr, -ios[i].result, "cannot write %" PRIu64 " bytes", chunk_bytes);
            if (reterr) {
                reterr->has_offset = true;
                reterr->offset_bytes = ios[i].offset_bytes + ios[i].done_bytes;
            }
            return rc;
        }
    }
    return 0;
}

int br_cow_store_wipe(struct br_file *file, uint64_t store_bytes, uint64_t chunk_bytes, struct br_err *reterr)
{
    const struct br_cow_header header = {.valid = true, .chunk_bytes = chunk_bytes};
    struct br_cow_geometry geometry;
    uint64_t chunks[WIPES_AHEAD] = {0}; // the first: the header
    size_t count = 1;
    int rc = br_cow_geometry_of(&header, store_bytes, UINT64_MAX, &geometry, reterr);

    if (rc < 0) {
        return rc;
    }
    BR_AUTO_FREE uint8_t *zeros = aligned_alloc(WIPE_ALIGN, br_align_up(chunk_bytes, WIPE_ALIGN));
    if (!zeros) {
        return br_err_set(reterr, BR_E_NOMEM, "a chunk of %" PRIu64 " bytes", chunk_bytes);
    }
    memset(zeros, 0, chunk_bytes);
    for (uint64_t area = 0, chunk; rc == 0 && (chunk = br_cow_area_chunk(&geometry, area)) != UINT64_MAX; area++) {
        if (count == WIPES_AHEAD) {
            rc = wipe_chunks(file, chunk_bytes, zeros, chunks, count, reterr);
            count = 0;
        }
        chunks[count++] = chunk;
    }
    rc = rc < 0 ? rc : wipe_chunks(file, chunk_bytes, zeros, chunks, count, reterr);
    return rc < 0 ? rc : br_file_sync(file, reterr);
}

// Text --------------------------------------------------------------------------------------------------------------------------------

static int dump_area(struct br_cow_store *store, uint64_t area, const uint8_t *bytes, uint64_t count,
                     br_cow_store_line_fn *line, void *ctx)
{
    char text[128];

    snprintf(text, sizeof(text), "area %" PRIu64 " at %" PRIu64 ": %" PRIu64 " records", area,
             br_cow_area_chunk(&store->geometry, area) * store->geometry.chunk_bytes, count);
    int rc = line(ctx, text);
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        const struct br_cow_record record = br_cow_record_at(bytes, i);
        snprintf(text, sizeof(text), "  record %" PRIu64 ": chunk %" PRIu64 ", old data in chunk %" PRIu64,
                 area * store->geometry.area_records + i, record.old_chunk, record.new_chunk);
        rc = line(ctx, text);
    }
    return rc;
}

// How many records of a damaged area are good, for the lines before the damage.
static uint64_t good_records(const struct br_cow_store *store, uint64_t area, const uint8_t *bytes)
{
    uint64_t i = 0;

    while (i < store->geometry.area_records) {
        const struct br_cow_record record = br_cow_record_at(bytes, i);
        const uint64_t chunk = br_cow_data_chunk(&store->geometry, area * store->geometry.area_records + i);
        if (record.new_chunk != chunk || chunk >= store->geometry.store_chunks ||
            record.old_chunk >= store->geometry.origin_chunks) {
            break;
        }
        i++;
    }
    return i;
}

static int dump_areas(struct br_cow_store *store, br_cow_store_line_fn *line, void *ctx, struct br_err *reterr)
{
    const uint8_t *bytes = NULL;
    char text[128];
    uint64_t area = 0;

    for (;; area++) {
        int64_t count = look_at_area(store, area, &bytes, reterr);
        const bool damaged = count == -BR_E_CORRUPT && bytes;
        if (count < 0 && !damaged) {
            return (int)count;
        }
        const uint64_t good = damaged ? good_records(store, area, bytes) : (uint64_t)count;
        int rc = dump_area(store, area, bytes, good, line, ctx);
        if (rc || damaged) {
            return rc ? rc : (int)count;
        }
        store->records += good;
        if (good < store->geometry.area_records) {
            break;
        }
        bytes = NULL;
    }
    const struct br_cow_usage usage = br_cow_store_usage(store);
    snprintf(text, sizeof(text), "%" PRIu64 " records of at most %" PRIu64 ", %" PRIu64 " of %" PRIu64 " bytes used",
             usage.records, usage.records_max, usage.used_bytes, usage.store_bytes);
    return line(ctx, text);
}

int br_cow_store_dump(const struct br_cow_store_params *params, br_cow_store_line_fn *line, void *ctx,
                      struct br_err *reterr)
{
    struct br_cow_store *store;
    char text[128];
    int rc = open_store(params, &store, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = line(ctx, "dm-snapshot exception store");
    if (rc == 0) {
        snprintf(text, sizeof(text), "  version %u, %s, chunks of %" PRIu64 " bytes, %" PRIu64 " records to an area",
                 BR_COW_VERSION, store->header.valid ? "valid" : "invalid: the kernel gave this snapshot up",
                 store->header.chunk_bytes, store->geometry.area_records);
        rc = line(ctx, text);
    }
    if (rc == 0) {
        rc = dump_areas(store, line, ctx, reterr);
    }
    br_cow_store_close(store);
    return rc;
}
