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

static int store_open(struct br_sim *sim, struct br_ring **ret_ring, struct br_store *ret_store, struct br_err *err)
{
    struct br_ring_options options = {.buffer_count = 6, .buffer_bytes = BR_BATCH_DATA_MAX, .depth = 16};
    struct br_dir *dir;

    assert_int_equal(br_sim_ring(sim, &options, ret_ring, err), 0);
    int rc = br_sim_dir(*ret_ring, "repo", &dir, err);
    return rc ? rc : br_store_dir_open(*ret_ring, dir, false, ret_store, err);
}

int t_repo_init(struct br_sim *sim, struct br_err *err)
{
    const struct br_repo_init init = {.encrypted = true, .key = {.secret = {.key_file = &key_file}, .label = "tests"}};
    struct br_ring *ring;
    struct br_store store = {0};
    struct br_uuid repository;
    int rc = store_open(sim, &ring, &store, err);

    rc = rc ? rc : br_repo_init(&store, &init, &repository, err);
    if (store.ops) {
        store.ops->close(store.ctx);
    }
    br_ring_close(ring);
    return rc;
}

int t_repo_open(struct br_sim *sim, const struct t_index *index, struct t_repo *repo, struct br_err *err)
{
    *repo = (struct t_repo){0};
    int rc = store_open(sim, &repo->ring, &repo->store, err);
    if (rc) {
        return rc;
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

void t_repo_close(struct t_repo *repo)
{
    br_repo_close(repo->repo);
    if (repo->store.ops) {
        repo->store.ops->close(repo->store.ctx);
    }
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
