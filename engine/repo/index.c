// SPDX-License-Identifier: Apache-2.0
//
// Five tables of one LMDB environment: "info" (what it is the index of), "packs", "salts", "frames", "chunks". Keys of packs and frames are
// big-endian, so that they lie in order. A chunk that is in several packs has a value for each. One read transaction is kept and renewed for each question: it costs no system call.
#include "engine/repo/index.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define INDEX_VERSION    2u
#define INDEX_INFO_BYTES (4u + BR_UUID_BYTES)
#define INDEX_MAP_BYTES  (UINT64_C(256) << 30) // address space, not memory: some 2000 million chunks
#define INDEX_MAP_LEAST  (UINT64_C(1) << 30)   // where address space is limited
#define PACK_VALUE_BYTES (BR_SALT_BYTES + 4u + BR_UUID_BYTES + 8u + 8u + 4u + 1u)
#define FRAME_BYTES      17u
#define CHUNK_BYTES      21u
#define CHUNK_MOST       (CHUNK_BYTES + BR_MAC_BYTES + 4u)
#define VALUE_MOST       BR_MAX(CHUNK_MOST, PACK_VALUE_BYTES)

enum table { INFO, PACKS, SALTS, FRAMES, CHUNKS, TABLES };

struct br_index {
    MDB_env *env;
    MDB_dbi tables[TABLES];
    MDB_txn *reading; // reset between questions; NULL: not begun yet
    int dir_fd;
    uint8_t (*avoided)[BR_SALT_BYTES]; // ascending
    size_t avoided_count;
};

// Pages that a transaction took and gave back are counted, though the file may end before them: it is made as long as it says, so that a file
// that was cut can be told.
static int commit(struct br_index *index, MDB_txn *txn)
{
    MDB_envinfo info;
    MDB_stat pages;
    struct stat st;
    mdb_filehandle_t fd;
    int rc = mdb_txn_commit(txn);

    rc = rc ? rc : mdb_env_info(index->env, &info);
    rc = rc ? rc : mdb_env_stat(index->env, &pages);
    rc = rc ? rc : mdb_env_get_fd(index->env, &fd);
    if (!rc && !fstat(fd, &st)) {
        uint64_t bytes = ((uint64_t)info.me_last_pgno + 1) * pages.ms_psize;

        if ((uint64_t)st.st_size < bytes) {
            (void)!posix_fallocate(fd, st.st_size, (off_t)(bytes - (uint64_t)st.st_size));
        }
    }
    return rc;
}

static int index_error(int mdb_error, const char *what, struct br_err *reterr)
{
    if (mdb_error > 0) {
        return br_err_os(reterr, mdb_error, "the index: %s", what);
    }
    return br_err_set(reterr, mdb_error == MDB_MAP_FULL ? BR_E_LIMIT : BR_E_IO, "the index: %s: %s", what,
                      mdb_strerror(mdb_error));
}

static void put_be32(uint8_t *to, uint32_t v)
{
    v = htobe32(v);
    memcpy(to, &v, sizeof(v));
}

static uint32_t get_be32(const uint8_t *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return be32toh(v);
}

// LMDB's values are not const, and it writes to none that it is given.
static MDB_val value_of(const void *bytes, size_t len)
{
    union {
        const void *in;
        void *out;
    } pun = {.in = bytes};

    return (MDB_val){.mv_size = len, .mv_data = pun.out};
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int environment_open(struct br_index *index, uint64_t map_bytes)
{
    char path[40];
    int rc = mdb_env_create(&index->env);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", index->dir_fd);
    if (!rc) {
        rc = mdb_env_set_maxdbs(index->env, TABLES);
    }
    if (!rc) {
        rc = mdb_env_set_mapsize(index->env, map_bytes);
    }
    // MDB_NOTLS: the transaction belongs to the handle, not to the thread.
    if (!rc) {
        rc = mdb_env_open(index->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
    }
    if (rc) {
        mdb_env_close(index->env);
        index->env = NULL;
    }
    return rc;
}

// A file that was cut is mapped all the same, and kills who touches what is missing.
static int length_check(const struct br_index *index)
{
    MDB_envinfo info;
    MDB_stat pages;
    struct stat st;
    int rc = mdb_env_info(index->env, &info);

    rc = rc ? rc : mdb_env_stat(index->env, &pages);
    if (!rc && fstatat(index->dir_fd, "data.mdb", &st, 0)) {
        rc = errno;
    }
    return rc ? rc : (uint64_t)st.st_size < ((uint64_t)info.me_last_pgno + 1) * pages.ms_psize ? MDB_CORRUPTED : 0;
}

// Makes the tables and says whose index it is; empties it when it is another's.
static int tables_open(struct br_index *index, const struct br_uuid *repository)
{
    static const char *const names[TABLES] = {"info", "packs", "salts", "frames", "chunks"};
    uint8_t info[INDEX_INFO_BYTES];
    MDB_val key = value_of("index", 5), value;
    MDB_txn *txn;
    int rc = mdb_txn_begin(index->env, NULL, 0, &txn);

    if (rc) {
        return rc;
    }
    br_put_u32(info, INDEX_VERSION);
    memcpy(info + 4, repository->bytes, BR_UUID_BYTES);
    for (unsigned t = 0; !rc && t < TABLES; t++) {
        rc = mdb_dbi_open(txn, names[t], MDB_CREATE | (t == CHUNKS ? MDB_DUPSORT : 0), &index->tables[t]);
    }
    if (!rc) {
        rc = mdb_get(txn, index->tables[INFO], &key, &value);
        if (!rc && value.mv_size == sizeof(info) && !memcmp(value.mv_data, info, sizeof(info))) {
            return commit(index, txn);
        }
        rc = rc == MDB_NOTFOUND ? 0 : rc;
    }
    for (unsigned t = 0; !rc && t < TABLES; t++) {
        rc = mdb_drop(txn, index->tables[t], 0);
    }
    value = value_of(info, sizeof(info));
    rc = rc ? rc : mdb_put(txn, index->tables[INFO], &key, &value, 0);
    // Random, so that an index made anew is never taken for the one that a check was noted in.
    uint64_t losses = 0;
    if (!rc && getrandom(&losses, sizeof(losses), 0) != sizeof(losses)) {
        rc = EIO;
    }
    uint8_t losses_bytes[8];
    br_put_u64(losses_bytes, losses >> 1 | 1);
    key = value_of("losses", 6);
    value = value_of(losses_bytes, sizeof(losses_bytes));
    rc = rc ? rc : mdb_put(txn, index->tables[INFO], &key, &value, 0);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return commit(index, txn);
}

static int open_all(struct br_index *index, const struct br_uuid *repository)
{
    int rc = environment_open(index, INDEX_MAP_BYTES);

    if (rc == ENOMEM) {
        rc = environment_open(index, INDEX_MAP_LEAST);
    }
    if (!rc) {
        rc = length_check(index);
        rc = rc ? rc : tables_open(index, repository);
        if (rc) {
            mdb_env_close(index->env);
            index->env = NULL;
        }
    }
    return rc;
}

// What LMDB says of files that it can't use, whatever became of them.
static bool is_damaged(int mdb_error)
{
    return mdb_error == MDB_INVALID || mdb_error == MDB_VERSION_MISMATCH || mdb_error == MDB_CORRUPTED ||
           mdb_error == MDB_PAGE_NOTFOUND || mdb_error == MDB_INCOMPATIBLE || mdb_error == MDB_PANIC ||
           mdb_error == MDB_BAD_TXN;
}

int br_index_open(int dir_fd, const struct br_uuid *repository, struct br_index **ret_index, struct br_err *reterr)
{
    struct br_index *index = calloc(1, sizeof(*index));

    if (!index) {
        close(dir_fd);
        return br_err_set(reterr, BR_E_NOMEM, "the index");
    }
    index->dir_fd = dir_fd;
    int rc = open_all(index, repository);
    if (is_damaged(rc)) {
        if (unlinkat(dir_fd, "data.mdb", 0) && errno != ENOENT) {
            rc = errno;
        } else {
            rc = open_all(index, repository);
        }
    }
    if (rc) {
        rc = index_error(rc, "opening it", reterr);
        br_index_close(index);
        return rc;
    }
    *ret_index = index;
    return 0;
}

void br_index_close(struct br_index *index)
{
    if (!index) {
        return;
    }
    if (index->reading) {
        mdb_txn_abort(index->reading);
    }
    if (index->env) {
        mdb_env_close(index->env);
    }
    close(index->dir_fd);
    br_index_avoid_none(index);
    free(index);
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static int reading_begin(struct br_index *index, struct br_err *reterr)
{
    int rc =
        index->reading ? mdb_txn_renew(index->reading) : mdb_txn_begin(index->env, NULL, MDB_RDONLY, &index->reading);

    return rc ? index_error(rc, "reading", reterr) : 0;
}

static void reading_end(struct br_index *index)
{
    mdb_txn_reset(index->reading);
}

// 1 and the value, whose length must be in [least, most]; 0 none.
static int look_up(MDB_txn *txn, MDB_dbi table, const void *key_bytes, size_t key_len, size_t least, size_t most,
                   MDB_val *ret_value, struct br_err *reterr)
{
    MDB_val key = value_of(key_bytes, key_len);
    int rc = mdb_get(txn, table, &key, ret_value);

    if (rc == MDB_NOTFOUND) {
        return 0;
    }
    if (!rc && (ret_value->mv_size < least || ret_value->mv_size > most)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the index has an entry of %zu bytes", ret_value->mv_size);
    }
    return rc ? index_error(rc, "reading", reterr) : 1;
}

static void take_pack(uint32_t number, const uint8_t *bytes, struct br_index_pack *pack)
{
    *pack = (struct br_index_pack){
        .number = number,
        .epoch = br_get_u32(bytes + BR_SALT_BYTES),
        .bytes = br_get_u64(bytes + BR_SALT_BYTES + 4 + BR_UUID_BYTES),
        .raw_bytes = br_get_u64(bytes + BR_SALT_BYTES + 12 + BR_UUID_BYTES),
        .chunks = br_get_u32(bytes + BR_SALT_BYTES + 20 + BR_UUID_BYTES),
        .proven = bytes[PACK_VALUE_BYTES - 1] != 0,
    };
    memcpy(pack->salt, bytes, BR_SALT_BYTES);
    memcpy(pack->writer.bytes, bytes + BR_SALT_BYTES + 4, BR_UUID_BYTES);
}

static void put_pack(const struct br_index_pack *pack, uint8_t bytes[PACK_VALUE_BYTES])
{
    memcpy(bytes, pack->salt, BR_SALT_BYTES);
    br_put_u32(bytes + BR_SALT_BYTES, pack->epoch);
    memcpy(bytes + BR_SALT_BYTES + 4, pack->writer.bytes, BR_UUID_BYTES);
    br_put_u64(bytes + BR_SALT_BYTES + 4 + BR_UUID_BYTES, pack->bytes);
    br_put_u64(bytes + BR_SALT_BYTES + 12 + BR_UUID_BYTES, pack->raw_bytes);
    br_put_u32(bytes + BR_SALT_BYTES + 20 + BR_UUID_BYTES, pack->chunks);
    bytes[PACK_VALUE_BYTES - 1] = pack->proven;
}

static int find_pack(struct br_index *index, MDB_txn *txn, uint32_t number, struct br_index_pack *ret_pack,
                     struct br_err *reterr)
{
    uint8_t key[4];
    MDB_val value;

    put_be32(key, number);
    int rc = look_up(txn, index->tables[PACKS], key, sizeof(key), PACK_VALUE_BYTES, PACK_VALUE_BYTES, &value, reterr);
    if (rc > 0) {
        take_pack(number, value.mv_data, ret_pack);
    }
    return rc;
}

// LMDB has no checksums, and a chunk that is wrongly thought to be there would not be stored: the check binds what is said to the id.
static uint32_t chunk_check(const struct br_chunk_id *id, const uint8_t *bytes, size_t len)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes, len, XXH3_64bits(id->bytes, BR_MAC_BYTES));
}

// False: damaged, as if it were not there.
static bool take_chunk(const struct br_chunk_id *id, const MDB_val *value, struct br_index_chunk *chunk)
{
    const uint8_t *bytes = value->mv_data;
    size_t len = value->mv_size - 4;
    bool overlay = bytes[0] == BR_CHUNK_OVERLAY;

    if (len != CHUNK_BYTES + (overlay ? BR_MAC_BYTES : 0) || br_get_u32(bytes + len) != chunk_check(id, bytes, len)) {
        return false;
    }
    *chunk = (struct br_index_chunk){
        .kind = (enum br_chunk_kind)bytes[0],
        .pack = br_get_u32(bytes + 1),
        .frame = br_get_u32(bytes + 5),
        .at = br_get_u32(bytes + 9),
        .len_bytes = br_get_u32(bytes + 13),
        .ordinal = br_get_u32(bytes + 17),
    };
    if (overlay) {
        memcpy(chunk->base.bytes, bytes + CHUNK_BYTES, BR_MAC_BYTES);
    }
    return true;
}

// Is a place a better one to read a chunk from? A pack that is proven, one that is not doomed, a block before an overlay, the pack that came last:
// what was stored anew, because something was found damaged, is found before what it replaces.
static bool is_better(const struct br_index_chunk *a, const struct br_index_chunk *b)
{
    if (a->proven != b->proven) {
        return a->proven;
    }
    if (a->doomed != b->doomed) {
        return b->doomed;
    }
    return a->kind != b->kind ? a->kind < b->kind : a->pack > b->pack;
}

static int each_copy(struct br_index *index, MDB_cursor *cursor, const struct br_chunk_id *id, br_index_chunk_fn *fn,
                     void *ctx, struct br_err *reterr)
{
    MDB_val key = value_of(id->bytes, BR_MAC_BYTES), value;
    struct br_index_chunk chunk;
    struct br_index_pack pack;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);

    for (; !rc; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_DUP)) {
        if (value.mv_size < CHUNK_BYTES + 4 || value.mv_size > CHUNK_MOST || !take_chunk(id, &value, &chunk)) {
            continue;
        }
        int known = find_pack(index, index->reading, chunk.pack, &pack, reterr);
        if (known < 0) {
            return known;
        }
        chunk.proven = known && pack.proven;
        chunk.doomed = known && br_index_avoids(index, pack.salt);
        chunk.epoch = known ? pack.epoch : 0;
        int stop = known ? fn(ctx, &chunk) : 0;
        if (stop) {
            return stop;
        }
    }
    return rc != MDB_NOTFOUND ? index_error(rc, "reading", reterr) : 0;
}

int br_index_each_copy(struct br_index *index, const struct br_chunk_id *id, br_index_chunk_fn *fn, void *ctx,
                       struct br_err *reterr)
{
    MDB_cursor *cursor;
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = mdb_cursor_open(index->reading, index->tables[CHUNKS], &cursor);
    if (rc) {
        rc = index_error(rc, "reading", reterr);
    } else {
        rc = each_copy(index, cursor, id, fn, ctx, reterr);
        mdb_cursor_close(cursor);
    }
    reading_end(index);
    return rc;
}

#define COPIES_MAX 64u

struct copies {
    bool blocks;                        // alone
    uint32_t outside;                   // this epoch; 0 any
    const struct br_index_chunk *after; // those that this one is better than; NULL all
    struct br_index_chunk chunks[COPIES_MAX];
    unsigned count;
};

static int take_copy(void *ctx, const struct br_index_chunk *chunk)
{
    struct copies *copies = ctx;

    if ((!copies->blocks || chunk->kind == BR_CHUNK_BLOCK) && (!copies->outside || chunk->epoch != copies->outside) &&
        (!copies->after || is_better(copies->after, chunk))) {
        copies->chunks[copies->count++] = *chunk;
    }
    return copies->count == COPIES_MAX;
}

// The best of the copies from @from on, moved to its front.
static struct br_index_chunk *best_of(struct copies *copies, unsigned from)
{
    unsigned best = from;

    for (unsigned i = from + 1; i < copies->count; i++) {
        if (is_better(&copies->chunks[i], &copies->chunks[best])) {
            best = i;
        }
    }
    struct br_index_chunk chunk = copies->chunks[best];
    copies->chunks[best] = copies->chunks[from];
    copies->chunks[from] = chunk;
    return &copies->chunks[from];
}

int br_index_find_block(struct br_index *index, const struct br_chunk_id *id, uint32_t outside,
                        struct br_index_chunk *ret_chunk, struct br_err *reterr)
{
    struct copies copies = {.blocks = true, .outside = outside};
    int rc = br_index_each_copy(index, id, take_copy, &copies, reterr);

    if (rc < 0 || !copies.count) {
        return BR_MIN(rc, 0);
    }
    *ret_chunk = *best_of(&copies, 0);
    return 1;
}

int br_index_find_outside(struct br_index *index, const struct br_chunk_id *id, uint32_t outside,
                          struct br_index_chunk *ret_chunk, struct br_err *reterr)
{
    struct copies copies = {.outside = outside};
    struct br_index_chunk base;
    int rc = br_index_each_copy(index, id, take_copy, &copies, reterr);

    if (rc < 0 || !copies.count) {
        return BR_MIN(rc, 0);
    }
    *ret_chunk = *best_of(&copies, 0);
    // With one copy alone there is no choice, and that is nearly always so.
    for (unsigned i = 1; ret_chunk->kind == BR_CHUNK_OVERLAY && i < copies.count; i++) {
        rc = br_index_find_block(index, &ret_chunk->base, outside, &base, reterr);
        if (rc) {
            return BR_MIN(rc, 1);
        }
        *ret_chunk = *best_of(&copies, i);
    }
    return 1;
}

int br_index_find(struct br_index *index, const struct br_chunk_id *id, struct br_index_chunk *ret_chunk,
                  struct br_err *reterr)
{
    return br_index_find_outside(index, id, 0, ret_chunk, reterr);
}

int br_index_find_after(struct br_index *index, const struct br_chunk_id *id, const struct br_index_chunk *after,
                        struct br_index_chunk *ret_chunk, struct br_err *reterr)
{
    struct copies copies = {.after = after};
    int rc = br_index_each_copy(index, id, take_copy, &copies, reterr);

    if (rc < 0 || !copies.count) {
        return BR_MIN(rc, 0);
    }
    *ret_chunk = *best_of(&copies, 0);
    return 1;
}

// Doomed packs ------------------------------------------------------------------------------------------------------------------------

int br_index_avoid(struct br_index *index, const uint8_t (*salts)[BR_SALT_BYTES], size_t count, struct br_err *reterr)
{
    if (!count) {
        return 0;
    }
    void *more = reallocarray(index->avoided, index->avoided_count + count, BR_SALT_BYTES);
    if (!more) {
        return br_err_set(reterr, BR_E_NOMEM, "the list of doomed packs");
    }
    index->avoided = more;
    memcpy(index->avoided + index->avoided_count, salts, count * BR_SALT_BYTES);
    index->avoided_count += count;
    qsort(index->avoided, index->avoided_count, BR_SALT_BYTES, br_salt_order);
    return 0;
}

void br_index_avoid_none(struct br_index *index)
{
    free(index->avoided);
    index->avoided = NULL;
    index->avoided_count = 0;
}

bool br_index_avoids(const struct br_index *index, const uint8_t salt[BR_SALT_BYTES])
{
    return index->avoided_count && bsearch(salt, index->avoided, index->avoided_count, BR_SALT_BYTES, br_salt_order);
}

size_t br_index_avoid_count(const struct br_index *index)
{
    return index->avoided_count;
}

int br_index_pack_of(struct br_index *index, uint32_t number, struct br_index_pack *ret_pack, struct br_err *reterr)
{
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = find_pack(index, index->reading, number, ret_pack, reterr);
    reading_end(index);
    return rc ? BR_MIN(rc, 0) : br_err_set(reterr, BR_E_CORRUPT, "the index has no pack %u", number);
}

int br_index_frame_of(struct br_index *index, uint32_t pack, uint32_t frame, struct br_index_frame *ret_frame,
                      struct br_err *reterr)
{
    uint8_t key[8];
    MDB_val value;
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    put_be32(key, pack);
    put_be32(key + 4, frame);
    rc = look_up(index->reading, index->tables[FRAMES], key, sizeof(key), FRAME_BYTES, FRAME_BYTES, &value, reterr);
    if (rc > 0) {
        const uint8_t *bytes = value.mv_data;

        *ret_frame = (struct br_index_frame){
            .offset_bytes = br_get_u64(bytes),
            .sealed_bytes = br_get_u32(bytes + 8),
            .raw_bytes = br_get_u32(bytes + 12),
            .codec = (enum br_frame_codec)bytes[16],
        };
    }
    reading_end(index);
    return rc ? BR_MIN(rc, 0) : br_err_set(reterr, BR_E_CORRUPT, "the index has no frame %u of pack %u", frame, pack);
}

int br_index_has_pack(struct br_index *index, const uint8_t salt[BR_SALT_BYTES], uint32_t *ret_number,
                      struct br_err *reterr)
{
    MDB_val value;
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = look_up(index->reading, index->tables[SALTS], salt, BR_SALT_BYTES, 4, 4, &value, reterr);
    if (rc > 0) {
        *ret_number = get_be32(value.mv_data);
    }
    reading_end(index);
    return rc;
}

int br_index_each_pack(struct br_index *index, br_index_pack_fn *fn, void *ctx, struct br_err *reterr)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    struct br_index_pack pack;
    MDB_txn *txn;
    // A transaction of its own: @fn may ask the index.
    int rc = mdb_txn_begin(index->env, NULL, MDB_RDONLY, &txn);

    if (rc) {
        return index_error(rc, "reading", reterr);
    }
    rc = mdb_cursor_open(txn, index->tables[PACKS], &cursor);
    if (rc) {
        mdb_txn_abort(txn);
        return index_error(rc, "reading", reterr);
    }
    int stop = 0;
    while (!stop && !(rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        if (key.mv_size == 4 && value.mv_size == PACK_VALUE_BYTES) {
            take_pack(get_be32(key.mv_data), value.mv_data, &pack);
            stop = fn(ctx, &pack);
        }
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return stop ? stop : rc == MDB_NOTFOUND ? 0 : index_error(rc, "reading", reterr);
}

int br_index_counts(struct br_index *index, uint64_t *ret_packs, uint64_t *ret_chunks, struct br_err *reterr)
{
    MDB_stat packs, chunks;
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = mdb_stat(index->reading, index->tables[PACKS], &packs);
    rc = rc ? rc : mdb_stat(index->reading, index->tables[CHUNKS], &chunks);
    reading_end(index);
    if (rc) {
        return index_error(rc, "reading", reterr);
    }
    *ret_packs = packs.ms_entries;
    *ret_chunks = chunks.ms_entries;
    return 0;
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static int put_number(struct br_index *index, MDB_txn *txn, const void *key_bytes, size_t key_len, uint64_t number)
{
    uint8_t bytes[8];
    MDB_val key = value_of(key_bytes, key_len), value = value_of(bytes, sizeof(bytes));

    br_put_u64(bytes, number);
    return mdb_put(txn, index->tables[INFO], &key, &value, 0);
}

#define LAST_NUMBER "last number" // that any pack ever had

// A number that no pack ever had: another process may be dropping, in steps, what an earlier one had under it.
static int next_number(struct br_index *index, MDB_txn *txn, uint32_t *ret_number)
{
    MDB_cursor *cursor;
    MDB_val key, value, last_key = value_of(LAST_NUMBER, sizeof(LAST_NUMBER) - 1);
    uint64_t last = 0;
    int rc = mdb_get(txn, index->tables[INFO], &last_key, &value);

    if (!rc && value.mv_size == 8) {
        last = br_get_u64(value.mv_data);
    }
    rc = rc == MDB_NOTFOUND ? 0 : rc;
    rc = rc ? rc : mdb_cursor_open(txn, index->tables[PACKS], &cursor);
    if (rc) {
        return rc;
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (!rc && key.mv_size == 4) { // of an index that is older than this note
        last = BR_MAX(last, (uint64_t)get_be32(key.mv_data));
    }
    mdb_cursor_close(cursor);
    *ret_number = (uint32_t)last + 1;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put_frames(struct br_index *index, MDB_txn *txn, uint32_t number, const struct br_directory *directory)
{
    uint64_t offset = BR_PACK_FRAMES_AT;
    uint8_t key_bytes[8], bytes[FRAME_BYTES];
    int rc = 0;

    put_be32(key_bytes, number);
    for (uint32_t f = 0; !rc && f < directory->frame_count; f++) {
        const struct br_frame_entry *frame = &directory->frames[f];
        MDB_val key = value_of(key_bytes, sizeof(key_bytes)), value = value_of(bytes, sizeof(bytes));

        put_be32(key_bytes + 4, f);
        br_put_u64(bytes, offset);
        br_put_u32(bytes + 8, frame->sealed_bytes);
        br_put_u32(bytes + 12, frame->raw_bytes);
        bytes[16] = (uint8_t)frame->codec;
        rc = mdb_put(txn, index->tables[FRAMES], &key, &value, 0);
        offset += frame->sealed_bytes + BR_SEAL_TAG_BYTES;
    }
    return rc;
}

static int put_chunk(struct br_index *index, MDB_txn *txn, const struct br_chunk_entry *chunk, const uint8_t *bytes,
                     size_t len)
{
    MDB_val key = value_of(chunk->id.bytes, BR_MAC_BYTES), value = value_of(bytes, len);
    int rc = mdb_put(txn, index->tables[CHUNKS], &key, &value, MDB_NODUPDATA);

    return rc == MDB_KEYEXIST ? 0 : rc;
}

static int put_chunks(struct br_index *index, MDB_txn *txn, uint32_t number, const struct br_directory *directory)
{
    uint8_t bytes[CHUNK_MOST];
    uint32_t frame = 0, in_frame = 0, at = 0;
    int rc = 0;

    for (uint32_t c = 0; !rc && c < directory->chunk_count; c++) {
        const struct br_chunk_entry *chunk = &directory->chunks[c];
        bool overlay = chunk->kind == BR_CHUNK_OVERLAY;

        if (in_frame == directory->frames[frame].chunks) {
            frame++;
            in_frame = 0;
            at = 0;
        }
        bytes[0] = (uint8_t)chunk->kind;
        br_put_u32(bytes + 1, number);
        br_put_u32(bytes + 5, frame);
        br_put_u32(bytes + 9, at);
        br_put_u32(bytes + 13, chunk->len_bytes);
        br_put_u32(bytes + 17, c);
        memcpy(bytes + CHUNK_BYTES, chunk->base.bytes, BR_MAC_BYTES);
        size_t len = CHUNK_BYTES + (overlay ? BR_MAC_BYTES : 0);
        br_put_u32(bytes + len, chunk_check(&chunk->id, bytes, len));
        rc = put_chunk(index, txn, chunk, bytes, len + 4);
        at += chunk->len_bytes;
        in_frame++;
    }
    return rc;
}

static int add_pack(struct br_index *index, MDB_txn *txn, const struct br_index_pack *pack,
                    const struct br_directory *directory)
{
    uint8_t number_bytes[4], bytes[PACK_VALUE_BYTES];
    uint32_t number;
    int rc = next_number(index, txn, &number);

    if (rc) {
        return rc;
    }
    struct br_index_pack whole = *pack;
    whole.chunks = directory->chunk_count;
    whole.raw_bytes = 0;
    for (uint32_t f = 0; f < directory->frame_count; f++) {
        whole.raw_bytes += directory->frames[f].raw_bytes;
    }
    put_be32(number_bytes, number);
    put_pack(&whole, bytes);
    MDB_val salt = value_of(pack->salt, BR_SALT_BYTES), number_value = value_of(number_bytes, sizeof(number_bytes));
    rc = mdb_put(txn, index->tables[SALTS], &salt, &number_value, MDB_NOOVERWRITE);
    if (rc) {
        return rc == MDB_KEYEXIST ? 0 : rc;
    }
    rc = put_number(index, txn, LAST_NUMBER, sizeof(LAST_NUMBER) - 1, number);
    MDB_val key = value_of(number_bytes, sizeof(number_bytes)), value = value_of(bytes, sizeof(bytes));
    rc = rc ? rc : mdb_put(txn, index->tables[PACKS], &key, &value, 0);
    rc = rc ? rc : put_frames(index, txn, number, directory);
    return rc ? rc : put_chunks(index, txn, number, directory);
}

int br_index_add(struct br_index *index, const struct br_index_pack *pack, const struct br_directory *directory,
                 struct br_err *reterr)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(index->env, NULL, 0, &txn);

    if (rc) {
        return index_error(rc, "adding a pack", reterr);
    }
    rc = add_pack(index, txn, pack, directory);
    if (rc) {
        mdb_txn_abort(txn);
    } else {
        rc = commit(index, txn);
    }
    return rc ? index_error(rc, "adding a pack", reterr) : 0;
}

int br_index_set_proven(struct br_index *index, uint32_t number, bool proven, struct br_err *reterr)
{
    uint8_t key_bytes[4], bytes[PACK_VALUE_BYTES];
    struct br_index_pack pack = {0};
    MDB_txn *txn;
    int rc = br_index_pack_of(index, number, &pack, reterr);

    if (rc < 0 || pack.proven == proven) {
        return rc;
    }
    rc = mdb_txn_begin(index->env, NULL, 0, &txn);

    if (rc) {
        return index_error(rc, "marking a pack", reterr);
    }
    int found = find_pack(index, txn, number, &pack, reterr);
    if (found <= 0) {
        mdb_txn_abort(txn);
        return found;
    }
    pack.proven = proven;
    put_be32(key_bytes, number);
    put_pack(&pack, bytes);
    MDB_val key = value_of(key_bytes, sizeof(key_bytes)), value = value_of(bytes, sizeof(bytes));
    rc = mdb_put(txn, index->tables[PACKS], &key, &value, 0);
    if (rc) {
        mdb_txn_abort(txn);
    } else {
        rc = commit(index, txn);
    }
    return rc ? index_error(rc, "marking a pack", reterr) : 0;
}

// @numbers: ascending
static bool is_among(uint32_t number, const uint32_t *numbers, size_t count)
{
    return bsearch(&number, numbers, count, sizeof(*numbers), br_u32_order) != NULL;
}

// Entries that are to go, by key and value: LMDB's cursors lose their place when one of several values of a key is deleted below them.
#define DROP_BATCH   1024u
#define DROP_ENTRIES 8192u // deleted by one transaction

struct dropping {
    size_t count;
    bool more; // the table goes on behind @from
    size_t from_len;
    uint8_t from[BR_MAC_BYTES]; // the key to go on at
    struct {
        size_t key_len, value_len;
        uint8_t key[BR_MAC_BYTES], value[VALUE_MOST];
    } entries[DROP_BATCH];
};

static uint32_t pack_of_entry(enum table table, const MDB_val *key, const MDB_val *value)
{
    const uint8_t *bytes = value->mv_data;

    return table == CHUNKS ? br_get_u32(bytes + 1) : table == SALTS ? get_be32(bytes) : get_be32(key->mv_data);
}

static int gather(struct br_index *index, MDB_txn *txn, enum table table, const uint32_t *numbers, size_t count,
                  struct dropping *dropping)
{
    MDB_cursor *cursor;
    MDB_val key = value_of(dropping->from, dropping->from_len), value;
    int rc = mdb_cursor_open(txn, index->tables[table], &cursor);

    if (rc) {
        return rc;
    }
    rc = mdb_cursor_get(cursor, &key, &value, dropping->more ? MDB_SET_RANGE : MDB_FIRST);
    dropping->count = 0;
    dropping->more = false;
    for (; !rc; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size > BR_MAC_BYTES || key.mv_size < 4 || value.mv_size > VALUE_MOST ||
            value.mv_size < (table == CHUNKS ? CHUNK_BYTES : 4) ||
            !is_among(pack_of_entry(table, &key, &value), numbers, count)) {
            continue;
        }
        if (dropping->count == DROP_BATCH) {
            dropping->more = true;
            dropping->from_len = key.mv_size;
            memcpy(dropping->from, key.mv_data, key.mv_size);
            break;
        }
        size_t n = dropping->count++;
        dropping->entries[n].key_len = key.mv_size;
        dropping->entries[n].value_len = value.mv_size;
        memcpy(dropping->entries[n].key, key.mv_data, key.mv_size);
        memcpy(dropping->entries[n].value, value.mv_data, value.mv_size);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

// Deletes what was gathered, so that the next look goes on behind it.
static int drop_gathered(struct br_index *index, MDB_txn *txn, enum table table, const struct dropping *dropping)
{
    int rc = 0;

    for (size_t n = 0; !rc && n < dropping->count; n++) {
        MDB_val key = value_of(dropping->entries[n].key, dropping->entries[n].key_len);
        MDB_val value = value_of(dropping->entries[n].value, dropping->entries[n].value_len);

        rc = mdb_del(txn, index->tables[table], &key, &value); // the value counts where a key may have several
    }
    return rc;
}

// Deletes what of a table belongs to the packs, in a transaction of the caller's.
static int drop_from(struct br_index *index, MDB_txn *txn, enum table table, const uint32_t *numbers, size_t count)
{
    struct dropping *dropping = calloc(1, sizeof(*dropping));
    int rc = dropping ? 0 : ENOMEM;

    do {
        rc = rc ? rc : gather(index, txn, table, numbers, count, dropping);
        rc = rc ? rc : drop_gathered(index, txn, table, dropping);
    } while (!rc && dropping->more);
    free(dropping);
    return rc;
}

// The same in transactions of its own, of DROP_ENTRIES each: LMDB keeps each page that a transaction changes in memory until it ends, and there are
// as many as entries, since ids are random.
static int drop_large(struct br_index *index, enum table table, const uint32_t *numbers, size_t count)
{
    struct dropping *dropping = calloc(1, sizeof(*dropping));
    int rc = dropping ? 0 : ENOMEM;
    MDB_txn *txn;

    do {
        rc = rc ? rc : mdb_txn_begin(index->env, NULL, 0, &txn);
        if (rc) {
            break;
        }
        size_t dropped = 0;
        do {
            rc = gather(index, txn, table, numbers, count, dropping);
            rc = rc ? rc : drop_gathered(index, txn, table, dropping);
            dropped += dropping->count;
        } while (!rc && dropping->more && dropped < DROP_ENTRIES);
        if (rc) {
            mdb_txn_abort(txn);
        } else {
            rc = commit(index, txn);
        }
    } while (!rc && dropping->more);
    free(dropping);
    return rc;
}

static int get_number(struct br_index *index, const void *key_bytes, size_t key_len, uint64_t *ret_number,
                      struct br_err *reterr)
{
    MDB_val value;
    int rc = reading_begin(index, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = look_up(index->reading, index->tables[INFO], key_bytes, key_len, 8, 8, &value, reterr);
    *ret_number = rc > 0 ? br_get_u64(value.mv_data) : 0;
    reading_end(index);
    return BR_MIN(rc, 0);
}

int br_index_losses(struct br_index *index, uint64_t *ret_losses, struct br_err *reterr)
{
    return get_number(index, "losses", 6, ret_losses, reterr);
}

static void note_key(char letter, const struct br_uuid *id, uint8_t key[1 + BR_UUID_BYTES])
{
    key[0] = (uint8_t)letter;
    memcpy(key + 1, id->bytes, BR_UUID_BYTES);
}

int br_index_noted(struct br_index *index, char letter, const struct br_uuid *id, uint64_t *ret_number,
                   struct br_err *reterr)
{
    uint8_t key[1 + BR_UUID_BYTES];

    note_key(letter, id, key);
    return get_number(index, key, sizeof(key), ret_number, reterr);
}

int br_index_each_noted(struct br_index *index, char letter,
                        int (*fn)(void *ctx, const struct br_uuid *id, uint64_t number), void *ctx,
                        struct br_err *reterr)
{
    MDB_val key = value_of(&letter, 1), value;
    MDB_cursor *cursor;
    struct br_uuid id;
    int rc = reading_begin(index, reterr), stop = 0;

    if (rc < 0) {
        return rc;
    }
    rc = mdb_cursor_open(index->reading, index->tables[INFO], &cursor);
    if (!rc) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        while (!rc && !stop && *(const char *)key.mv_data == letter) {
            if (key.mv_size == 1 + BR_UUID_BYTES && value.mv_size == 8) {
                memcpy(id.bytes, (const uint8_t *)key.mv_data + 1, BR_UUID_BYTES);
                stop = fn(ctx, &id, br_get_u64(value.mv_data));
            }
            rc = stop ? 0 : mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
        mdb_cursor_close(cursor);
    }
    reading_end(index);
    return stop ? stop : rc && rc != MDB_NOTFOUND ? index_error(rc, "reading notes", reterr) : 0;
}

int br_index_note(struct br_index *index, char letter, const struct br_uuid *id, uint64_t number, struct br_err *reterr)
{
    uint8_t key[1 + BR_UUID_BYTES];
    MDB_txn *txn;
    int rc = mdb_txn_begin(index->env, NULL, 0, &txn);

    note_key(letter, id, key);
    if (!rc) {
        rc = put_number(index, txn, key, sizeof(key), number);
        if (rc) {
            mdb_txn_abort(txn);
        } else {
            rc = commit(index, txn);
        }
    }
    return rc ? index_error(rc, "noting", reterr) : 0;
}

// Forgets some tables' entries of the packs with these numbers, ascending; NULL: all. @lost: packs go away with this.
static int forget(struct br_index *index, enum table first, enum table last, bool lost, const uint32_t *numbers,
                  size_t count, struct br_err *reterr)
{
    uint64_t losses;
    MDB_txn *txn;
    int rc = br_index_losses(index, &losses, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = mdb_txn_begin(index->env, NULL, 0, &txn);
    if (!rc) {
        rc = lost ? put_number(index, txn, "losses", 6, losses + 1) : 0;
        for (enum table table = first; !rc && table <= last; table++) {
            rc = numbers ? drop_from(index, txn, table, numbers, count) : mdb_drop(txn, index->tables[table], 0);
        }
        if (rc) {
            mdb_txn_abort(txn);
        } else {
            rc = commit(index, txn);
        }
    }
    return rc ? index_error(rc, "dropping packs", reterr) : 0;
}

// The salts go first, so that a pack of which some was dropped is never taken for one that is known; the packs last, so that their numbers are not
// given to others while anything has them.
static int forget_some(struct br_index *index, const uint32_t *numbers, size_t count, struct br_err *reterr)
{
    int rc = forget(index, SALTS, SALTS, true, numbers, count, reterr);

    for (enum table table = FRAMES; rc >= 0 && table <= CHUNKS; table++) {
        int mdb_rc = drop_large(index, table, numbers, count);

        rc = mdb_rc ? index_error(mdb_rc, "dropping packs", reterr) : 0;
    }
    return rc < 0 ? rc : forget(index, PACKS, PACKS, false, numbers, count, reterr);
}

int br_index_drop(struct br_index *index, const uint32_t *numbers, size_t count, struct br_err *reterr)
{
    uint32_t *sorted = calloc(BR_MAX(count, 1u), sizeof(*sorted));

    if (!sorted) {
        return br_err_set(reterr, BR_E_NOMEM, "dropping packs");
    }
    memcpy(sorted, numbers, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), br_u32_order);
    int rc = forget_some(index, sorted, count, reterr);
    free(sorted);
    return rc;
}

int br_index_empty(struct br_index *index, struct br_err *reterr)
{
    return forget(index, PACKS, CHUNKS, true, NULL, 0, reterr);
}
