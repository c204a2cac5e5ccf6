// SPDX-License-Identifier: Apache-2.0
//
// Tree files. Records go into buffers of 1 MiB; a full one is handed to the ring and stays readable until it is written. A node is
// looked for in the buffers, newest first, then in the cache of nodes read, then on the disk. No byte is ever written twice, so
// that what an identity record counts on is not touched again.
#include "engine/track/tree_file.h"

#include "engine/map/tree_node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#define MAGIC             "blkrtree"
#define FORMAT_VERSION    1u
#define RECORD_HEAD_BYTES 8u
#define RECORD_ALIGN      16u
#define RECORD_BYTES_MAX  (4095u * RECORD_ALIGN)
#define REF_LENGTH_BITS   12
#define CHUNK_BYTES       (1024u * 1024u)
#define CHUNKS_FLYING_MAX 4u
#define COMPACT_BYTES     (8u * 1024u * 1024u)
#define CACHE_BUCKETS     256u
#define SECRET_OFFSET     40u
#define CHECKSUM_OFFSET   (BR_TREE_FILE_HEADER_BYTES - 8u)

static_assert(SECRET_OFFSET + BR_PAGE_SECRET_BYTES <= CHECKSUM_OFFSET, "the secret fits into the header");

// Records that are not yet written. The last one of the list takes more, unless it is flying.
struct chunk {
    struct chunk *next;
    struct br_tree_file *file;
    struct br_io io;
    bool flying;
    uint64_t offset_bytes;
    size_t len;
    uint8_t bytes[CHUNK_BYTES];
};

// A node that was read, in a chain of its bucket and in the order of use.
struct cached {
    struct cached *chain;
    struct cached *newer, *older;
    uint64_t ref;
    size_t len;
    uint8_t bytes[];
};

struct br_tree_file {
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_file *file;
    struct br_tree_store store;
    char *stem;
    uint64_t number;
    struct br_uuid replica;
    uint8_t secret[BR_PAGE_SECRET_BYTES];
    uint64_t checksum; // of the header: ties records to this file
    uint64_t length;   // with what is in chunks
    bool read_only;
    bool name_durable;
    int failed; // the first failed write's -BR_E_*
    int failed_errno;
    struct chunk *chunks; // oldest first
    unsigned flying;
    struct cached *buckets[CACHE_BUCKETS];
    struct cached *newest, *oldest;
    size_t cached_bytes;
};

// Cache -------------------------------------------------------------------------------------------------------------------------------

static struct cached **cache_bucket(struct br_tree_file *file, uint64_t ref)
{
    return &file->buckets[(ref * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
}

static void cache_unlink_age(struct br_tree_file *file, struct cached *entry)
{
    *(entry->newer ? &entry->newer->older : &file->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &file->oldest) = entry->newer;
}

static void cache_link_newest(struct br_tree_file *file, struct cached *entry)
{
    entry->newer = NULL;
    entry->older = file->newest;
    *(file->newest ? &file->newest->newer : &file->oldest) = entry;
    file->newest = entry;
}

static const struct cached *cache_get(struct br_tree_file *file, uint64_t ref)
{
    struct cached *entry = *cache_bucket(file, ref);

    while (entry && entry->ref != ref) {
        entry = entry->chain;
    }
    if (entry) {
        cache_unlink_age(file, entry);
        cache_link_newest(file, entry);
    }
    return entry;
}

static void cache_drop_oldest(struct br_tree_file *file)
{
    struct cached *entry = file->oldest;
    struct cached **at = cache_bucket(file, entry->ref);

    while (*at != entry) {
        at = &(*at)->chain;
    }
    *at = entry->chain;
    cache_unlink_age(file, entry);
    file->cached_bytes -= sizeof(*entry) + entry->len;
    free(entry);
}

// Best effort: without memory it is not cached.
static void cache_put(struct br_tree_file *file, uint64_t ref, const uint8_t *bytes, size_t len)
{
    if (cache_get(file, ref)) {
        return; // another fetch, run by the ring meanwhile, was faster
    }
    struct cached *entry = malloc(sizeof(*entry) + len);
    if (!entry) {
        return;
    }
    entry->ref = ref;
    entry->len = len;
    memcpy(entry->bytes, bytes, len);
    entry->chain = *cache_bucket(file, ref);
    *cache_bucket(file, ref) = entry;
    cache_link_newest(file, entry);
    file->cached_bytes += sizeof(*entry) + len;
    while (file->cached_bytes > BR_TREE_FILE_CACHE_BYTES) {
        cache_drop_oldest(file);
    }
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static void chunk_written(struct br_io *io)
{
    struct chunk *chunk = io->ctx;
    struct br_tree_file *file = chunk->file;
    struct chunk **at = &file->chunks;

    if (io->result < 0 && !file->failed) {
        file->failed = io->result;
        file->failed_errno = io->os_errno;
    }
    while (*at != chunk) {
        at = &(*at)->next;
    }
    *at = chunk->next;
    file->flying--;
    free(chunk);
}

static void submit_chunk(struct br_tree_file *file, struct chunk *chunk)
{
    chunk->io = (struct br_io){
        .op = BR_IO_WRITE,
        .file = file->file,
        .buf = chunk->bytes,
        .len_bytes = chunk->len,
        .offset_bytes = chunk->offset_bytes,
        .done = chunk_written,
        .ctx = chunk,
    };
    chunk->flying = true;
    file->flying++;
    br_ring_submit(file->ring, &chunk->io);
}

static void wait_until_flying(struct br_tree_file *file, unsigned at_most)
{
    while (file->flying > at_most) {
        br_ring_wait(file->ring, UINT64_MAX);
    }
}

static int tell_failure(const struct br_tree_file *file, struct br_err *reterr)
{
    int rc = file->failed_errno
                 ? br_err_os(reterr, file->failed_errno, "write to %s.%" PRIu64, file->stem, file->number)
                 : br_err_set(reterr, -file->failed, "write to %s.%" PRIu64, file->stem, file->number);
    return rc;
}

// Where @len more bytes go: the chunk that takes more, or a new one.
static int chunk_with_room(struct br_tree_file *file, size_t len, struct chunk **ret_chunk, struct br_err *reterr)
{
    struct chunk **last = &file->chunks;

    while (*last && (*last)->next) {
        last = &(*last)->next;
    }
    struct chunk *chunk = *last;
    if (chunk && !chunk->flying && CHUNK_BYTES - chunk->len >= len) {
        *ret_chunk = chunk;
        return 0;
    }
    struct chunk *more = malloc(sizeof(*more));
    if (!more) {
        return br_err_set(reterr, BR_E_NOMEM, "buffer of %s.%" PRIu64, file->stem, file->number);
    }
    more->next = NULL;
    more->file = file;
    more->flying = false;
    more->offset_bytes = file->length;
    more->len = 0;
    *(chunk ? &chunk->next : &file->chunks) = more;
    if (chunk && !chunk->flying) {
        submit_chunk(file, chunk);
        br_ring_flush(file->ring); // it is written while the next one fills
    }
    *ret_chunk = more;
    return 0;
}

static uint32_t record_check(const struct br_tree_file *file, uint64_t offset_bytes, uint32_t len)
{
    uint8_t bytes[12];

    br_put_u64(bytes, offset_bytes);
    br_put_u32(bytes + 8, len);
    return (uint32_t)XXH3_64bits_withSeed(bytes, sizeof(bytes), file->checksum);
}

static int keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                struct br_err *reterr)
{
    struct br_tree_file *file = ctx;
    const size_t record_len = br_align_up(RECORD_HEAD_BYTES + len, RECORD_ALIGN);
    struct chunk *chunk = NULL;

    (void)hash;
    if (file->read_only || !len || record_len > RECORD_BYTES_MAX) {
        return br_err_set(reterr, BR_E_INTERNAL, "%s.%" PRIu64 " can't take a node of %zu bytes", file->stem,
                          file->number, len);
    }
    if (file->failed) {
        return tell_failure(file, reterr);
    }
    int rc = chunk_with_room(file, record_len, &chunk, reterr);
    if (rc < 0) {
        return rc;
    }
    uint8_t *record = chunk->bytes + chunk->len;
    br_put_u32(record, (uint32_t)len);
    br_put_u32(record + 4, record_check(file, file->length, (uint32_t)len));
    memcpy(record + RECORD_HEAD_BYTES, bytes, len);
    memset(record + RECORD_HEAD_BYTES + len, 0, record_len - RECORD_HEAD_BYTES - len);
    *ret_ref = file->length / RECORD_ALIGN << REF_LENGTH_BITS | record_len / RECORD_ALIGN;
    chunk->len += record_len;
    file->length += record_len;
    wait_until_flying(file, CHUNKS_FLYING_MAX);
    return 0;
}

int br_tree_file_sync(struct br_tree_file *file, struct br_err *reterr)
{
    if (file->read_only) {
        return br_err_set(reterr, BR_E_INTERNAL, "sync of %s.%" PRIu64 ", opened read only", file->stem, file->number);
    }
    for (struct chunk *chunk = file->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        if (!chunk->flying) {
            submit_chunk(file, chunk);
        }
    }
    wait_until_flying(file, 0);
    if (file->failed) {
        return tell_failure(file, reterr);
    }
    int rc = br_file_sync(file->file, reterr);
    if (!rc && !file->name_durable) {
        rc = br_dir_sync(file->dir, reterr);
    }
    if (rc < 0) {
        file->failed = rc;
        return rc;
    }
    file->name_durable = true;
    return 0;
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static uint64_t ref_offset(uint64_t ref)
{
    return (ref >> REF_LENGTH_BITS) * RECORD_ALIGN;
}

static size_t ref_length(uint64_t ref)
{
    return (ref & ((1u << REF_LENGTH_BITS) - 1)) * RECORD_ALIGN;
}

// The record in a chunk, or NULL when it was written already.
static const uint8_t *find_unwritten(const struct br_tree_file *file, uint64_t ref)
{
    const uint64_t offset = ref_offset(ref);

    for (const struct chunk *chunk = file->chunks; chunk; chunk = chunk->next) {
        if (offset >= chunk->offset_bytes && br_range_ok(offset - chunk->offset_bytes, ref_length(ref), chunk->len)) {
            return chunk->bytes + (offset - chunk->offset_bytes);
        }
    }
    return NULL;
}

// The node in a record of @ref; its length, or an error.
static int open_record(const struct br_tree_file *file, const uint8_t *record, uint64_t ref, uint8_t *bytes,
                       struct br_err *reterr)
{
    const uint32_t len = br_get_u32(record);

    if (len > BR_TREE_NODE_BYTES_MAX || br_align_up(RECORD_HEAD_BYTES + len, RECORD_ALIGN) != ref_length(ref) ||
        br_get_u32(record + 4) != record_check(file, ref_offset(ref), len)) {
        return br_err_at(reterr, BR_E_CORRUPT, ref_offset(ref), "record in %s.%" PRIu64, file->stem, file->number);
    }
    memcpy(bytes, record + RECORD_HEAD_BYTES, len);
    return (int)len;
}

static int fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct br_tree_file *file = ctx;
    const uint64_t ref = link->ref;
    const uint64_t offset = ref_offset(ref);

    if (offset < BR_TREE_FILE_HEADER_BYTES || !ref_length(ref) || !br_range_ok(offset, ref_length(ref), file->length)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s.%" PRIu64 " has no node %#" PRIx64, file->stem, file->number, ref);
    }
    const uint8_t *record = find_unwritten(file, ref);
    if (record) {
        return open_record(file, record, ref, bytes, reterr);
    }
    const struct cached *known = cache_get(file, ref);
    if (known) {
        memcpy(bytes, known->bytes, known->len);
        return (int)known->len;
    }
    BR_AUTO_FREE uint8_t *read = malloc(ref_length(ref));
    if (!read) {
        return br_err_set(reterr, BR_E_NOMEM, "node of %s.%" PRIu64, file->stem, file->number);
    }
    int rc = br_file_read(file->file, read, ref_length(ref), offset, reterr);
    if (rc < 0) {
        return rc;
    }
    int len = open_record(file, read, ref, bytes, reterr);
    if (len >= 0) {
        cache_put(file, ref, bytes, (size_t)len);
    }
    return len;
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int name_of(char *name, size_t name_bytes, const char *stem, uint64_t number, struct br_err *reterr)
{
    int len = snprintf(name, name_bytes, "%s.%" PRIu64, stem, number);

    if (len < 0 || (size_t)len >= name_bytes) {
        return br_err_set(reterr, BR_E_LIMIT, "name of a tree file");
    }
    return 0;
}

int br_tree_file_remove(struct br_dir *dir, const char *stem, uint64_t number, struct br_err *reterr)
{
    char name[256];
    int rc = name_of(name, sizeof(name), stem, number, reterr);

    return rc < 0 ? rc : br_dir_unlink(dir, name, reterr);
}

static int open_file(struct br_ring *ring, const struct br_tree_file_name *name, unsigned flags,
                     struct br_tree_file **ret_file, struct br_err *reterr)
{
    char text[256];
    int rc = name_of(text, sizeof(text), name->stem, name->number, reterr);

    if (rc < 0) {
        return rc;
    }
    struct br_tree_file *file = calloc(1, sizeof(*file));
    if (file) {
        file->stem = strdup(name->stem);
    }
    if (!file || !file->stem) {
        free(file);
        return br_err_set(reterr, BR_E_NOMEM, "tree file");
    }
    file->ring = ring;
    file->dir = name->dir;
    file->number = name->number;
    file->replica = name->replica;
    file->read_only = !(flags & BR_OPEN_WRITE);
    file->store = (struct br_tree_store){.fetch = fetch, .keep = keep, .ctx = file};
    rc = br_dir_open(name->dir, text, flags, &file->file, reterr);
    if (rc < 0) {
        br_tree_file_close(file);
        return rc;
    }
    *ret_file = file;
    return 0;
}

static void make_header(struct br_tree_file *file, uint8_t header[BR_TREE_FILE_HEADER_BYTES])
{
    memset(header, 0, BR_TREE_FILE_HEADER_BYTES);
    memcpy(header, MAGIC, 8);
    br_put_u32(header + 8, FORMAT_VERSION);
    br_put_u32(header + 12, BR_TREE_FILE_HEADER_BYTES);
    memcpy(header + 16, file->replica.bytes, BR_UUID_BYTES);
    br_put_u64(header + 32, file->number);
    memcpy(header + SECRET_OFFSET, file->secret, BR_PAGE_SECRET_BYTES);
    file->checksum = XXH3_64bits(header, CHECKSUM_OFFSET);
    br_put_u64(header + CHECKSUM_OFFSET, file->checksum);
}

int br_tree_file_create(struct br_ring *ring, const struct br_tree_file_name *name, const uint8_t *secret,
                        struct br_tree_file **ret_file, struct br_err *reterr)
{
    struct br_tree_file *file = NULL;
    struct chunk *chunk = NULL;

    int rc = open_file(ring, name, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, reterr);
    if (rc < 0) {
        return rc;
    }
    if (secret) {
        memcpy(file->secret, secret, BR_PAGE_SECRET_BYTES);
    } else {
        br_ring_random(ring, file->secret, BR_PAGE_SECRET_BYTES);
    }
    rc = chunk_with_room(file, BR_TREE_FILE_HEADER_BYTES, &chunk, reterr);
    if (rc < 0) {
        br_tree_file_close(file);
        return rc;
    }
    make_header(file, chunk->bytes);
    chunk->len = BR_TREE_FILE_HEADER_BYTES;
    file->length = BR_TREE_FILE_HEADER_BYTES;
    *ret_file = file;
    return 0;
}

// The header says what this file must be: all of it is known but for the secret.
static int check_header(struct br_tree_file *file, const uint8_t header[BR_TREE_FILE_HEADER_BYTES],
                        struct br_err *reterr)
{
    uint8_t want[BR_TREE_FILE_HEADER_BYTES];

    if (memcmp(header, MAGIC, 8) || br_get_u64(header + CHECKSUM_OFFSET) != XXH3_64bits(header, CHECKSUM_OFFSET)) {
        return br_err_set(reterr, BR_E_CORRUPT, "header of %s.%" PRIu64, file->stem, file->number);
    }
    if (br_get_u32(header + 8) != FORMAT_VERSION) {
        return br_err_set(reterr, BR_E_VERSION, "%s.%" PRIu64 " has format %u", file->stem, file->number,
                          br_get_u32(header + 8));
    }
    memcpy(file->secret, header + SECRET_OFFSET, BR_PAGE_SECRET_BYTES);
    make_header(file, want);
    if (memcmp(header, want, sizeof(want))) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s.%" PRIu64 " belongs to another replica", file->stem, file->number);
    }
    return 0;
}

// What a crash left: nodes that no version counts on, and the other file of a compaction.
static int clean_up(struct br_tree_file *file, uint64_t size_bytes, struct br_err *reterr)
{
    int rc = 0;

    if (size_bytes > file->length) {
        rc = br_file_truncate(file->file, file->length, reterr);
    }
    if (!rc && file->number) {
        rc = br_tree_file_remove(file->dir, file->stem, file->number - 1, reterr);
    }
    return rc < 0 ? rc : br_tree_file_remove(file->dir, file->stem, file->number + 1, reterr);
}

int br_tree_file_open(struct br_ring *ring, const struct br_tree_file_name *name, uint64_t tree_bytes, bool read_only,
                      struct br_tree_file **ret_file, struct br_err *reterr)
{
    uint8_t header[BR_TREE_FILE_HEADER_BYTES];
    struct br_file_info info;
    struct br_tree_file *file = NULL;

    int rc = open_file(ring, name, read_only ? BR_OPEN_READ : BR_OPEN_WRITE, &file, reterr);
    if (rc < 0) {
        return rc;
    }
    file->length = tree_bytes;
    file->name_durable = true;
    rc = br_file_stat(file->file, &info, reterr);
    if (!rc && (tree_bytes < sizeof(header) || tree_bytes % RECORD_ALIGN || info.size_bytes < tree_bytes)) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "%s.%" PRIu64 " has %" PRIu64 " bytes, %" PRIu64 " are recorded",
                        name->stem, name->number, info.size_bytes, tree_bytes);
    }
    rc = rc ? rc : br_file_read(file->file, header, sizeof(header), 0, reterr);
    rc = rc ? rc : check_header(file, header, reterr);
    if (!rc && !read_only) {
        rc = clean_up(file, info.size_bytes, reterr);
    }
    if (rc < 0) {
        br_tree_file_close(file);
        return rc;
    }
    *ret_file = file;
    return 0;
}

void br_tree_file_close(struct br_tree_file *file)
{
    if (!file) {
        return;
    }
    wait_until_flying(file, 0);
    while (file->chunks) {
        struct chunk *next = file->chunks->next;
        free(file->chunks);
        file->chunks = next;
    }
    while (file->oldest) {
        cache_drop_oldest(file);
    }
    br_file_close(file->file);
    free(file->stem);
    free(file);
}

const struct br_tree_store *br_tree_file_store(const struct br_tree_file *file)
{
    return &file->store;
}

const uint8_t *br_tree_file_secret(const struct br_tree_file *file)
{
    return file->secret;
}

uint64_t br_tree_file_number(const struct br_tree_file *file)
{
    return file->number;
}

uint64_t br_tree_file_bytes(const struct br_tree_file *file)
{
    return file->length;
}

// Compaction --------------------------------------------------------------------------------------------------------------------------

struct live_sum {
    const struct br_tree_shape *shape;
    const struct br_tree_store *store;
    uint64_t bytes;
    struct br_tree_node *nodes[BR_TREE_LEVELS_MAX + 1];
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
};

static int sum_live(struct live_sum *sum, const struct br_tree_link *link, uint8_t level, uint64_t index,
                    struct br_err *reterr)
{
    if (!link->ref) {
        return 0;
    }
    sum->bytes += ref_length(link->ref);
    if (level == 1) {
        return 0;
    }
    struct br_tree_node *node = sum->nodes[level];
    assert(node); // one for each level was made before
    int rc = br_tree_load(sum->shape, sum->store, link, level, index, sum->scratch, node, reterr);
    for (unsigned child = 0; !rc && child < BR_FANOUT; child++) {
        const struct br_tree_link below = {node->hashes[child], node->refs[child]};
        rc = sum_live(sum, &below, level - 1, index * BR_FANOUT + child, reterr);
    }
    return rc;
}

int br_tree_file_live(struct br_tree_file *file, const struct br_tree *tree, uint64_t *ret_bytes, struct br_err *reterr)
{
    struct br_tree_shape shape;
    struct live_sum *sum = calloc(1, sizeof(*sum));
    int rc = sum ? 0 : br_err_set(reterr, BR_E_NOMEM, "tree file");

    br_tree_shape_init(&shape, &tree->geometry);
    for (uint8_t level = 2; !rc && level <= tree->geometry.levels; level++) {
        sum->nodes[level] = br_tree_node_new(level);
        rc = sum->nodes[level] ? 0 : br_err_set(reterr, BR_E_NOMEM, "tree file");
    }
    if (!rc) {
        sum->shape = &shape;
        sum->store = &file->store;
        sum->bytes = BR_TREE_FILE_HEADER_BYTES;
        rc = sum_live(sum, &tree->top, tree->geometry.levels, 0, reterr);
    }
    if (!rc) {
        *ret_bytes = sum->bytes;
    }
    for (uint8_t level = 2; sum && level <= BR_TREE_LEVELS_MAX; level++) {
        free(sum->nodes[level]);
    }
    free(sum);
    return rc;
}

int br_tree_file_compact(struct br_tree_file *file, const struct br_tree *tree, uint64_t least_bytes,
                         struct br_tree_file **ret_file, struct br_tree *ret_tree, struct br_err *reterr)
{
    const struct br_tree_file_name name = {
        .dir = file->dir, .stem = file->stem, .number = file->number + 1, .replica = file->replica};
    struct br_tree_store from = file->store;
    struct br_tree_file *compact = NULL;
    struct br_tree copied;
    uint64_t live = 0;

    if (file->length <= (least_bytes ? least_bytes : COMPACT_BYTES)) {
        return 0;
    }
    int rc = br_tree_file_live(file, tree, &live, reterr);
    if (rc < 0 || live > file->length / 2) {
        return rc;
    }
    rc = br_tree_file_create(file->ring, &name, file->secret, &compact, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = br_tree_copy(tree, br_tree_store_fetch_many, &from, &compact->store, true, &copied, reterr);
    rc = rc ? rc : br_tree_file_sync(compact, reterr);
    if (rc < 0) {
        br_tree_file_close(compact);
        // The copy is unfinished and nothing names it; what is left of it goes with the next open.
        (void)!br_tree_file_remove(file->dir, file->stem, name.number, NULL);
        return rc;
    }
    *ret_file = compact;
    *ret_tree = copied;
    return 1;
}
