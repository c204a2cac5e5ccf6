// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/repo/store_dir.h"
#include "engine/sync/source.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"

static const struct br_key key_file = {.bytes = "the key file of simulated tests"};

// Memory, where there is some: nothing that is tested depends on these files being durable.
static const char *index_folder(void)
{
    return access("/dev/shm", W_OK) ? t_folder() : "/dev/shm";
}

void t_index_new(struct t_index *index)
{
    snprintf(index->path, sizeof(index->path), "%s/blkrep-index-XXXXXX", index_folder());
    assert_non_null(mkdtemp(index->path));
}

static void file_of(const struct t_index *index, const char *name, char path[400])
{
    snprintf(path, 400, "%s/%s", index->path, name);
}

void t_index_copy(struct t_index *index, const struct t_index *from)
{
    char source[400], target[400];
    uint8_t bytes[65536];
    ssize_t got;

    t_index_new(index);
    file_of(from, "data.mdb", source);
    file_of(index, "data.mdb", target);
    int in = open(source, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        return; // never opened
    }
    int out = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    while ((got = read(in, bytes, sizeof(bytes))) > 0) {
        assert_int_equal(write(out, bytes, (size_t)got), got);
    }
    assert_int_equal(got, 0);
    close(in);
    close(out);
}

void t_index_free(struct t_index *index)
{
    char path[400];

    file_of(index, "data.mdb", path);
    unlink(path);
    file_of(index, "lock.mdb", path);
    unlink(path);
    assert_int_equal(rmdir(index->path), 0);
}

static int ring_open(struct br_sim *sim, struct br_ring **ret_ring, struct br_err *err)
{
    struct br_ring_options options = {.buffer_count = 6, .buffer_bytes = BR_BATCH_DATA_MAX, .depth = 16};

    return br_sim_ring(sim, &options, ret_ring, err);
}

static int store_open(struct br_ring *ring, const char *folder, struct br_store *ret_store, struct br_err *err)
{
    struct br_dir *dir;
    int rc = br_sim_dir(ring, folder, &dir, err);

    return rc ? rc : br_store_dir_open(ring, dir, false, ret_store, err);
}

// The hook -----------------------------------------------------------------------------------------------------------------------------

static struct {
    uint64_t at; // 0: none
    uint64_t count;
    void (*fn)(void *ctx);
    void *ctx;
    bool opening; // the next store that is opened has it
} hook;

uint64_t t_repo_hook(uint64_t n, void (*fn)(void *ctx), void *ctx)
{
    uint64_t count = hook.count;

    hook.at = n;
    hook.count = 0;
    hook.fn = fn;
    hook.ctx = ctx;
    hook.opening = n != 0;
    return count;
}

static void hook_op(void)
{
    if (++hook.count == hook.at) {
        hook.fn(hook.ctx);
    }
}

static struct br_store hooked; // what lies below

static int hook_put(void *ctx, const char *name, const void *bytes, size_t len, struct br_err *reterr)
{
    (void)ctx;
    hook_op();
    return hooked.ops->put(hooked.ctx, name, bytes, len, reterr);
}

static int hook_write_open(void *ctx, const char *name, void **ret_write, struct br_err *reterr)
{
    (void)ctx;
    hook_op();
    return hooked.ops->write_open(hooked.ctx, name, ret_write, reterr);
}

static int hook_write(void *ctx, void *write, struct br_buf *bytes, struct br_err *reterr)
{
    (void)ctx;
    return hooked.ops->write(hooked.ctx, write, bytes, reterr);
}

static void hook_write_close(void *ctx, void *write, bool keep)
{
    (void)ctx;
    hooked.ops->write_close(hooked.ctx, write, keep);
}

static int hook_settle(void *ctx, struct br_err *reterr)
{
    (void)ctx;
    hook_op();
    return hooked.ops->settle(hooked.ctx, reterr);
}

static void hook_get(void *ctx, struct br_store_get *get)
{
    (void)ctx;
    hooked.ops->get(hooked.ctx, get);
}

static int hook_size(void *ctx, const char *name, uint64_t *ret_bytes, struct br_err *reterr)
{
    (void)ctx;
    return hooked.ops->size(hooked.ctx, name, ret_bytes, reterr);
}

static int hook_arrived(void *ctx, const char *name, uint64_t *ret_unix_ns, struct br_err *reterr)
{
    (void)ctx;
    return hooked.ops->arrived(hooked.ctx, name, ret_unix_ns, reterr);
}

static int hook_list(void *ctx, const char *prefix, br_store_list_fn *fn, void *fn_ctx, struct br_err *reterr)
{
    (void)ctx;
    hook_op();
    return hooked.ops->list(hooked.ctx, prefix, fn, fn_ctx, reterr);
}

static int hook_remove(void *ctx, const char *name, struct br_err *reterr)
{
    (void)ctx;
    hook_op();
    return hooked.ops->remove(hooked.ctx, name, reterr);
}

static int hook_space(void *ctx, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    (void)ctx;
    return hooked.ops->space(hooked.ctx, ret_free_bytes, reterr);
}

static void hook_close(void *ctx)
{
    (void)ctx;
    hooked.ops->close(hooked.ctx);
    hook.at = 0;
}

static const struct br_store_ops hook_ops = {
    .put = hook_put,
    .write_open = hook_write_open,
    .write = hook_write,
    .write_close = hook_write_close,
    .settle = hook_settle,
    .get = hook_get,
    .size = hook_size,
    .arrived = hook_arrived,
    .list = hook_list,
    .remove = hook_remove,
    .space = hook_space,
    .close = hook_close,
};

int t_repo_init_in(struct br_sim *sim, const char *folder, struct br_err *err)
{
    const struct br_repo_init init = {.encrypted = true, .key = {.secret = {.key_file = &key_file}, .label = "tests"}};
    struct br_ring *ring;
    struct br_store store = {0};
    struct br_uuid repository;

    assert_int_equal(ring_open(sim, &ring, err), 0);
    int rc = store_open(ring, folder, &store, err);
    rc = rc ? rc : br_repo_init(&store, &init, &repository, err);
    if (store.ops) {
        store.ops->close(store.ctx);
    }
    br_ring_close(ring);
    return rc;
}

int t_repo_init(struct br_sim *sim, struct br_err *err)
{
    return t_repo_init_in(sim, "repo", err);
}

static int repo_open(struct t_repo *repo, const char *folder, const struct t_index *index, struct br_err *err)
{
    int rc = store_open(repo->ring, folder, &repo->store, err);
    if (rc) {
        return rc;
    }
    if (hook.opening) {
        hook.opening = false;
        hooked = repo->store;
        repo->store.ops = &hook_ops;
    }
    const struct br_repo_params params = {
        .store = repo->store,
        .secret = {.key_file = &key_file},
        .index_fd = open(index->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    };
    assert_true(params.index_fd >= 0);
    rc = br_repo_open(&params, &repo->repo, err);
    return rc ? rc : br_repo_refresh(repo->repo, &repo->refreshed, err);
}

int t_repo_open(struct br_sim *sim, const struct t_index *index, struct t_repo *repo, struct br_err *err)
{
    *repo = (struct t_repo){0};
    assert_int_equal(ring_open(sim, &repo->ring, err), 0);
    return repo_open(repo, "repo", index, err);
}

int t_repo_open_beside(const struct t_repo *beside, const char *folder, const struct t_index *index,
                       struct t_repo *repo, struct br_err *err)
{
    *repo = (struct t_repo){.ring = beside->ring};
    return repo_open(repo, folder, index, err);
}

void t_repo_close_beside(struct t_repo *repo)
{
    br_repo_close(repo->repo);
    if (repo->store.ops) {
        repo->store.ops->close(repo->store.ctx);
    }
}

void t_repo_close(struct t_repo *repo)
{
    t_repo_close_beside(repo);
    br_ring_close(repo->ring);
}

struct copying {
    uint8_t *bytes;
    uint64_t at; // everything before was handed over
};

static int take_data(void *ctx, uint64_t offset_bytes, const uint8_t *bytes, size_t len, void (*release)(void *),
                     void *release_ctx, struct br_err *reterr)
{
    struct copying *copying = ctx;

    (void)reterr;
    assert_int_equal(offset_bytes, copying->at);
    memcpy(copying->bytes + offset_bytes, bytes, len);
    copying->at += len;
    release(release_ctx);
    return 0;
}

static int take_zero(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct copying *copying = ctx;

    (void)reterr;
    assert_int_equal(offset_bytes, copying->at);
    memset(copying->bytes + offset_bytes, 0, len_bytes);
    copying->at += len_bytes;
    return 0;
}

static int take_unreadable(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct copying *copying = ctx;

    (void)reterr;
    assert_int_equal(offset_bytes, copying->at);
    copying->at += len_bytes;
    return 0;
}

int t_repo_read(struct t_repo *repo, const struct br_point *point, uint8_t *bytes, struct br_err *err)
{
    struct copying copying = {.bytes = bytes};
    const struct br_read_params params = {
        .repo = repo->repo,
        .point = point,
        .len_bytes = UINT64_MAX,
        .sink = {.data = take_data, .zero = take_zero, .unreadable = take_unreadable, .ctx = &copying},
    };

    memset(bytes, 0xee, point->size_bytes);
    int rc = br_repo_read(&params, NULL, NULL, err);
    if (!rc) {
        assert_int_equal(copying.at, point->size_bytes);
    }
    return rc;
}

// Backups -----------------------------------------------------------------------------------------------------------------------------

static int backup_in(struct br_sim *sim, struct t_repo *repo, struct br_file *source, struct br_dir *dir,
                     struct t_backup *backup, struct br_err *err)
{
    const char *name = backup->source ? backup->source : "src";
    struct br_backup_params params = {
        .repo = repo->repo,
        .type = backup->full ? BR_POINT_FULL : BR_POINT_INCREMENTAL,
        .host = backup->host ? backup->host : "simulated",
        .tracker = "scan",
        .level = 1,
        .pack_bytes = backup->pack_bytes ? backup->pack_bytes : 100000,
    };
    struct br_endpoint far = {0};
    int rc = br_volume_load(dir, &params.volume, err);

    rc = rc < 0 ? rc : br_backup_open(&params, &far, err);
    backup->whole = rc < 0 ? rc : br_backup_whole(&far, err);
    rc = BR_MIN(backup->whole, 0);
    if (!rc) {
        const struct br_sync_params sync = {
            .ring = repo->ring,
            .source = source,
            .size_bytes = br_sim_size(sim, name),
            .sector_bytes = 512,
            .consistency = BR_CONSISTENCY_CLEAN,
            .label = name,
            .dir = dir,
            .endpoint = far,
            .always = true,
            .force_full = backup->full || !backup->whole,
            .continue_on_read_error = backup->over_gaps,
            .recheck_bytes = backup->recheck_bytes,
        };
        rc = br_sync_run(&sync, &backup->sync, err);
        rc = rc == -BR_E_GAPS && backup->over_gaps ? 0 : rc;
        backup->made = br_backup_point(&far) != NULL;
        if (backup->made) {
            backup->point = *br_backup_point(&far);
        }
        backup->counts = br_backup_counts(&far);
    }
    if (far.ops) {
        far.ops->close(far.ctx);
    }
    return rc;
}

int t_backup_run(struct br_sim *sim, const struct t_index *index, struct t_backup *backup, struct br_err *err)
{
    struct t_repo repo;
    struct br_file *source = NULL;
    struct br_dir *dir = NULL;

    backup->made = false;
    *err = (struct br_err){0};
    int rc = t_repo_open(sim, index, &repo, err);
    rc = rc < 0 ? rc : br_sim_dir(repo.ring, backup->state ? backup->state : "src.blkrep", &dir, err);
    rc =
        rc < 0 ? rc : br_sim_file(repo.ring, backup->source ? backup->source : "src", backup->size_bytes, &source, err);
    rc = rc < 0 || !backup->size_bytes ? rc : br_file_truncate(source, backup->size_bytes, err);
    rc = rc < 0 ? rc : backup_in(sim, &repo, source, dir, backup, err);
    br_file_close(source);
    br_dir_close(dir);
    t_repo_close(&repo);
    return rc;
}
