// SPDX-License-Identifier: Apache-2.0
//
// A hostile client of a served repository. The input is a first byte, which says what the client's role is, and a list of messages, each u16 length
// and bytes. Behind the session lies what a server has: a guard over a directory. What the role forbids must not have happened in the end.
#include <stdlib.h>

#include "engine/repo/store_dir.h"
#include "engine/repo/store_guard.h"
#include "engine/repo/store_session.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

#define OTHERS "points/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/0123456789abcdef0123456789abcdef"

struct bed {
    struct br_ring *ring;
    enum br_role role;
};

static int say_nothing(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct br_store_wire message;
    struct br_buf whole = {0};

    (void)ctx;
    br_buf_append(&whole, head, head_len);
    if (body_len) {
        br_buf_append(&whole, body, body_len);
    }
    if (whole.len > BR_MESSAGE_BYTES_MAX || br_store_wire_decode(whole.data, whole.len, &message, reterr) < 0) {
        abort(); // what a session says must be readable
    }
    br_buf_free(&whole);
    return 0;
}

static int open_store(void *ctx, const char *repository, uint8_t role, struct br_store *ret_store, uint8_t *ret_role,
                      struct br_err *reterr)
{
    const struct bed *bed = ctx;
    struct br_dir *dir;
    struct br_store_guard_params params = {
        .repository = {{1}},
        .role = bed->role,
        .write = role > BR_ROLE_READER,
        .client = {{2}},
        .limits = {.points = 10, .objects = 20, .bytes = 100000},
    };

    if (repository[0] == '-') {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no such repository");
    }
    int rc = br_sim_dir(bed->ring, "repo", &dir, reterr);
    rc = rc < 0 ? rc : br_store_dir_open(bed->ring, dir, false, &params.store, reterr);
    rc = rc < 0 ? rc : br_sim_dir(bed->ring, "records", &params.records, reterr);
    *ret_role = (uint8_t)bed->role;
    return rc < 0 ? rc : br_store_guard_open(&params, ret_store, reterr);
}

// A repository with a point of somebody else.
static struct br_sim *world_of_another(void)
{
    struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = 1});
    struct br_ring *ring;
    struct br_dir *dir, *owners;
    struct br_store store = {0}, notes = {0};
    char owner[BR_FINGERPRINT_TEXT_BYTES];
    const struct br_fingerprint other = {{9}};

    br_fingerprint_text(&other, owner);
    if (br_sim_ring(sim, NULL, &ring, NULL) || br_sim_dir(ring, "repo", &dir, NULL) ||
        br_store_dir_open(ring, dir, false, &store, NULL) || store.ops->put(store.ctx, OTHERS, "point", 5, NULL) ||
        store.ops->put(store.ctx, "config", "config", 6, NULL) || br_sim_dir(ring, "records/owners", &owners, NULL) ||
        br_store_dir_open(ring, owners, false, &notes, NULL) ||
        notes.ops->put(notes.ctx, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", owner, strlen(owner), NULL)) {
        abort();
    }
    store.ops->close(store.ctx);
    notes.ops->close(notes.ctx);
    br_ring_close(ring);
    return sim;
}

static void require_unharmed(const struct br_sim *sim, enum br_role role)
{
    struct br_buf names = {0};
    char bytes[6];

    if (role <= BR_ROLE_WRITER) {
        br_sim_list(sim, "repo/points/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &names);
        if (!br_sim_exists(sim, OTHERS) && !br_sim_exists(sim, "repo/" OTHERS)) {
            abort(); // another's point is gone
        }
        if (names.len != 33) {
            abort(); // or has company
        }
    }
    if (role < BR_ROLE_ADMIN) {
        br_sim_read(sim, "repo/config", bytes, sizeof(bytes), 0);
        if (memcmp(bytes, "config", sizeof(bytes)) != 0) {
            abort();
        }
    }
    br_buf_free(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    const struct br_channel_ops ops = t_sink_ops(say_nothing);
    static struct br_sim *world;
    struct bed bed = {.role = len_bytes ? (enum br_role)(BR_ROLE_READER + data[0] % 4) : BR_ROLE_READER};
    struct br_store_session *session;
    struct br_buf message = {0};
    int rc = 0;

    world = world ? world : world_of_another();
    struct br_sim *sim = br_sim_fork(world, 1);
    if (br_sim_ring(sim, NULL, &bed.ring, NULL)) {
        abort();
    }
    const struct br_store_session_params params = {
        .channel = {.ops = &ops}, .ring = bed.ring, .host = {.open = open_store, .ctx = &bed}, .program = "fuzz"};
    if (br_store_session_open(&params, &session, NULL)) {
        abort();
    }
    struct t_script script = {data + BR_MIN(len_bytes, (size_t)1), len_bytes ? len_bytes - 1 : 0};
    while (!rc && t_script_next(&script, &message)) {
        rc = br_store_session_message(session, &message, NULL);
        rc = rc ? rc : br_store_session_tick(session, NULL);
    }
    br_store_session_close(session);
    br_buf_free(&message);
    br_ring_close(bed.ring);
    require_unharmed(sim, bed.role);
    br_sim_free(sim);
    return 0;
}
