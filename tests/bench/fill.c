// SPDX-License-Identifier: Apache-2.0
//
// fill REPO KEY-FILE INDEX POINTS BLOCKS CHANGED SECONDS: recovery points of a made-up volume, as fast as the repository's own code stores them.
//
// What is measured at ten thousand points, or at ten million chunks, would take backups hours to make: each is a process that lists, leases and
// syncs, and hashes all that it reads. Here one process puts blocks, nodes and points through engine/repo/writer.h and engine/repo/repo.h, a pack
// at least for each point, and computes the hash of a block, which is true, from what all blocks begin with. There is no lease: nothing else may
// use the repository meanwhile.
//
//     BLOCKS   of 64 KiB, each with a number of its own at its end. CHANGED of them, round and round, get a new one with each point: all, or some
//              of 256 at most
//     INDEX    the folder that holds the index of whoever measures, so that it counts the packs as its own
//     SECONDS  between two points, as the store tells when they arrived, the last one now
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/repo/store_dir.h"
#include "engine/repo/writer.h"

#define NUMBER_AT (BR_BLOCK_BYTES - 8u)

struct filling {
    struct br_ring *ring;
    struct br_store store;
    struct br_repo *repo;
    struct br_writer *writer;
    struct br_mac *domain;
    const char *path;
    uint64_t points, blocks, changed, seconds;
    uint64_t number; // of the next block that changes
    EVP_MD_CTX *begun, *hash;
    struct br_tree tree;                  // of the last point
    uint8_t node[BR_TREE_NODE_BYTES_MAX]; // that was kept last: the only one of a small volume
    size_t node_len;
    uint8_t block[BR_BLOCK_BYTES];
    struct br_err err;
};

static int keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                struct br_err *reterr)
{
    struct filling *f = ctx;
    struct br_chunk_entry chunk = {.kind = BR_CHUNK_NODE, .len_bytes = (uint32_t)len};
    int rc = br_chunk_id_node(f->domain, hash, &chunk.id, reterr);

    rc = rc < 0 ? rc : br_writer_put(f->writer, &chunk, bytes, reterr);
    memcpy(f->node, bytes, len);
    f->node_len = len;
    *ret_ref = 1;
    return BR_MIN(rc, 0);
}

static int fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    const struct filling *f = ctx;

    (void)link; // the tree proves it
    (void)reterr;
    memcpy(bytes, f->node, f->node_len);
    return (int)f->node_len;
}

// All blocks begin alike, and that much of the hash is computed once.
static void hash_begin(struct filling *f)
{
    struct br_hash leaf, whole;

    memset(f->block, 0x5a, sizeof(f->block));
    f->begun = EVP_MD_CTX_new();
    f->hash = EVP_MD_CTX_new();
    if (!f->begun || !f->hash || EVP_DigestInit_ex(f->begun, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(f->begun, "blkrep leaf 1\0\0", 16) != 1 ||
        EVP_DigestUpdate(f->begun, f->block, NUMBER_AT) != 1) {
        abort();
    }
    br_leaf_hash(f->block, sizeof(f->block), &whole);
    if (EVP_MD_CTX_copy_ex(f->hash, f->begun) != 1 || EVP_DigestUpdate(f->hash, f->block + NUMBER_AT, 8) != 1 ||
        EVP_DigestFinal_ex(f->hash, leaf.bytes, NULL) != 1) {
        abort();
    }
    assert(br_hash_equal(&leaf, &whole));
}

static int put_block(struct filling *f, struct br_tree_writer *tree, uint64_t index)
{
    struct br_chunk_entry chunk = {.kind = BR_CHUNK_BLOCK, .len_bytes = BR_BLOCK_BYTES};
    struct br_hash leaf;

    br_put_u64(f->block + NUMBER_AT, f->number++);
    if (EVP_MD_CTX_copy_ex(f->hash, f->begun) != 1 || EVP_DigestUpdate(f->hash, f->block + NUMBER_AT, 8) != 1 ||
        EVP_DigestFinal_ex(f->hash, leaf.bytes, NULL) != 1) {
        return br_err_set(&f->err, BR_E_INTERNAL, "SHA-256 failed");
    }
    int rc = br_chunk_id_leaf(f->domain, &leaf, &chunk.id, &f->err);
    rc = rc < 0 ? rc : br_writer_put(f->writer, &chunk, f->block, &f->err);
    return rc < 0 ? rc : br_tree_put(tree, index, &leaf, NULL, &f->err);
}

// The version that this point is of: @first of the blocks and those behind it are new.
static int put_version(struct filling *f, bool full, uint64_t first, uint64_t count)
{
    const struct br_tree_store store = {.fetch = fetch, .keep = keep, .ctx = f};
    struct br_tree_geometry geometry;
    struct br_tree_writer *tree = NULL;
    int rc = br_tree_geometry_of(f->blocks * BR_BLOCK_BYTES, &geometry)
                 ? 0
                 : br_err_set(&f->err, BR_E_LIMIT, "the volume is too large");

    rc = rc < 0 ? rc
                : br_tree_writer_open(&geometry, full ? NULL : &f->tree, full ? NULL : &store, &store, &tree, &f->err);
    for (uint64_t i = 0; !rc && i < count; i++) {
        rc = put_block(f, tree, first + i);
    }
    rc = rc < 0 ? rc : br_tree_finish(tree, &f->tree, &f->err);
    br_tree_writer_close(tree);
    return rc < 0 ? rc : br_writer_settle(f->writer, &f->err);
}

// The store tells by the file when a point arrived.
static int set_arrived(struct filling *f, const struct br_point *point, uint64_t at)
{
    char name[BR_OBJECT_NAME_BYTES], path[PATH_MAX];
    const time_t when = time(NULL) - (time_t)((f->points - 1 - at) * f->seconds);
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};

    br_name_point(&point->volume, &point->id, name);
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    return f->seconds && utimensat(AT_FDCWD, path, times, 0) ? br_err_os(&f->err, errno, "%s", path) : 0;
}

static int put_point(struct filling *f, struct br_point *point, uint64_t at)
{
    const uint64_t parts = BR_MAX(f->blocks / f->changed, 1u);
    struct br_hash hash = br_hash_zero;
    bool full = !at || f->changed == f->blocks;
    const struct br_writer_params params = {.repo = f->repo, .run = br_ring_new_uuid(f->ring), .level = 1};
    int rc = br_writer_open(&params, &f->writer, &f->err);

    rc = rc < 0 ? rc : put_version(f, full, full ? 0 : at % parts * f->changed, full ? f->blocks : f->changed);
    point->stored_bytes = rc < 0 ? 0 : br_writer_counts_of(f->writer)->stored_bytes;
    br_writer_close(f->writer);
    if (rc < 0) {
        return rc;
    }
    point->parent = point->id;
    point->id = br_ring_new_uuid(f->ring);
    point->counter++;
    point->top = f->tree.top.hash;
    point->taken_unix_ns = point->made_unix_ns =
        br_ring_unix_ns(f->ring) - (f->points - 1 - at) * f->seconds * BR_NS_PER_S;
    point->changed_bytes = f->changed * BR_BLOCK_BYTES;
    br_tree_root(&f->tree, &point->root);
    rc = br_repo_put_point(f->repo, point, &f->err);
    rc = rc < 0 ? rc : br_repo_point(f->repo, &point->volume, &point->id, point, &hash, &f->err);
    point->previous = hash;
    return rc < 0 ? rc : set_arrived(f, point, at);
}

static int fill(struct filling *f)
{
    struct br_point point = {
        .volume = br_ring_new_uuid(f->ring),
        .domain = br_ring_new_uuid(f->ring),
        .size_bytes = f->blocks * BR_BLOCK_BYTES,
        .sector_bytes = 512,
        .hash_id = BR_HASH_SHA256,
        .type = BR_POINT_INCREMENTAL,
        .tracker = "scan",
        .host = "fill",
        .label = "/made/up.img",
    };
    int rc = br_domain_mac(&br_repo_config_of(f->repo)->id_secret, &point.domain, &f->domain, &f->err);

    hash_begin(f);
    for (uint64_t at = 0; !rc && at < f->points; at++) {
        rc = put_point(f, &point, at);
    }
    br_mac_close(f->domain);
    EVP_MD_CTX_free(f->begun);
    EVP_MD_CTX_free(f->hash);
    return rc;
}

static int read_key(const char *path, struct br_key *ret_key)
{
    FILE *file = fopen(path, "re");
    int got = file ? 0 : -1;

    for (unsigned i = 0; file && i < BR_KEY_BYTES; i++) {
        got += fscanf(file, "%2hhx", &ret_key->bytes[i]) == 1;
    }
    if (file) {
        fclose(file);
    }
    return got == BR_KEY_BYTES ? 0 : -BR_E_KEY;
}

static int open_all(struct filling *f, const char *key_path, const char *index_path)
{
    const struct br_ring_options options = {.depth = 64, .buffer_count = 8, .buffer_bytes = 1u << 20};
    struct br_key key;
    struct br_dir *dir;
    int rc = read_key(key_path, &key) < 0 ? br_err_set(&f->err, BR_E_KEY, "%s", key_path) : 0;

    rc = rc < 0 ? rc : br_ring_open(&options, &f->ring, &f->err);
    rc = rc < 0 ? rc : br_dir_wrap(f->ring, open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &dir, &f->err);
    rc = rc < 0 ? rc : br_store_dir_open(f->ring, dir, false, &f->store, &f->err);
    const struct br_repo_params params = {
        .store = f->store,
        .secret = {.key_file = &key},
        .index_fd = rc < 0 ? -1 : open(index_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    };
    return rc < 0 ? rc : br_repo_open(&params, &f->repo, &f->err);
}

int main(int argc, char **argv)
{
    static struct filling f;

    if (argc == 8) {
        f.path = argv[1];
        f.points = strtoull(argv[4], NULL, 10);
        f.blocks = strtoull(argv[5], NULL, 10);
        f.changed = strtoull(argv[6], NULL, 10);
        f.seconds = strtoull(argv[7], NULL, 10);
    }
    if (!f.points || !f.blocks || !f.changed || f.changed > f.blocks ||
        (f.changed < f.blocks && f.blocks > BR_FANOUT)) {
        fprintf(stderr, "usage: fill REPO KEY-FILE INDEX POINTS BLOCKS CHANGED SECONDS\n");
        return 2;
    }
    int rc = open_all(&f, argv[2], argv[3]);
    rc = rc < 0 ? rc : fill(&f);
    if (rc < 0) {
        fprintf(stderr, "fill: %s\n", f.err.text);
    }
    br_repo_close(f.repo);
    if (f.store.ops) {
        f.store.ops->close(f.store.ctx);
    }
    br_ring_close(f.ring);
    return rc < 0;
}
