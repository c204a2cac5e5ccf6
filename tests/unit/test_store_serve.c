// SPDX-License-Identifier: Apache-2.0
//
// engine/repo/store_wire.h, store_session.h, store_remote.h and store_guard.h: a store behind a session is a store; what one client may do there;
// what a cut at any message leaves; what a hostile server can say.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/units.h"
#include "engine/repo/store_dir.h"
#include "engine/repo/store_guard.h"
#include "engine/repo/store_remote.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_store_link.h"

#define T_OK(call) assert_int_equal((call), 0)
#define T_DAY      (86400 * BR_NS_PER_S)
#define T_BIG      (3 * BR_MIB + 12345)
#define T_VOLUME   "points/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"
#define T_OTHER    "points/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/"
#define T_POINT    "0123456789abcdef0123456789abcdef"
#define T_POINT_2  "1123456789abcdef0123456789abcdef"
#define T_PACK     "packs/e7/e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7"
#define T_PACK_2   "packs/e8/e8e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e8"

static const struct br_uuid repository = {.bytes = {1, 2, 3}};

struct bed {
    struct br_sim *sim;
    struct br_ring *server_ring, *client_ring;
    struct t_store_link *link;
    struct br_store store; // the client's
    struct br_store_limits limits;
    enum br_role role;
    bool adopt;
    uint8_t client; // whose key
    unsigned refused, stored;
    struct br_err err;
};

static void refused(void *ctx, const char *name, const struct br_err *why)
{
    struct bed *bed = ctx;

    (void)name;
    assert_true(why->code == BR_E_AUTH || why->code == BR_E_LIMIT);
    bed->refused++;
}

static void stored(void *ctx, const char *name, bool removed)
{
    struct bed *bed = ctx;

    (void)name;
    (void)removed;
    bed->stored++;
}

static int open_store(void *ctx, const char *name, uint8_t role, struct br_store *ret_store, uint8_t *ret_role,
                      struct br_err *reterr)
{
    struct bed *bed = ctx;
    struct br_dir *dir;
    struct br_store_guard_params params = {
        .repository = repository,
        .role = bed->role,
        .write = role >= BR_ROLE_WRITER,
        .client = {.bytes = {bed->client}},
        .limits = bed->limits,
        .adopt = bed->adopt,
        .refused = refused,
        .refused_ctx = bed,
    };

    if (strcmp(name, "main") != 0) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no repository of that name");
    }
    int rc = br_sim_dir(bed->server_ring, "repo", &dir, reterr);
    rc = rc < 0 ? rc : br_store_dir_open(bed->server_ring, dir, false, &params.store, reterr);
    rc = rc < 0 ? rc : br_sim_dir(bed->server_ring, "records", &params.records, reterr);
    *ret_role = (uint8_t)bed->role;
    return rc < 0 ? rc : br_store_guard_open(&params, ret_store, reterr);
}

static void bed_open(struct bed *bed)
{
    *bed = (struct bed){.sim = br_sim_new(&(struct br_sim_options){.seed = 3}), .role = BR_ROLE_ADMIN, .client = 1};
    T_OK(br_sim_ring(bed->sim, NULL, &bed->server_ring, NULL));
    T_OK(br_sim_ring(bed->sim, NULL, &bed->client_ring, NULL));
    bed->link = calloc(1, sizeof(*bed->link));
    assert_non_null(bed->link);
}

static void bed_close(struct bed *bed)
{
    free(bed->link);
    br_ring_close(bed->client_ring);
    br_ring_close(bed->server_ring);
    br_sim_free(bed->sim);
}

// A session, cut at message @cut_at (0 never); what opening came to.
static int join(struct bed *bed, const char *name, bool write, unsigned cut_at)
{
    const struct br_store_session_host host = {.open = open_store, .stored = stored, .ctx = bed};

    t_store_link_open(bed->link, bed->server_ring, &host);
    bed->link->cut_at = cut_at;
    bed->store = (struct br_store){0};
    const struct br_store_remote_params params = {
        .channel = t_store_link_client(bed->link),
        .ring = bed->client_ring,
        .repository = name,
        .what = "blkrep://there/main",
        .write = write,
    };
    return br_store_remote_open(&params, &bed->store, &bed->err);
}

static void leave(struct bed *bed)
{
    if (bed->store.ops) {
        bed->store.ops->close(bed->store.ctx);
    }
    t_store_link_close(bed->link);
}

static void join_as(struct bed *bed, enum br_role role, uint8_t client)
{
    bed->role = role;
    bed->client = client;
    T_OK(join(bed, "main", role > BR_ROLE_READER, 0));
}

// A point's object as far as a server can tell.
static size_t point_bytes(uint8_t *bytes, enum br_object_kind kind, const struct br_uuid *of)
{
    const struct br_object object = {.kind = kind, .epoch = 1, .repository = *of};

    memset(bytes, 7, BR_OBJECT_HEAD_BYTES + 100);
    br_object_put_head(&object, 0, 100 - BR_SEAL_TAG_BYTES, bytes);
    return BR_OBJECT_HEAD_BYTES + 100;
}

static int put_point(struct bed *bed, const char *name)
{
    uint8_t bytes[BR_OBJECT_HEAD_BYTES + 100];

    return bed->store.ops->put(bed->store.ctx, name, bytes, point_bytes(bytes, BR_OBJECT_POINT, &repository),
                               &bed->err);
}

static int write_pack(struct bed *bed, const char *name, size_t len, bool keep)
{
    struct br_buf bytes = {0};
    struct t_rand rand = t_rand_seeded(5, len);
    void *write;
    int rc = bed->store.ops->write_open(bed->store.ctx, name, &write, &bed->err);

    if (rc < 0) {
        return rc;
    }
    br_buf_append(&bytes, NULL, len);
    t_rand_fill(&rand, bytes.data, len);
    rc = bed->store.ops->write(bed->store.ctx, write, &bytes, &bed->err);
    bed->store.ops->write_close(bed->store.ctx, write, keep && !rc);
    return rc < 0 ? rc : bed->store.ops->settle(bed->store.ctx, &bed->err);
}

static int count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned names(struct bed *bed, const char *prefix)
{
    unsigned count = 0;

    T_OK(bed->store.ops->list(bed->store.ctx, prefix, count_name, &count, &bed->err));
    return count;
}

static int remove_it(struct bed *bed, const char *name)
{
    return bed->store.ops->remove(bed->store.ctx, name, &bed->err);
}

// A store -----------------------------------------------------------------------------------------------------------------------------

static void count_down(struct br_store_get *get)
{
    --*(unsigned *)get->ctx;
}

static void a_store_behind_a_session_is_a_store(void **state)
{
    (void)state;
    struct bed bed;
    struct t_rand rand = t_rand_seeded(5, T_BIG);
    struct br_store_get gets[BR_STORE_GETS_MAX];
    static uint8_t wanted[T_BIG], got[BR_STORE_GETS_MAX][5000], whole[T_BIG];
    uint64_t value;
    unsigned left = BR_STORE_GETS_MAX;
    bed_open(&bed);
    t_rand_fill(&rand, wanted, sizeof(wanted));

    assert_int_equal(join(&bed, "other", true, 0), -BR_E_NOT_FOUND);
    leave(&bed);
    join_as(&bed, BR_ROLE_ADMIN, 1);
    T_OK(bed.store.ops->put(bed.store.ctx, "config", "configured", 10, &bed.err));
    assert_int_equal(bed.store.ops->put(bed.store.ctx, "config", "otherwise", 9, &bed.err), -BR_E_EXISTS);
    T_OK(bed.store.ops->size(bed.store.ctx, "config", &value, &bed.err));
    assert_int_equal(value, 10);
    assert_int_equal(bed.store.ops->size(bed.store.ctx, "keys/" T_POINT, &value, &bed.err), -BR_E_NOT_FOUND);
    assert_int_equal(bed.err.os_errno, ENOENT); // it is gone for sure
    T_OK(bed.store.ops->arrived(bed.store.ctx, "config", &value, &bed.err));
    T_OK(bed.store.ops->space(bed.store.ctx, &value, &bed.err));

    T_OK(write_pack(&bed, T_PACK, T_BIG, true));
    T_OK(write_pack(&bed, T_PACK_2, 100000, false));
    assert_int_equal(write_pack(&bed, T_PACK, 100, true), -BR_E_EXISTS);
    T_OK(bed.store.ops->settle(bed.store.ctx, &bed.err)); // told once
    assert_int_equal(names(&bed, "packs/"), 1);
    assert_int_equal(names(&bed, ""), 2);

    // All reads at once, and one that is longer than a message may be.
    for (unsigned i = 0; i < BR_STORE_GETS_MAX; i++) {
        gets[i] = (struct br_store_get){
            .offset_bytes = i * 20000, .buf = got[i], .len_bytes = sizeof(got[i]), .done = count_down, .ctx = &left};
        snprintf(gets[i].name, sizeof(gets[i].name), "%s", i == 77 ? T_PACK_2 : T_PACK);
        bed.store.ops->get(bed.store.ctx, &gets[i]);
    }
    while (left) {
        br_ring_wait(bed.client_ring, UINT64_MAX);
    }
    for (unsigned i = 0; i < BR_STORE_GETS_MAX; i++) {
        assert_int_equal(gets[i].result, i == 77 ? -BR_E_NOT_FOUND : 0);
        if (i != 77) {
            assert_memory_equal(got[i], wanted + i * 20000, sizeof(got[i]));
        }
    }
    T_OK(br_store_read(&bed.store, T_PACK, 0, whole, sizeof(whole), &bed.err));
    assert_memory_equal(whole, wanted, sizeof(whole));
    assert_int_equal(br_store_read(&bed.store, T_PACK, 1, whole, sizeof(whole), &bed.err), -BR_E_TRUNCATED);
    T_OK(br_store_read(&bed.store, T_PACK, T_BIG, whole, 0, &bed.err));

    T_OK(remove_it(&bed, T_PACK));
    T_OK(remove_it(&bed, T_PACK));
    assert_int_equal(names(&bed, "packs/"), 0);
    leave(&bed);
    bed_close(&bed);
}

static void a_writer_waits_for_credit(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);

    join_as(&bed, BR_ROLE_WRITER, 1);
    T_OK(write_pack(&bed, T_PACK, 40 * BR_MIB, true));
    assert_true(bed.link->most_waiting > BR_STORE_WIRE_CREDIT / 2 &&
                bed.link->most_waiting < BR_STORE_WIRE_CREDIT + 65536);
    leave(&bed);
    assert_int_equal(br_sim_size(bed.sim, "repo/" T_PACK), 40 * BR_MIB);
    bed_close(&bed);
}

// Roles -------------------------------------------------------------------------------------------------------------------------------

static void each_role_may_do_what_it_may(void **state)
{
    (void)state;
    static const char *const names_of[] = {"config",   "keys/" T_POINT, "epochs/00000007", T_PACK,   T_VOLUME T_POINT,
                                           "leases/a", "history/a/b",   "doomed/1",        "holds/a"};
    static const enum br_role to_add[] = {BR_ROLE_ADMIN,  BR_ROLE_ADMIN,    BR_ROLE_ADMIN,
                                          BR_ROLE_WRITER, BR_ROLE_WRITER,   BR_ROLE_WRITER,
                                          BR_ROLE_WRITER, BR_ROLE_OPERATOR, BR_ROLE_OPERATOR};
    static const enum br_role to_remove[] = {BR_ROLE_ADMIN,    BR_ROLE_ADMIN,    BR_ROLE_ADMIN,
                                             BR_ROLE_OPERATOR, BR_ROLE_OPERATOR, BR_ROLE_OPERATOR,
                                             BR_ROLE_OPERATOR, BR_ROLE_OPERATOR, BR_ROLE_OPERATOR};
    struct bed bed;
    bed_open(&bed);

    for (enum br_role role = BR_ROLE_READER; role <= BR_ROLE_ADMIN; role++) {
        for (size_t i = 0; i < BR_ARRAY_LEN(names_of); i++) {
            unsigned before = bed.refused;
            char path[BR_OBJECT_NAME_BYTES + 8];

            join_as(&bed, role, 1);
            assert_int_equal(put_point(&bed, names_of[i]), role >= to_add[i] ? 0 : -BR_E_AUTH);
            leave(&bed); // a lease may be taken back only within its session
            join_as(&bed, role, 1);
            snprintf(path, sizeof(path), "repo/%s", names_of[i]);
            bool there = br_sim_exists(bed.sim, path);
            assert_int_equal(there, role >= to_add[i]);
            assert_int_equal(remove_it(&bed, names_of[i]), role >= to_remove[i] ? 0 : -BR_E_AUTH);
            assert_int_equal(bed.refused - before, (role < to_add[i]) + (role < to_remove[i]));
            leave(&bed);
            if (role < to_remove[i] && there) {
                join_as(&bed, BR_ROLE_ADMIN, 9);
                T_OK(remove_it(&bed, names_of[i]));
                leave(&bed);
            }
        }
    }
    // Who opened it to read, does not write, whoever he is.
    bed.role = BR_ROLE_ADMIN;
    T_OK(join(&bed, "main", false, 0));
    assert_int_equal(put_point(&bed, "doomed/1"), -BR_E_AUTH);
    assert_int_equal(remove_it(&bed, "doomed/1"), -BR_E_AUTH);
    leave(&bed);
    bed_close(&bed);
}

static void a_lease_is_taken_back_by_who_took_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);

    join_as(&bed, BR_ROLE_WRITER, 1);
    T_OK(put_point(&bed, "leases/mine"));
    T_OK(put_point(&bed, "leases/left"));
    T_OK(remove_it(&bed, "leases/mine"));
    leave(&bed);
    join_as(&bed, BR_ROLE_WRITER, 2);
    assert_int_equal(remove_it(&bed, "leases/left"), -BR_E_AUTH);
    leave(&bed);
    bed_close(&bed);
}

static void a_volume_belongs_to_who_wrote_it_first(void **state)
{
    (void)state;
    uint8_t bytes[BR_OBJECT_HEAD_BYTES + 100];
    uint64_t value;
    struct bed bed;
    bed_open(&bed);

    join_as(&bed, BR_ROLE_WRITER, 1);
    T_OK(put_point(&bed, T_VOLUME T_POINT));
    leave(&bed);
    join_as(&bed, BR_ROLE_WRITER, 2);
    assert_int_equal(put_point(&bed, T_VOLUME T_POINT_2), -BR_E_AUTH);
    assert_int_equal(bed.store.ops->size(bed.store.ctx, T_VOLUME T_POINT, &value, &bed.err), -BR_E_AUTH);
    assert_int_equal(bed.store.ops->arrived(bed.store.ctx, T_VOLUME T_POINT, &value, &bed.err), -BR_E_AUTH);
    assert_int_equal(br_store_read(&bed.store, T_VOLUME T_POINT, 0, bytes, 1, &bed.err), -BR_E_AUTH);
    assert_int_equal(names(&bed, "points/"), 0);
    T_OK(put_point(&bed, T_OTHER T_POINT));
    assert_int_equal(names(&bed, "points/"), 1);
    // What is no point, or another repository's, is none.
    size_t len = point_bytes(bytes, BR_OBJECT_KEY, &repository);
    assert_int_equal(bed.store.ops->put(bed.store.ctx, T_OTHER T_POINT_2, bytes, len, &bed.err), -BR_E_AUTH);
    len = point_bytes(bytes, BR_OBJECT_POINT, &(struct br_uuid){{9}});
    assert_int_equal(bed.store.ops->put(bed.store.ctx, T_OTHER T_POINT_2, bytes, len, &bed.err), -BR_E_AUTH);
    assert_int_equal(bed.store.ops->put(bed.store.ctx, T_OTHER T_POINT_2, "", 0, &bed.err), -BR_E_AUTH);
    leave(&bed);
    // The first is still who it was, after others came; readers and operators see all.
    join_as(&bed, BR_ROLE_WRITER, 1);
    T_OK(put_point(&bed, T_VOLUME T_POINT_2));
    assert_int_equal(put_point(&bed, T_VOLUME T_POINT_2), -BR_E_EXISTS);
    assert_int_equal(names(&bed, "points/"), 2);
    leave(&bed);
    join_as(&bed, BR_ROLE_READER, 3);
    assert_int_equal(names(&bed, "points/"), 3);
    leave(&bed);
    bed_close(&bed);
}

static void a_tombstone_makes_nobody_an_owner(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);

    join_as(&bed, BR_ROLE_OPERATOR, 8);
    T_OK(bed.store.ops->put(bed.store.ctx, T_VOLUME T_POINT, "gone", 4, &bed.err));
    leave(&bed);
    bed.adopt = true;
    join_as(&bed, BR_ROLE_WRITER, 1);
    assert_int_equal(put_point(&bed, T_VOLUME T_POINT), -BR_E_EXISTS);
    T_OK(put_point(&bed, T_VOLUME T_POINT_2));
    leave(&bed);
    bed_close(&bed);
}

static void what_nobody_owns_is_taken_only_where_it_may_be(void **state)
{
    (void)state;
    struct br_dir *dir;
    struct br_store store;
    struct bed bed;
    bed_open(&bed);

    // A repository that was a directory before.
    T_OK(br_sim_dir(bed.server_ring, "repo", &dir, NULL));
    T_OK(br_store_dir_open(bed.server_ring, dir, false, &store, NULL));
    T_OK(store.ops->put(store.ctx, T_VOLUME T_POINT, "point", 5, NULL));
    store.ops->close(store.ctx);
    join_as(&bed, BR_ROLE_WRITER, 1);
    assert_int_equal(put_point(&bed, T_VOLUME T_POINT_2), -BR_E_AUTH);
    assert_int_equal(names(&bed, "points/"), 0);
    leave(&bed);
    bed.adopt = true;
    join_as(&bed, BR_ROLE_WRITER, 1);
    assert_int_equal(names(&bed, "points/"), 1);
    T_OK(put_point(&bed, T_VOLUME T_POINT_2));
    leave(&bed);
    join_as(&bed, BR_ROLE_WRITER, 2);
    assert_int_equal(put_point(&bed, T_VOLUME "2123456789abcdef0123456789abcdef"), -BR_E_AUTH);
    leave(&bed);
    bed_close(&bed);
}

static void strange_names_are_not_there(void **state)
{
    (void)state;
    static const char *const strange[] = {"..",
                                          "../config",
                                          "/config",
                                          "config/",
                                          "points/../config",
                                          "packs/e7/../e7",
                                          "points//0123456789abcdef0123456789abcdef",
                                          "tmp-0123456789abcdef",
                                          "keys/KEY",
                                          "points/0123456789abcdef0123456789abcdef",
                                          "packs/e6/e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7",
                                          "leases/",
                                          "leases/a/b",
                                          "history/a/b/c/d",
                                          "owners/a",
                                          ""};
    uint64_t value;
    struct bed bed;
    bed_open(&bed);

    join_as(&bed, BR_ROLE_ADMIN, 1);
    for (size_t i = 0; i < BR_ARRAY_LEN(strange); i++) {
        assert_int_equal(put_point(&bed, strange[i]), -BR_E_AUTH);
        assert_int_equal(write_pack(&bed, strange[i], 10, true), -BR_E_AUTH);
        assert_int_equal(remove_it(&bed, strange[i]), -BR_E_AUTH);
        assert_int_equal(bed.store.ops->size(bed.store.ctx, strange[i], &value, &bed.err), -BR_E_NOT_FOUND);
        assert_int_equal(br_store_read(&bed.store, strange[i], 0, &value, 1, &bed.err), -BR_E_NOT_FOUND);
    }
    assert_int_equal(bed.store.ops->list(bed.store.ctx, "../", count_name, NULL, &bed.err), -BR_E_AUTH);
    assert_int_equal(bed.store.ops->list(bed.store.ctx, "packs/../", count_name, NULL, &bed.err), -BR_E_AUTH);
    assert_int_equal(write_pack(&bed, "config", 10, true), -BR_E_AUTH); // only packs come in pieces
    assert_int_equal(names(&bed, ""), 0);
    leave(&bed);
    bed_close(&bed);
}

// Limits ------------------------------------------------------------------------------------------------------------------------------

static void a_writer_has_its_share_of_a_day(void **state)
{
    (void)state;
    char name[BR_OBJECT_NAME_BYTES];
    struct bed bed;
    bed_open(&bed);

    bed.limits = (struct br_store_limits){.points = 5, .objects = 8};
    br_sim_set_unix_ns(bed.sim, UINT64_C(1700000000) * BR_NS_PER_S);
    for (unsigned i = 0; i < 7; i++) { // over several sessions, of several volumes
        join_as(&bed, BR_ROLE_WRITER, 1);
        snprintf(name, sizeof(name), "points/%032x/%032x", i % 3, i);
        assert_int_equal(put_point(&bed, name), i < 5 ? 0 : -BR_E_LIMIT);
        leave(&bed);
    }
    join_as(&bed, BR_ROLE_WRITER, 1);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "history/a/%u", i);
        assert_int_equal(put_point(&bed, name), i < 3 ? 0 : -BR_E_LIMIT);
    }
    assert_int_equal(write_pack(&bed, T_PACK, 10, true), -BR_E_LIMIT);
    assert_int_equal(put_point(&bed, "points/00000000000000000000000000000000/00000000000000000000000000000000"),
                     -BR_E_EXISTS); // what is there costs nothing
    leave(&bed);
    // Another client has a share of its own, an operator no limit.
    join_as(&bed, BR_ROLE_WRITER, 2);
    T_OK(put_point(&bed, T_OTHER T_POINT));
    leave(&bed);
    join_as(&bed, BR_ROLE_OPERATOR, 1);
    T_OK(put_point(&bed, T_OTHER T_POINT_2));
    leave(&bed);
    // The next day is another.
    br_sim_advance(bed.sim, T_DAY - BR_NS_PER_S * 60);
    join_as(&bed, BR_ROLE_WRITER, 1);
    assert_int_equal(put_point(&bed, T_VOLUME T_POINT), -BR_E_LIMIT);
    br_sim_advance(bed.sim, BR_NS_PER_S * 120);
    T_OK(put_point(&bed, T_VOLUME T_POINT));
    leave(&bed);
    bed_close(&bed);
}

static void a_writer_has_its_share_of_bytes(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);

    bed.limits.bytes = 10 * BR_MIB;
    join_as(&bed, BR_ROLE_WRITER, 1);
    T_OK(write_pack(&bed, T_PACK, 4 * BR_MIB, true));
    leave(&bed);
    join_as(&bed, BR_ROLE_WRITER, 1); // what the session before did not need of its slice is there again
    T_OK(write_pack(&bed, T_PACK_2, 4 * BR_MIB, false));
    assert_int_equal(write_pack(&bed, T_PACK_2, 4 * BR_MIB, true), -BR_E_LIMIT); // what was sent counts
    assert_int_equal(write_pack(&bed, T_PACK_2, 10, true), -BR_E_LIMIT);
    leave(&bed);
    assert_false(br_sim_exists(bed.sim, "repo/" T_PACK_2));
    bed_close(&bed);
}

// Cuts --------------------------------------------------------------------------------------------------------------------------------

// What a run does: a pack, then a point that names it.
static int a_run(struct bed *bed)
{
    int rc = write_pack(bed, T_PACK, T_BIG, true);

    return rc < 0 ? rc : put_point(bed, T_VOLUME T_POINT);
}

static void a_cut_at_any_message_leaves_whole_objects(void **state)
{
    (void)state;
    unsigned cut_at = 1, ran = 0;

    for (int rc = -1; rc < 0; cut_at++) {
        struct bed bed;
        bed_open(&bed);

        bed.role = BR_ROLE_WRITER;
        rc = join(&bed, "main", true, cut_at);
        rc = rc < 0 ? rc : a_run(&bed);
        assert_true(!rc || rc == -BR_E_PEER);
        if (rc < 0 && bed.store.ops) { // all that follows fails as well, and is called back
            uint8_t byte;

            assert_int_equal(br_store_read(&bed.store, "config", 0, &byte, 1, &bed.err), -BR_E_PEER);
            assert_int_equal(bed.store.ops->settle(bed.store.ctx, &bed.err), -BR_E_PEER);
        }
        bool acknowledged = !rc;
        leave(&bed);
        bool point = br_sim_exists(bed.sim, "repo/" T_VOLUME T_POINT), pack = br_sim_exists(bed.sim, "repo/" T_PACK);
        assert_true(!point || pack);
        assert_true(!acknowledged || point);
        assert_true(!pack || br_sim_size(bed.sim, "repo/" T_PACK) == T_BIG);
        join_as(&bed, BR_ROLE_WRITER, 1); // the next run goes on
        int again = a_run(&bed);
        assert_true(again == 0 || again == -BR_E_EXISTS);
        leave(&bed);
        bed_close(&bed);
        ran++;
    }
    assert_true(ran > 8);
}

// A hostile server -----------------------------------------------------------------------------------------------------------------------

struct script {
    struct br_buf answers[4];
    unsigned count, next;
};

static int swallow(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                   struct br_err *reterr)
{
    (void)ctx;
    (void)head;
    (void)head_len;
    (void)body;
    (void)body_len;
    (void)reterr;
    return 0;
}

static int next_line(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    struct script *script = ctx;

    (void)timeout_ns;
    br_buf_reset(message);
    if (script->next == script->count) {
        return br_err_set(reterr, BR_E_PEER, "the script has ended");
    }
    br_buf_append(message, script->answers[script->next].data, script->answers[script->next].len);
    script->next++;
    return 1;
}

static uint64_t no_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void drop_script(void *ctx)
{
    struct script *script = ctx;

    for (unsigned i = 0; i < script->count; i++) {
        br_buf_free(&script->answers[i]);
    }
}

static void line(struct script *script, const struct br_store_wire *message)
{
    br_store_wire_encode(message, &script->answers[script->count]);
    br_buf_append(&script->answers[script->count++], message->bytes, message->bytes_len);
}

static int told_names(const char *names_told[2])
{
    static const struct br_channel_ops ops = {
        .send = swallow, .recv = next_line, .sent_bytes = no_bytes, .close = drop_script};
    struct script script = {0};
    struct br_buf bytes = {0};
    struct br_store store;
    struct bed bed;
    unsigned count = 0;
    bed_open(&bed);

    line(&script, &(struct br_store_wire){
                      .type = BR_STORE_WIRE_OPENED,
                      .number = 1,
                      .opened = {.version = 1, .role = BR_ROLE_WRITER, .credit_bytes = BR_STORE_WIRE_CREDIT}});
    for (unsigned i = 0; i < 2 && names_told[i]; i++) {
        br_store_wire_add_name(&bytes, names_told[i]);
    }
    line(&script, &(struct br_store_wire){
                      .type = BR_STORE_WIRE_NAMES, .number = 2, .bytes = bytes.data, .bytes_len = bytes.len});
    line(&script, &(struct br_store_wire){.type = BR_STORE_WIRE_DONE, .number = 2});
    const struct br_store_remote_params params = {
        .channel = {.ops = &ops, .ctx = &script}, .ring = bed.client_ring, .repository = "main", .what = "there"};
    T_OK(br_store_remote_open(&params, &store, &bed.err));
    int rc = store.ops->list(store.ctx, "points/", count_name, &count, &bed.err);
    store.ops->close(store.ctx);
    br_buf_free(&bytes);
    bed_close(&bed);
    return rc;
}

static void a_server_is_not_believed_what_can_t_be(void **state)
{
    (void)state;

    assert_int_equal(told_names((const char *[2]){"points/a", "points/b"}), 0);
    assert_int_equal(told_names((const char *[2]){"points/a", "points/a"}), -BR_E_PROTOCOL);
    assert_int_equal(told_names((const char *[2]){"points/b", "points/a"}), -BR_E_PROTOCOL);
    assert_int_equal(told_names((const char *[2]){"points/a/x", "points/a-b"}), 0); // as directories are listed
    assert_int_equal(told_names((const char *[2]){"packs/a", NULL}), -BR_E_PROTOCOL);
}

static void messages_come_out_as_they_went_in(void **state)
{
    (void)state;
    const uint8_t as_said[] = {9, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 'k', 'x'};
    struct br_store_wire message = {.type = BR_STORE_WIRE_GET, .number = 5, .value = 7, .len_bytes = 3, .name = "kx"};
    struct br_buf bytes = {0};

    br_store_wire_encode(&message, &bytes);
    assert_int_equal(bytes.len, sizeof(as_said));
    assert_memory_equal(bytes.data, as_said, sizeof(as_said));
    for (size_t len = 0; len < sizeof(as_said); len++) { // cut anywhere, it is none
        assert_int_equal(br_store_wire_decode(as_said, len, &message, NULL), -BR_E_PROTOCOL);
    }
    T_OK(br_store_wire_decode(as_said, sizeof(as_said), &message, NULL));
    assert_true(message.value == 7 && message.len_bytes == 3 && !strcmp(message.name, "kx"));
    br_buf_u8(&bytes, 0);
    assert_int_equal(br_store_wire_decode(bytes.data, bytes.len, &message, NULL), -BR_E_PROTOCOL);
    br_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_behind_a_session_is_a_store),
        cmocka_unit_test(a_writer_waits_for_credit),
        cmocka_unit_test(each_role_may_do_what_it_may),
        cmocka_unit_test(a_lease_is_taken_back_by_who_took_it),
        cmocka_unit_test(a_volume_belongs_to_who_wrote_it_first),
        cmocka_unit_test(a_tombstone_makes_nobody_an_owner),
        cmocka_unit_test(what_nobody_owns_is_taken_only_where_it_may_be),
        cmocka_unit_test(strange_names_are_not_there),
        cmocka_unit_test(a_writer_has_its_share_of_a_day),
        cmocka_unit_test(a_writer_has_its_share_of_bytes),
        cmocka_unit_test(a_cut_at_any_message_leaves_whole_objects),
        cmocka_unit_test(a_server_is_not_believed_what_can_t_be),
        cmocka_unit_test(messages_come_out_as_they_went_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
