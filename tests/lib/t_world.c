// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/lib/t_tree.h"
#include "tests/lib/t_world.h"

static int t_world_open_files(struct t_world *world)
{
    int r = br_sim_ring(world->sim, NULL, &world->ring, &world->err);
    if (r < 0) {
        world->ring = NULL;
        return r;
    }
    r = br_sim_dir(world->ring, "", &world->parent, &world->err);
    r = r < 0 ? r : br_sim_dir(world->ring, "vol.blkrep", &world->dir, &world->err);
    if (r < 0) {
        return r;
    }
    return world->device ? br_sim_device(world->ring, "vol", T_WORLD_DEVICE_BYTES, 512, &world->file, &world->err)
                         : br_sim_file(world->ring, "vol", 0, &world->file, &world->err);
}

int t_world_open(struct t_world *world)
{
    world->ring = NULL;
    world->parent = world->dir = NULL;
    world->file = NULL;
    world->replica = NULL;
    int r = t_world_open_files(world);
    if (r < 0) {
        return r;
    }
    struct br_replica_params params = {.ring = world->ring,
                                       .dir = world->dir,
                                       .file = world->file,
                                       .parent = world->device ? NULL : world->parent,
                                       .name = world->device ? NULL : "vol",
                                       .what = "vol",
                                       .compact_bytes = world->compact_bytes,
                                       .sync_bytes = world->sync_bytes,
                                       .discard_damaged = world->discard_damaged};
    r = br_replica_open(&params, &world->replica, &world->err);
    if (r < 0) {
        world->replica = NULL;
    }
    return r;
}

void t_world_close(struct t_world *world)
{
    br_replica_close(world->replica);
    br_file_close(world->file);
    br_dir_close(world->dir);
    br_dir_close(world->parent);
    br_ring_close(world->ring);
    world->replica = NULL;
    assert_int_equal(t_leases(), 0);
}

void t_must(struct t_world *world, int r, const char *what)
{
    if (r < 0) {
        struct br_buf trace = {0};
        br_sim_trace(world->sim, &trace);
        print_message("%s: %s at %" PRIu64 ": %s\nreplay: T_SEED=%" PRIu64 "\n%s", what, br_err_name(-r),
                      world->err.offset_bytes, world->err.text, world->seed, (const char *)trace.data);
        br_buf_free(&trace);
    }
    assert_true(r >= 0);
}

bool t_world_holds(const struct t_world *world, const struct t_volume *model)
{
    bool same = world->device || br_sim_size(world->sim, "vol") == model->size_bytes;
    BR_AUTO_FREE uint8_t *block = malloc(BR_BLOCK_BYTES);
    for (uint64_t i = 0; i < model->geometry.block_count && same; i++) {
        uint32_t len = br_block_bytes(&model->geometry, i);
        br_sim_read(world->sim, "vol", block, len, i * BR_BLOCK_BYTES);
        same = model->unreadable[i] || !memcmp(block, model->bytes + i * BR_BLOCK_BYTES, len);
    }
    return same;
}

bool t_world_is(const struct t_world *world, const struct t_volume *model)
{
    return br_uuid_equal(&br_replica_identity(world->replica)->generation.id, &model->generation.id);
}

void t_world_expect(struct t_world *world, const struct t_volume *model)
{
    const struct br_identity *identity = br_replica_identity(world->replica);
    struct t_version version;
    struct br_hash root;
    uint64_t unreadable = 0;
    if (identity->state != BR_STATE_COMPLETE || !t_world_holds(world, model)) {
        t_must(world, -BR_E_VERIFY, br_replica_state_name(identity->state));
    }
    assert_true(t_world_is(world, model));
    br_tree_root(&identity->tree, &root);
    assert_true(br_hash_equal(&root, &model->root));
    assert_true(br_hash_equal(&identity->root, &model->root));
    t_version_new(&version, model->size_bytes, false);
    for (uint64_t i = 0; i < model->geometry.block_count; i++) {
        version.leaves[i] = t_volume_leaf(model, i);
        unreadable += model->unreadable[i];
    }
    t_tree_expect(&identity->tree, br_replica_store(world->replica), &version);
    t_version_free(&version);
    assert_int_equal(identity->unreadable_blocks, unreadable);
}

void t_world_expect_facts(struct t_world *world)
{
    const struct br_identity *identity = br_replica_identity(world->replica);
    const struct br_tree_geometry *geometry = &identity->tree.geometry;
    struct br_tree_reader *reader;
    BR_AUTO_FREE uint8_t *block = malloc(BR_BLOCK_BYTES);
    assert_int_equal(identity->state, BR_STATE_INCOMPLETE);
    t_must(world, br_tree_reader_open(&identity->tree, br_replica_store(world->replica), &reader, &world->err),
           "facts");
    for (uint64_t i = 0; i < geometry->block_count; i++) {
        struct br_hash fact, leaf;
        uint32_t len = br_block_bytes(geometry, i);
        t_must(world, br_tree_read(reader, i, 1, &fact, NULL, &world->err), "facts");
        if (br_hash_equal(&fact, &br_hash_unknown) || br_hash_equal(&fact, &br_hash_unreadable)) {
            continue;
        }
        br_sim_read(world->sim, "vol", block, len, i * BR_BLOCK_BYTES);
        br_leaf_hash(block, len, &leaf);
        if (!br_hash_equal(&fact, &leaf)) {
            print_message("block %" PRIu64 " is not what its fact says\n", i);
            t_must(world, -BR_E_VERIFY, "a fact is a lie");
        }
    }
    br_tree_reader_close(reader);
}
