// SPDX-License-Identifier: Apache-2.0
//
// Directories are opened once and kept open: there are some 260 for packs, and one for each volume. Files that were read are kept open
// too, the FILES_MAX last used: a restore goes to and fro between a few packs.
#include "engine/repo/store_dir.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define FILES_MAX        (BR_STORE_GETS_MAX + 1u) // what is read at once, and one whose size is asked for
#define WRITES_MAX       8u                       // pieces of one object under way
#define CLOSING_MAX      4u                       // objects on their way to the disk
#define TEMPORARY_PREFIX "tmp-"

struct folder {
    char *path; // of the names in it: "packs/ab", "" for the top
    struct br_dir *dir;
    bool dirty;   // has entries that are not durable
    bool settled; // it is durable itself
};

struct open_file {
    char name[BR_OBJECT_NAME_BYTES]; // "" free
    struct br_file *file;
    uint64_t size_bytes;
    uint64_t arrived_unix_ns;
    uint64_t used; // when: a counter
    unsigned reads;
};

struct store_dir {
    struct br_ring *ring;
    bool read_only;
    struct folder *folders;
    size_t folder_count;
    struct open_file files[FILES_MAX];
    uint64_t used;
    unsigned closing; // writes that end by themselves
    int result;       // of the first of them that failed since the last settle
    struct br_err err;
};

struct piece {
    struct store_write *write;
    struct br_buf bytes;
    struct br_io io;
};

// How a write ended, for who waits for just that one.
struct write_end {
    bool ended;
    int result;
    struct br_err err;
};

// Pieces -> close -> all written -> synced -> published. Each step is begun by the completion of the one before, so that packs are made
// durable while others are filled.
struct store_write {
    struct store_dir *store;
    size_t folder; // its index: folders move when there are more
    char temporary[40];
    char last[BR_OBJECT_NAME_BYTES]; // component of the name
    struct br_file *file;
    struct br_io sync;
    uint64_t bytes;
    unsigned under_way;
    bool closing;
    bool keep;
    struct write_end *ret_end;
    int result; // of the first step that failed
    struct br_err err;
};

// Folders -----------------------------------------------------------------------------------------------------------------------------

static int folder_add(struct store_dir *store, const char *path, struct br_dir *dir, size_t *ret_index,
                      struct br_err *reterr)
{
    void *folders = realloc(store->folders, (store->folder_count + 1) * sizeof(*store->folders));
    char *own = strdup(path);

    store->folders = folders ? folders : store->folders;
    if (!folders || !own) {
        free(own);
        br_dir_close(dir);
        return br_err_set(reterr, BR_E_NOMEM, "the store's folders");
    }
    store->folders[store->folder_count] = (struct folder){.path = own, .dir = dir, .settled = !*path};
    *ret_index = store->folder_count++;
    return 0;
}

// Nothing durable is put into a folder that may go away, whoever made it just now.
static int folder_settle(struct store_dir *store, size_t index, size_t parent, struct br_err *reterr)
{
    int rc = br_dir_sync(store->folders[parent].dir, reterr);

    store->folders[index].settled = !rc;
    return rc;
}

// The folder that this one lies in; it is open.
static size_t folder_above(const struct store_dir *store, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;

    for (size_t i = 0; i < store->folder_count; i++) {
        if (strlen(store->folders[i].path) == len && !strncmp(store->folders[i].path, path, len)) {
            return i;
        }
    }
    return 0;
}

// The folder of this path, opened, and with @make made, with all above it.
static int folder_of(struct store_dir *store, const char *path, bool make, size_t *ret_index, struct br_err *reterr)
{
    char above[BR_OBJECT_NAME_BYTES];
    size_t parent;
    struct br_dir *dir = NULL;

    for (size_t i = 0; i < store->folder_count; i++) {
        if (!strcmp(store->folders[i].path, path)) {
            *ret_index = i;
            return make && !store->folders[i].settled ? folder_settle(store, i, folder_above(store, path), reterr) : 0;
        }
    }
    snprintf(above, sizeof(above), "%s", path);
    char *slash = strrchr(above, '/');
    const char *last = slash ? path + (slash - above) + 1 : path;
    above[slash ? slash - above : 0] = 0;
    int rc = folder_of(store, above, make, &parent, reterr);
    if (!rc) {
        rc = br_dir_sub(store->folders[parent].dir, last, false, &dir, reterr);
    }
    if (rc == -BR_E_NOT_FOUND && make) {
        rc = br_dir_sub(store->folders[parent].dir, last, true, &dir, reterr);
    }
    rc = rc < 0 ? rc : folder_add(store, path, dir, ret_index, reterr);
    return rc < 0 || !make ? rc : folder_settle(store, *ret_index, parent, reterr);
}

static bool name_ok(const char *name)
{
    char before = '/';

    for (const char *c = name; *c; before = *c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-';

        if (!letter && (*c != '/' || before == '/')) {
            return false;
        }
    }
    return before != '/' && strlen(name) < BR_OBJECT_NAME_BYTES;
}

// The folder that @name lies in, and its last component.
static int place_of(struct store_dir *store, const char *name, bool make, size_t *ret_folder, const char **ret_last,
                    struct br_err *reterr)
{
    char path[BR_OBJECT_NAME_BYTES];
    const char *slash = strrchr(name, '/');

    if (!name_ok(name)) {
        return br_err_set(reterr, BR_E_USAGE, "not the name of an object: '%s'", name);
    }
    snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - name) : 0, name);
    *ret_last = slash ? slash + 1 : name;
    return folder_of(store, path, make, ret_folder, reterr);
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static int store_write_open(void *ctx, const char *name, void **ret_write, struct br_err *reterr)
{
    struct store_dir *store = ctx;
    struct store_write *write = calloc(1, sizeof(*write));
    const char *last;
    uint64_t random;

    if (!write) {
        return br_err_set(reterr, BR_E_NOMEM, "writing %s", name);
    }
    write->store = store;
    while (store->closing >= CLOSING_MAX) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
    int rc = store->read_only ? br_err_set(reterr, BR_E_PERMISSION, "%s: the repository was opened to be read", name)
                              : place_of(store, name, true, &write->folder, &last, reterr);
    if (!rc) {
        br_ring_random(store->ring, &random, sizeof(random));
        snprintf(write->temporary, sizeof(write->temporary), TEMPORARY_PREFIX "%016" PRIx64, random);
        snprintf(write->last, sizeof(write->last), "%s", last);
        rc = br_dir_open(store->folders[write->folder].dir, write->temporary,
                         BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_EXCLUSIVE, &write->file, reterr);
    }
    if (rc < 0) {
        free(write);
        return rc;
    }
    *ret_write = write;
    return 0;
}

static int write_fail(struct store_write *write, int code, int os_errno)
{
    if (!write->result) {
        write->result = os_errno ? br_err_os(&write->err, os_errno, "writing %s", write->last)
                                 : br_err_set(&write->err, code, "writing %s", write->last);
    }
    return write->result;
}

// All is written and synced, or failed, or given up: the name, and the end.
static void write_end(struct store_write *write)
{
    struct store_dir *store = write->store;
    struct folder *folder = &store->folders[write->folder];

    if (!write->result && write->keep) {
        write->result = br_dir_publish(folder->dir, write->temporary, write->last, &write->err);
        folder->dirty = folder->dirty || !write->result;
    }
    if (write->result < 0 || !write->keep) {
        (void)!br_dir_unlink(folder->dir, write->temporary, NULL);
    }
    br_file_close(write->file);
    store->closing--;
    if (write->ret_end) {
        *write->ret_end = (struct write_end){.ended = true, .result = write->result, .err = write->err};
    } else if (write->result < 0 && !store->result) {
        store->result = write->result;
        store->err = write->err;
    }
    free(write);
}

static void write_synced(struct br_io *io)
{
    struct store_write *write = io->ctx;

    if (io->result < 0) {
        write_fail(write, -io->result, io->os_errno);
    }
    write_end(write);
}

// No piece is under way any more, and no other will come.
static void write_drained(struct store_write *write)
{
    if (write->result < 0 || !write->keep) {
        write_end(write);
        return;
    }
    write->sync = (struct br_io){.op = BR_IO_SYNC, .file = write->file, .done = write_synced, .ctx = write};
    br_ring_submit(write->store->ring, &write->sync);
}

static void piece_written(struct br_io *io)
{
    struct piece *piece = io->ctx;
    struct store_write *write = piece->write;

    if (io->result < 0) {
        write_fail(write, -io->result, io->os_errno);
    }
    br_buf_free(&piece->bytes);
    free(piece);
    if (!--write->under_way && write->closing) {
        write_drained(write);
    }
}

static int store_write(void *ctx, void *writing, struct br_buf *bytes, struct br_err *reterr)
{
    struct store_dir *store = ctx;
    struct store_write *write = writing;
    struct piece *piece = calloc(1, sizeof(*piece));

    if (!piece || br_buf_failed(bytes)) {
        free(piece);
        br_buf_free(bytes);
        return br_err_set(reterr, BR_E_NOMEM, "writing %s", write->last);
    }
    *piece = (struct piece){.write = write, .bytes = *bytes};
    *bytes = (struct br_buf){0};
    piece->io = (struct br_io){
        .op = BR_IO_WRITE,
        .file = write->file,
        .buf = piece->bytes.data,
        .len_bytes = piece->bytes.len,
        .offset_bytes = write->bytes,
        .done = piece_written,
        .ctx = piece,
    };
    write->bytes += piece->bytes.len;
    write->under_way++;
    br_ring_submit(store->ring, &piece->io);
    while (write->under_way >= WRITES_MAX) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
    if (write->result < 0 && reterr) {
        *reterr = write->err;
    }
    return write->result;
}

// The write ends by itself from now on; how, goes to @ret_end, or is told by the next settle.
static void write_close(struct store_write *write, bool keep, struct write_end *ret_end)
{
    write->closing = true;
    write->keep = keep;
    write->ret_end = ret_end;
    write->store->closing++;
    if (!write->under_way) {
        write_drained(write);
    }
}

static void store_write_close(void *ctx, void *writing, bool keep)
{
    (void)ctx;
    write_close(writing, keep, NULL);
}

static int store_settle(void *ctx, struct br_err *reterr)
{
    struct store_dir *store = ctx;

    while (store->closing) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
    int rc = store->result;
    if (rc < 0 && reterr) {
        *reterr = store->err;
    }
    store->result = 0;
    for (size_t i = 0; !rc && i < store->folder_count; i++) {
        if (store->folders[i].dirty) {
            rc = br_dir_sync(store->folders[i].dir, reterr);
            store->folders[i].dirty = rc < 0;
        }
    }
    return rc;
}

static int store_put(void *ctx, const char *name, const void *bytes, size_t len, struct br_err *reterr)
{
    struct store_dir *store = ctx;
    struct write_end end = {0};
    struct br_buf copy = {0};
    void *writing;
    int rc = store_write_open(ctx, name, &writing, reterr);

    if (rc < 0) {
        return rc;
    }
    size_t folder = ((struct store_write *)writing)->folder;
    br_buf_append(&copy, bytes, len);
    rc = store_write(ctx, writing, &copy, reterr);
    write_close(writing, !rc, &end);
    while (!end.ended) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
    if (!rc && end.result < 0 && reterr) {
        *reterr = end.err;
    }
    rc = rc ? rc : end.result;
    return rc ? rc : br_dir_sync(store->folders[folder].dir, reterr);
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static void file_drop(struct open_file *open)
{
    assert(!open->reads);
    br_file_close(open->file);
    *open = (struct open_file){0};
}

// The file of this object, open. Of all that nobody reads, the one that was not used for longest gives up its place.
static int file_of(struct store_dir *store, const char *name, struct open_file **ret_open, struct br_err *reterr)
{
    struct open_file *oldest = NULL;
    struct br_file_info info;
    const char *last;
    size_t folder;

    for (size_t i = 0; i < FILES_MAX; i++) {
        struct open_file *open = &store->files[i];

        if (!strcmp(open->name, name)) {
            open->used = ++store->used;
            *ret_open = open;
            return 0;
        }
        if (!open->reads && (!oldest || open->used < oldest->used)) {
            oldest = open;
        }
    }
    if (!oldest) {
        return br_err_set(reterr, BR_E_LIMIT, "%s: too many objects are read at once", name);
    }
    if (oldest->name[0]) {
        file_drop(oldest);
    }
    int rc = place_of(store, name, false, &folder, &last, reterr);
    if (!rc) {
        rc = br_dir_open(store->folders[folder].dir, last, BR_OPEN_READ, &oldest->file, reterr);
    }
    if (!rc) {
        rc = br_file_stat(oldest->file, &info, reterr);
        if (rc < 0) {
            br_file_close(oldest->file);
        }
    }
    if (rc < 0) {
        *oldest = (struct open_file){0};
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    oldest->size_bytes = info.size_bytes;
    oldest->arrived_unix_ns =
        info.mtime_ns; // of the last write, just before it got its name: publishing changes no content
    oldest->used = ++store->used;
    snprintf(oldest->name, sizeof(oldest->name), "%s", name);
    *ret_open = oldest;
    return 0;
}

static void get_read(struct br_io *io)
{
    struct br_store_get *get = io->ctx;
    struct open_file *open = get->own;

    open->reads--;
    get->result = io->result;
    if (io->result < 0) {
        get->result = io->os_errno ? br_err_os(&get->err, io->os_errno, "reading %s", get->name)
                                   : br_err_set(&get->err, -io->result, "reading %s", get->name);
    } else if (io->done_bytes < io->len_bytes) {
        get->result = br_err_at(&get->err, BR_E_TRUNCATED, get->offset_bytes + io->done_bytes, "%s", get->name);
    }
    get->done(get);
}

static void store_get(void *ctx, struct br_store_get *get)
{
    struct store_dir *store = ctx;
    struct open_file *open;

    get->result = file_of(store, get->name, &open, &get->err);
    if (!get->result && !br_range_ok(get->offset_bytes, get->len_bytes, open->size_bytes)) {
        get->result = br_err_at(&get->err, BR_E_TRUNCATED, open->size_bytes, "%s", get->name);
    }
    if (get->result < 0) {
        br_store_refuse(store->ring, get);
        return;
    }
    open->reads++;
    get->own = open;
    get->io = (struct br_io){
        .op = BR_IO_READ,
        .file = open->file,
        .buf = get->buf,
        .len_bytes = get->len_bytes,
        .offset_bytes = get->offset_bytes,
        .done = get_read,
        .ctx = get,
    };
    br_ring_submit(store->ring, &get->io);
}

// The name is looked up each time: what is open here may have been removed by a prune, and is not there any more then.
static int store_size(void *ctx, const char *name, uint64_t *ret_bytes, struct br_err *reterr)
{
    struct store_dir *store = ctx;
    struct open_file *open;
    const char *last;
    size_t folder;
    int rc = place_of(store, name, false, &folder, &last, reterr);

    if (!rc) {
        rc = br_dir_exists(store->folders[folder].dir, last, reterr);
        rc = rc ? BR_MIN(rc, 0) : br_err_os(reterr, ENOENT, "%s", name);
    }
    rc = rc < 0 ? rc : file_of(store, name, &open, reterr);
    if (!rc) {
        *ret_bytes = open->size_bytes;
    }
    return rc;
}

static int store_arrived(void *ctx, const char *name, uint64_t *ret_unix_ns, struct br_err *reterr)
{
    struct open_file *open;
    int rc = file_of(ctx, name, &open, reterr);

    if (!rc) {
        *ret_unix_ns = open->arrived_unix_ns;
    }
    return rc;
}

// Listing -----------------------------------------------------------------------------------------------------------------------------

struct listing {
    struct store_dir *store;
    const char *path; // of the folder that is listed
    const char *prefix;
    br_store_list_fn *fn;
    void *fn_ctx;
    struct br_err *reterr;
};

static int list_folder(const struct listing *listing, const char *path);

static int list_entry(void *ctx, const char *name, bool is_dir)
{
    const struct listing *listing = ctx;
    char full[BR_OBJECT_NAME_BYTES];
    int len = snprintf(full, sizeof(full), "%s%s%s", listing->path, listing->path[0] ? "/" : "", name);
    size_t prefix_len = strlen(listing->prefix);

    // Not one of ours: another's file, something half written, a name that no object has.
    if (len >= (int)sizeof(full) || !name_ok(full) || !strncmp(name, TEMPORARY_PREFIX, sizeof(TEMPORARY_PREFIX) - 1)) {
        return 0;
    }
    if (is_dir) {
        size_t common = BR_MIN((size_t)len, prefix_len);

        return strncmp(full, listing->prefix, common) != 0 ? 0 : list_folder(listing, full);
    }
    return strncmp(full, listing->prefix, prefix_len) != 0 ? 0 : listing->fn(listing->fn_ctx, full);
}

static int list_folder(const struct listing *listing, const char *path)
{
    struct listing inside = *listing;
    size_t folder;
    int rc = folder_of(listing->store, path, false, &folder, listing->reterr);

    inside.path = path;
    // Gone between its listing and its opening.
    return rc == -BR_E_NOT_FOUND ? 0
           : rc < 0              ? rc
                    : br_dir_list(listing->store->folders[folder].dir, list_entry, &inside, listing->reterr);
}

static int store_list(void *ctx, const char *prefix, br_store_list_fn *fn, void *fn_ctx, struct br_err *reterr)
{
    char path[BR_OBJECT_NAME_BYTES];
    const char *slash = strrchr(prefix, '/');
    const struct listing listing = {.store = ctx, .prefix = prefix, .fn = fn, .fn_ctx = fn_ctx, .reterr = reterr};

    snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - prefix) : 0, prefix);
    return list_folder(&listing, path);
}

// Sweeping ----------------------------------------------------------------------------------------------------------------------------

struct sweeping {
    struct store_dir *store;
    const char *path;
    size_t folder;
    uint64_t before_unix_ns;
    uint64_t *bytes;
    struct br_err *reterr;
};

static int sweep_folder(const struct sweeping *sweeping, const char *path);

static int sweep_file(const struct sweeping *sweeping, const char *name)
{
    struct br_dir *dir = sweeping->store->folders[sweeping->folder].dir;
    struct br_file *file;
    struct br_file_info info;
    struct br_err err = {0};
    int rc = br_dir_open(dir, name, BR_OPEN_READ, &file, &err);

    if (rc < 0) {
        return 0; // its writer has just ended
    }
    rc = br_file_stat(file, &info, &err);
    br_file_close(file);
    if (rc < 0 || info.mtime_ns >= sweeping->before_unix_ns) {
        return 0;
    }
    rc = br_dir_unlink(dir, name, sweeping->reterr);
    sweeping->store->folders[sweeping->folder].dirty = true;
    *sweeping->bytes += rc < 0 ? 0 : info.size_bytes;
    return rc;
}

static int sweep_entry(void *ctx, const char *name, bool is_dir)
{
    const struct sweeping *sweeping = ctx;
    char full[BR_OBJECT_NAME_BYTES];
    int len = snprintf(full, sizeof(full), "%s%s%s", sweeping->path, sweeping->path[0] ? "/" : "", name);

    if (len >= (int)sizeof(full) || !name_ok(full)) {
        return 0;
    }
    if (is_dir) {
        return sweep_folder(sweeping, full);
    }
    return strncmp(name, TEMPORARY_PREFIX, sizeof(TEMPORARY_PREFIX) - 1) != 0 ? 0 : sweep_file(sweeping, name);
}

static int sweep_folder(const struct sweeping *sweeping, const char *path)
{
    struct sweeping inside = *sweeping;
    int rc = folder_of(sweeping->store, path, false, &inside.folder, sweeping->reterr);

    inside.path = path;
    return rc == -BR_E_NOT_FOUND ? 0
           : rc < 0              ? rc
                    : br_dir_list(sweeping->store->folders[inside.folder].dir, sweep_entry, &inside, sweeping->reterr);
}

static int store_sweep(void *ctx, uint64_t before_unix_ns, uint64_t *ret_bytes, struct br_err *reterr)
{
    const struct sweeping sweeping = {
        .store = ctx, .before_unix_ns = before_unix_ns, .bytes = ret_bytes, .reterr = reterr};
    struct store_dir *store = ctx;

    *ret_bytes = 0;
    return store->read_only ? br_err_set(reterr, BR_E_PERMISSION, "the repository was opened to be read")
                            : sweep_folder(&sweeping, "");
}

// The rest ----------------------------------------------------------------------------------------------------------------------------

static int store_remove(void *ctx, const char *name, struct br_err *reterr)
{
    struct store_dir *store = ctx;
    const char *last;
    size_t folder;

    if (store->read_only) {
        return br_err_set(reterr, BR_E_PERMISSION, "%s: the repository was opened to be read", name);
    }
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!strcmp(store->files[i].name, name) && !store->files[i].reads) {
            file_drop(&store->files[i]);
        }
    }
    int rc = place_of(store, name, false, &folder, &last, reterr);
    if (!rc) {
        rc = br_dir_unlink(store->folders[folder].dir, last, reterr);
        store->folders[folder].dirty = true;
    }
    return rc == -BR_E_NOT_FOUND ? 0 : rc;
}

static int store_space(void *ctx, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    const struct store_dir *store = ctx;

    return br_dir_space(store->folders[0].dir, ret_free_bytes, reterr);
}

static void store_close(void *ctx)
{
    struct store_dir *store = ctx;

    while (store->closing) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (store->files[i].name[0]) {
            file_drop(&store->files[i]);
        }
    }
    while (store->folder_count) {
        br_dir_close(store->folders[--store->folder_count].dir);
        free(store->folders[store->folder_count].path);
    }
    free(store->folders);
    free(store);
}

int br_store_dir_open(struct br_ring *ring, struct br_dir *dir, bool read_only, struct br_store *ret_store,
                      struct br_err *reterr)
{
    static const struct br_store_ops ops = {
        .put = store_put,
        .write_open = store_write_open,
        .write = store_write,
        .write_close = store_write_close,
        .settle = store_settle,
        .get = store_get,
        .size = store_size,
        .list = store_list,
        .arrived = store_arrived,
        .sweep = store_sweep,
        .remove = store_remove,
        .space = store_space,
        .close = store_close,
    };
    struct store_dir *store = calloc(1, sizeof(*store));
    size_t top;

    if (!store) {
        br_dir_close(dir);
        return br_err_set(reterr, BR_E_NOMEM, "a store");
    }
    *store = (struct store_dir){.ring = ring, .read_only = read_only};
    int rc = folder_add(store, "", dir, &top, reterr);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *ret_store = (struct br_store){.ops = &ops, .ctx = store, .ring = ring};
    return 0;
}
