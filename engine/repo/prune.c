// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/prune.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/repo/needs.h"
#include "engine/repo/writer.h"

#define PRUNE_FRAMES 8u
#define PRUNE_TELL   64u // packs deleted between two words of it
#define PRUNE_SETTLE \
    4096u // and between two syncs: of all folders of packs, 256, however few go; nothing hangs on them before the last

struct pruning {
    const struct br_prune_params *params;
    struct br_prune_result *result;
    struct br_repo *repo;
    struct br_index *index;
    const struct br_store *store;
    struct br_ring *ring;
    struct br_err *reterr;

    const struct br_point **going; // of params->remove, by volume and id
    struct br_point *points;       // that stay, by volume and number
    size_t point_count;
    struct br_needs *needs;
    bool reindexed;                       // in this run
    uint64_t missing;                     // chunks that the points lack
    uint8_t (*unreadable)[BR_SALT_BYTES]; // packs whose directory is damaged, ascending
    size_t unreadable_count;

    struct br_lease *leases; // not ended
    size_t lease_count;
    unsigned leases_unknown; // that do not open

    struct br_lease own;
    bool own_taken;
    uint8_t (*doomed)[BR_SALT_BYTES]; // by this run
    size_t doomed_count;
    uint8_t (*deleted)[BR_SALT_BYTES]; // ascending in the end
    size_t deleted_count;
};

static void note(const struct pruning *p, const char *fmt, ...) BR_PRINTF(2, 3);
static void note(const struct pruning *p, const char *fmt, ...)
{
    char text[600];
    va_list args;

    if (p->params->note) {
        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        p->params->note(p->params->ctx, text);
    }
}

static int tell(const struct pruning *p, const char *phase, uint64_t done, uint64_t total)
{
    const struct br_prune_progress progress = {.phase = phase, .done = done, .total = total};

    if (p->params->progress) {
        p->params->progress(p->params->ctx, &progress);
    }
    return p->params->cancel && *p->params->cancel ? br_err_set(p->reterr, BR_E_CANCELLED, "pruning: %s", phase) : 0;
}

// Room for one more; lists grow by doubling, whenever their count is a power of two.
static void *one_more(struct pruning *p, void *list, size_t *count, size_t size)
{
    if (!(*count & (*count - 1))) {
        void *more = reallocarray(list, *count ? 2 * *count : 1, size);

        if (!more) {
            br_err_set(p->reterr, BR_E_NOMEM, "the lists of a prune");
            return NULL;
        }
        list = more;
    }
    ++*count;
    return list;
}

static int add_salt(struct pruning *p, uint8_t (**salts)[BR_SALT_BYTES], size_t *count, const uint8_t *salt)
{
    void *more = one_more(p, *salts, count, BR_SALT_BYTES);

    if (!more) {
        return -BR_E_NOMEM;
    }
    *salts = more;
    memcpy((*salts)[*count - 1], salt, BR_SALT_BYTES);
    return 0;
}

// Points ------------------------------------------------------------------------------------------------------------------------------

static int identity_order(const void *a, const void *b)
{
    const struct br_point *left = *(const struct br_point *const *)a, *right = *(const struct br_point *const *)b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return order ? order : memcmp(left->id.bytes, right->id.bytes, BR_UUID_BYTES);
}

static int sort_going(struct pruning *p)
{
    p->going = calloc(BR_MAX(p->params->remove_count, 1u), sizeof(*p->going));
    if (!p->going) {
        return br_err_set(p->reterr, BR_E_NOMEM, "the points to remove");
    }
    for (size_t i = 0; i < p->params->remove_count; i++) {
        p->going[i] = &p->params->remove[i];
    }
    qsort(p->going, p->params->remove_count, sizeof(*p->going), identity_order);
    return 0;
}

static bool is_to_go(const struct pruning *p, const struct br_point *point)
{
    return bsearch(&point, p->going, p->params->remove_count, sizeof(*p->going), identity_order) != NULL;
}

static int take_point(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct pruning *p = ctx;
    char id[BR_UUID_TEXT_BYTES];

    if (is_to_go(p, point)) {
        return 0;
    }
    if (rc < 0) {
        br_uuid_text(&point->id, id);
        return br_err_set(p->reterr, -rc, "point %s does not open, so what it needs is not known (%.300s)", id,
                          err->text);
    }
    struct br_point *more = one_more(p, p->points, &p->point_count, sizeof(*more));
    if (!more) {
        return -BR_E_NOMEM;
    }
    p->points = more;
    p->points[p->point_count - 1] = *point;
    return 0;
}

static int by_volume(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return order ? order : (left->counter > right->counter) - (left->counter < right->counter);
}

// What the points that are there now need of the packs that are there now.
static int look_once(struct pruning *p, uint64_t *ret_missing)
{
    char id[BR_UUID_TEXT_BYTES];

    *ret_missing = 0;
    p->point_count = 0;
    free(p->points);
    p->points = NULL;
    br_needs_close(p->needs);
    p->needs = NULL;
    int rc = br_repo_points(p->repo, NULL, take_point, p, p->reterr);
    if (!rc && p->point_count) {
        qsort(p->points, p->point_count, sizeof(*p->points), by_volume);
    }
    rc = rc < 0 ? rc : br_needs_open(p->repo, &p->needs, p->reterr);
    for (size_t i = 0; !rc && i < p->point_count; i++) {
        uint64_t missing = 0;

        rc = br_needs_add(p->needs, &p->points[i], &missing, p->reterr);
        br_uuid_text(&p->points[i].id, id);
        *ret_missing += missing;
        if (rc < 0) {
            br_err_prefix(p->reterr, "point %s: what it needs is not known", id);
            *ret_missing += rc == -BR_E_NOT_FOUND || rc == -BR_E_CORRUPT || rc == -BR_E_TRUNCATED;
        } else if (missing && p->reindexed) {
            note(p, "point %s lacks %" PRIu64 " blocks (see blkrep verify)", id, missing);
        }
        rc = rc < 0 ? rc : tell(p, "needs", i + 1, p->point_count);
    }
    p->result->points_kept = p->point_count;
    return rc;
}

static int take_unreadable(void *ctx, const char *name)
{
    struct pruning *p = ctx;
    struct br_directory directory = {0};
    uint8_t salt[BR_SALT_BYTES];
    uint32_t number;

    if (!br_name_parse_pack(name, salt)) {
        return 0;
    }
    int rc = br_index_has_pack(p->index, salt, &number, p->reterr);
    if (rc) {
        return BR_MIN(rc, 0);
    }
    rc = br_repo_directory(p->repo, name, &directory, NULL, NULL);
    br_directory_free(&directory);
    return rc == -BR_E_CORRUPT || rc == -BR_E_TRUNCATED ? add_salt(p, &p->unreadable, &p->unreadable_count, salt) : 0;
}

// Packs of which nobody can say what is in them. When no point lacks anything, nothing in there is needed.
static int find_unreadable(struct pruning *p)
{
    free(p->unreadable);
    p->unreadable = NULL;
    p->unreadable_count = 0;
    int rc = p->missing ? 0 : p->store->ops->list(p->store->ctx, "packs/", take_unreadable, p, p->reterr);
    if (p->unreadable_count) {
        qsort(p->unreadable, p->unreadable_count, BR_SALT_BYTES, br_salt_order);
    }
    return rc;
}

// An index that lacks something would have what it lacks deleted: it is made anew before that is believed.
static int look(struct pruning *p)
{
    int rc = look_once(p, &p->missing);

    if (p->missing && !p->reindexed) {
        p->reindexed = true;
        rc = br_repo_reindex(p->repo, p->reterr);
        rc = rc < 0 ? rc : look_once(p, &p->missing);
    }
    return rc < 0 ? rc : find_unreadable(p);
}

static int keep_lease(struct pruning *p, const struct br_lease *lease)
{
    struct br_lease *more = one_more(p, p->leases, &p->lease_count, sizeof(*more));
    if (!more) {
        return -BR_E_NOMEM;
    }
    p->leases = more;
    p->leases[p->lease_count - 1] = *lease;
    return 0;
}

// Of a lease that does not open nobody knows which point it names.
static int note_named(void *ctx, const struct br_lease *lease, int rc, const struct br_err *err)
{
    struct pruning *p = ctx;

    (void)err;
    if (rc < 0) {
        p->leases_unknown++;
        return 0;
    }
    return keep_lease(p, lease);
}

// May a run that has not put its point want just this name?
static bool is_named(const struct pruning *p, const struct br_point *point)
{
    for (size_t i = 0; i < p->lease_count; i++) {
        if (br_uuid_equal(&p->leases[i].point, &point->id) && br_uuid_equal(&p->leases[i].volume, &point->volume)) {
            return true;
        }
    }
    return p->leases_unknown > 0;
}

// A run that comes between the two makes the point once more, at most.
static int remove_point(struct pruning *p, const struct br_point *point)
{
    const struct br_lease lease = {.volume = point->volume, .point = point->id};
    char name[BR_OBJECT_NAME_BYTES];
    bool named = is_named(p, point);
    int rc;

    br_name_point(&point->volume, &point->id, name);
    do {
        rc = p->store->ops->remove(p->store->ctx, name, p->reterr);
        if (rc < 0 || !named) {
            return rc;
        }
        rc = br_lease_give_up(p->repo, &lease, p->params->host, "its point was removed while a lease named it",
                              p->reterr);
        rc = rc ? rc : br_lease_tombstone_of(p->repo, &point->volume, &point->id, p->reterr);
    } while (!rc);
    return BR_MIN(rc, 0);
}

static int remove_points(struct pruning *p)
{
    int rc = p->params->remove_count ? br_lease_each(p->repo, note_named, p, p->reterr) : 0;

    for (size_t i = 0; !rc && i < p->params->remove_count; i++) {
        rc = remove_point(p, &p->params->remove[i]);
        p->result->points_removed += !rc;
        rc = rc < 0 ? rc : tell(p, "points", i + 1, p->params->remove_count);
    }
    return rc < 0 ? rc : p->store->ops->settle(p->store->ctx, p->reterr);
}

// Leases ------------------------------------------------------------------------------------------------------------------------------

// By the store's clock, as far as it has one: what a writer says of the time is its own affair.
static bool is_old(const struct pruning *p, const struct br_lease *lease)
{
    uint64_t now = br_ring_unix_ns(p->ring), since;
    char name[BR_OBJECT_NAME_BYTES];

    br_name_lease(&lease->run, name);
    if (p->store->ops->arrived(p->store->ctx, name, &since, NULL) < 0) {
        since = lease->begun_unix_ns;
    }
    return now >= since && now - since >= p->params->grace_ns;
}

static int take_lease(void *ctx, const struct br_lease *lease, int rc, const struct br_err *err)
{
    struct pruning *p = ctx;

    if (br_uuid_equal(&lease->run, &p->own.run)) {
        return 0;
    }
    if (rc < 0) {
        p->leases_unknown++;
        note(p, "a lease does not open, and its run is waited for: %.400s", err->text);
        return 0;
    }
    int ended = br_lease_ended(p->repo, lease, p->reterr);
    if (!ended && is_old(p, lease)) {
        if (!p->params->dry_run) {
            ended = br_lease_give_up(p->repo, lease, p->params->host, "its lease was older than a prune's grace",
                                     p->reterr);
        }
        note(p, "the run on %.100s that began to store %.200s is taken for dead", lease->host, lease->label);
        p->result->runs_given_up += ended >= 0;
        ended = ended < 0 ? ended : 1;
    }
    if (ended > 0 && !p->params->dry_run) {
        // Another run's point may have ended it: then it is needed when that is removed.
        int given_up = br_lease_tombstone_of(p->repo, &lease->volume, &lease->point, p->reterr);

        if (given_up > 0) {
            br_lease_drop(p->repo, lease);
        }
        return BR_MIN(given_up, 0);
    }
    return ended ? BR_MIN(ended, 0) : keep_lease(p, lease);
}

static int look_at_leases(struct pruning *p)
{
    p->lease_count = 0;
    free(p->leases);
    p->leases = NULL;
    p->leases_unknown = 0;
    return br_lease_each(p->repo, take_lease, p, p->reterr);
}

static bool is_of_a_live_run(const struct pruning *p, const struct br_uuid *writer)
{
    for (size_t i = 0; i < p->lease_count; i++) {
        if (br_uuid_equal(&p->leases[i].run, writer)) {
            return true;
        }
    }
    return p->own_taken && br_uuid_equal(&p->own.run, writer);
}

// Whose lease was there before the list, or may have been.
static bool waits_for(const struct br_lease *lease, const struct br_uuid *list)
{
    for (unsigned i = 0; i < lease->seen_count; i++) {
        if (br_uuid_equal(&lease->seen[i], list)) {
            return false;
        }
    }
    return true;
}

// Writing anew ------------------------------------------------------------------------------------------------------------------------

// Is a pack worth it, or must it go whatever it holds? What was doomed by a prune that was cut is deleted, or never used again.
static uint64_t unused_of(const struct br_needs_pack *pack)
{
    return pack->facts.raw_bytes
               ? (uint64_t)((double)pack->facts.bytes * (1 - (double)pack->raw_needed / (double)pack->facts.raw_bytes))
               : pack->facts.bytes;
}

static bool could_shrink(const struct pruning *p, const struct br_needs_pack *pack)
{
    return pack->chunks_needed && !is_of_a_live_run(p, &pack->facts.writer) && (pack->doomed || unused_of(pack));
}

struct candidate {
    size_t at; // in needs
    uint64_t unused;
    uint64_t bytes;
    bool doomed;
};

// By the share that is unused: that frees most for what is written.
static int most_unused_first(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;

    if (left->doomed != right->doomed) {
        return left->doomed ? -1 : 1;
    }
    double a_share = (double)left->unused / (double)left->bytes, b_share = (double)right->unused / (double)right->bytes;

    return (a_share < b_share) - (a_share > b_share);
}

// The packs to write anew, so that no more than allowed is unused.
static int choose(struct pruning *p, struct candidate **ret_chosen, size_t *ret_count)
{
    uint64_t stored = 0, unused = 0, unproven = 0;
    struct candidate *chosen = NULL;
    size_t count = 0, take = 0;

    for (size_t at = 0; at < br_needs_count(p->needs); at++) {
        const struct br_needs_pack *pack = br_needs_pack(p->needs, at);

        if (pack->chunks_needed) {
            stored += pack->facts.bytes;
            unused += unused_of(pack);
        }
        bool could = could_shrink(p, pack);
        unproven += could && !pack->facts.proven ? unused_of(pack) : 0;
        if (could && pack->facts.proven) {
            struct candidate *more = one_more(p, chosen, &count, sizeof(*chosen));

            if (!more) {
                free(chosen);
                return -BR_E_NOMEM;
            }
            chosen = more;
            chosen[count - 1] = (struct candidate){
                .at = at, .unused = unused_of(pack), .bytes = pack->facts.bytes, .doomed = pack->doomed};
        }
    }
    if (unproven * 100 > stored * BR_MIN(p->params->unused_max, 100u)) {
        note(p,
             "%" PRIu64
             " MiB are unused in packs that this host has not proven, and stay: blkrep verify --data proves them",
             unproven >> 20);
    }
    if (count) {
        qsort(chosen, count, sizeof(*chosen), most_unused_first);
    }
    while (take < count && (chosen[take].doomed || unused * 100 > stored * BR_MIN(p->params->unused_max, 100u))) {
        unused -= BR_MIN(unused, chosen[take].unused);
        stored -= BR_MIN(stored, chosen[take].unused);
        take++;
    }
    *ret_chosen = chosen;
    *ret_count = take;
    return 0;
}

// The chunks of a pack that are needed into new ones: just these copies, since an overlay of another pack may lie over another block.
static int copy_pack(struct pruning *p, struct br_frames *frames, struct br_writer *writer, size_t at)
{
    const struct br_needs_pack *pack = br_needs_pack(p->needs, at);
    struct br_index_chunk place = {.pack = pack->facts.number};
    struct br_directory directory = {0};
    struct br_buf bytes = {0};
    char name[BR_OBJECT_NAME_BYTES];
    uint32_t c = 0;

    br_name_pack(pack->facts.salt, name);
    int rc = br_repo_directory(p->repo, name, &directory, NULL, p->reterr);
    for (uint32_t f = 0; !rc && f < directory.frame_count; f++) {
        place.frame = f;
        place.at = 0;
        for (uint32_t end = c + directory.frames[f].chunks; !rc && c < end; c++) {
            const struct br_chunk_entry *entry = &directory.chunks[c];

            place.len_bytes = entry->len_bytes;
            rc = br_needs_chunk(p->needs, at, c) ? br_writer_has(writer, &entry->id, p->reterr) : 1;
            if (!rc) {
                br_buf_reset(&bytes);
                rc = br_frames_chunk_at(frames, &place, &bytes, p->reterr);
                rc = rc < 0 ? rc : br_writer_put(writer, entry, bytes.data, p->reterr);
            }
            rc = BR_MIN(rc, 0);
            place.at += entry->len_bytes;
        }
    }
    br_directory_free(&directory);
    br_buf_free(&bytes);
    return rc;
}

static int repack_all(struct pruning *p, const struct candidate *chosen, size_t count)
{
    const struct br_writer_params params = {.repo = p->repo, .run = p->own.run, .level = p->params->level};
    struct br_frames *frames = NULL;
    struct br_writer *writer = NULL;
    int rc = br_frames_open(p->repo, PRUNE_FRAMES, &frames, p->reterr);

    rc = rc < 0 ? rc : br_writer_open(&params, &writer, p->reterr);
    for (size_t i = 0; !rc && i < count; i++) {
        rc = copy_pack(p, frames, writer, chosen[i].at);
        rc = rc < 0 ? rc : tell(p, "repack", i + 1, count);
    }
    rc = rc < 0 ? rc : br_writer_settle(writer, p->reterr);
    if (writer) {
        p->result->bytes_repacked = br_writer_counts_of(writer)->stored_bytes;
    }
    br_writer_close(writer);
    br_frames_close(frames);
    p->result->packs_repacked = rc < 0 ? 0 : count;
    return rc;
}

static int repack(struct pruning *p)
{
    struct candidate *chosen = NULL;
    size_t count = 0;
    int rc = choose(p, &chosen, &count);

    if (!rc && count && p->params->dry_run) {
        p->result->packs_repacked = count;
        for (size_t i = 0; i < count; i++) {
            const struct br_needs_pack *pack = br_needs_pack(p->needs, chosen[i].at);

            p->result->bytes_repacked += pack->facts.bytes - BR_MIN(pack->facts.bytes, chosen[i].unused);
            p->result->bytes_deleted += pack->facts.bytes;
            p->result->packs_deleted++;
        }
    } else if (!rc && count) {
        // A lease of its own, so that no other prune takes the new packs for a dead run's. Its point is never made.
        p->own.point = br_ring_new_uuid(p->ring);
        rc = br_lease_take(p->repo, &p->own, p->reterr);
        p->own_taken = !rc;
        for (size_t i = 0; !rc && i < count; i++) {
            const uint8_t *salt = br_needs_pack(p->needs, chosen[i].at)->facts.salt;

            rc = add_salt(p, &p->doomed, &p->doomed_count, salt);
        }
        rc = rc < 0 ? rc
                    : br_index_avoid(p->index, (const uint8_t(*)[BR_SALT_BYTES])p->doomed, p->doomed_count, p->reterr);
        rc = rc < 0 ? rc : repack_all(p, chosen, count);
    }
    free(chosen);
    return rc;
}

// Doomed ------------------------------------------------------------------------------------------------------------------------------

// Packs that nothing needs, and no live run may be about to need.
static int doom_dead(struct pruning *p)
{
    int rc = 0;

    for (size_t at = 0; !rc && at < br_needs_count(p->needs); at++) {
        const struct br_needs_pack *pack = br_needs_pack(p->needs, at);

        if (pack->chunks_needed || is_of_a_live_run(p, &pack->facts.writer)) {
            continue;
        }
        if (p->params->dry_run) {
            p->result->packs_deleted++;
            p->result->bytes_deleted += pack->facts.bytes;
        } else if (!br_index_avoids(p->index, pack->facts.salt)) {
            rc = add_salt(p, &p->doomed, &p->doomed_count, pack->facts.salt);
        }
    }
    return rc;
}

static int doom_unreadable(struct pruning *p)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < p->unreadable_count; i++) {
        if (p->params->dry_run) {
            p->result->packs_deleted++;
        } else if (!br_index_avoids(p->index, p->unreadable[i])) {
            rc = add_salt(p, &p->doomed, &p->doomed_count, p->unreadable[i]);
        }
    }
    return rc;
}

static int put_lists(struct pruning *p)
{
    int rc = 0;

    for (size_t at = 0; !rc && at < p->doomed_count; at += BR_DOOMED_PACKS_MAX) {
        struct br_doomed doomed = {
            .id = br_ring_new_uuid(p->ring),
            .made_unix_ns = br_ring_unix_ns(p->ring),
            .salts = p->doomed + at,
            .count = BR_MIN(p->doomed_count - at, BR_DOOMED_PACKS_MAX),
        };

        snprintf(doomed.host, sizeof(doomed.host), "%s", p->params->host ? p->params->host : "");
        rc = br_doomed_put(p->repo, &doomed, p->reterr);
    }
    return rc;
}

// Deleting ----------------------------------------------------------------------------------------------------------------------------

static int delete_pack(struct pruning *p, const uint8_t *salt, uint64_t bytes)
{
    char name[BR_OBJECT_NAME_BYTES];

    br_name_pack(salt, name);
    int rc = p->store->ops->remove(p->store->ctx, name, p->reterr);
    rc = rc < 0 ? rc : add_salt(p, &p->deleted, &p->deleted_count, salt);
    if (rc < 0) {
        return rc;
    }
    p->result->packs_deleted++;
    p->result->bytes_deleted += bytes;
    rc = p->deleted_count % PRUNE_SETTLE ? 0 : p->store->ops->settle(p->store->ctx, p->reterr);
    return rc < 0 || p->deleted_count % PRUNE_TELL ? rc : tell(p, "delete", p->deleted_count, 0);
}

// What is to become of a list: its packs that may go now, go.
static int delete_list(void *ctx, const struct br_doomed *doomed)
{
    struct pruning *p = ctx;
    unsigned waiting = p->leases_unknown;
    char name[BR_OBJECT_NAME_BYTES];
    int rc = 0;

    for (size_t i = 0; i < p->lease_count; i++) {
        waiting += waits_for(&p->leases[i], &doomed->id);
    }
    p->result->runs_waited_for = BR_MAX(p->result->runs_waited_for, waiting);
    for (size_t at = 0; !rc && at < br_needs_count(p->needs); at++) {
        const struct br_needs_pack *pack = br_needs_pack(p->needs, at);
        bool named = !pack->chunks_needed && pack->doomed && doomed->count &&
                     bsearch(pack->facts.salt, doomed->salts, doomed->count, BR_SALT_BYTES, br_salt_order);

        if (named && waiting) {
            p->result->packs_waiting++;
            p->result->bytes_waiting += pack->facts.bytes;
        } else if (named) {
            rc = delete_pack(p, pack->facts.salt, pack->facts.bytes);
        }
    }
    for (size_t i = 0; !rc && !waiting && i < p->unreadable_count; i++) {
        uint64_t bytes = 0;

        br_name_pack(p->unreadable[i], name);
        if (bsearch(p->unreadable[i], doomed->salts, doomed->count, BR_SALT_BYTES, br_salt_order)) {
            (void)!p->store->ops->size(p->store->ctx, name, &bytes, NULL);
            rc = delete_pack(p, p->unreadable[i], bytes);
        }
    }
    return rc;
}

static bool is_there(struct pruning *p, const uint8_t *salt)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_err err = {0};
    uint64_t bytes;

    if (p->deleted_count && bsearch(salt, p->deleted, p->deleted_count, BR_SALT_BYTES, br_salt_order)) {
        return false;
    }
    br_name_pack(salt, name);
    return p->store->ops->size(p->store->ctx, name, &bytes, &err) !=
           -BR_E_NOT_FOUND; // what can't be looked at is there
}

static int remove_list(void *ctx, const struct br_doomed *doomed)
{
    struct pruning *p = ctx;
    char name[BR_OBJECT_NAME_BYTES];

    for (size_t i = 0; i < doomed->count; i++) {
        if (is_there(p, doomed->salts[i])) {
            return 0;
        }
    }
    br_name_doomed(&doomed->id, name);
    return p->store->ops->remove(p->store->ctx, name, p->reterr);
}

static int forget_deleted(struct pruning *p)
{
    uint32_t *numbers = calloc(BR_MAX(p->deleted_count, 1u), sizeof(*numbers));
    size_t count = 0;
    int rc = numbers ? 0 : br_err_set(p->reterr, BR_E_NOMEM, "the packs that were deleted");

    for (size_t i = 0; !rc && i < p->deleted_count; i++) {
        rc = br_index_has_pack(p->index, p->deleted[i], &numbers[count], p->reterr);
        count += rc > 0;
        rc = BR_MIN(rc, 0);
    }
    rc = rc < 0 || !count ? rc : br_index_drop(p->index, numbers, count, p->reterr);
    free(numbers);
    return rc;
}

// The second look, and what follows from it. Lists are read before leases: a run that is not among these heeds every list that was read. And before
// packs are listed: a list that is gone had its packs deleted before.
static int delete_doomed(struct pruning *p)
{
    struct br_repo_refreshed refreshed;
    int rc = br_doomed_avoid(p->repo, p->reterr);

    rc = rc < 0 ? rc : look_at_leases(p);
    if (rc < 0 || !br_index_avoid_count(p->index)) {
        return rc;
    }
    rc = br_repo_refresh(p->repo, &refreshed, p->reterr);
    rc = rc < 0 ? rc : look(p);
    rc = rc < 0 ? rc : br_doomed_each(p->repo, delete_list, p, p->reterr);
    rc = rc < 0 ? rc : p->store->ops->settle(p->store->ctx, p->reterr);
    if (p->deleted_count) {
        qsort(p->deleted, p->deleted_count, BR_SALT_BYTES, br_salt_order);
    }
    rc = rc < 0 ? rc : br_doomed_each(p->repo, remove_list, p, p->reterr);
    rc = rc < 0 ? rc : p->store->ops->settle(p->store->ctx, p->reterr);
    return rc < 0 ? rc : forget_deleted(p);
}

// What is left is counted from the last look, without what was deleted since.
static void count_left(struct pruning *p)
{
    struct br_prune_result *r = p->result;

    for (size_t at = 0; p->needs && at < br_needs_count(p->needs); at++) {
        const struct br_needs_pack *pack = br_needs_pack(p->needs, at);

        if (p->deleted_count && bsearch(pack->facts.salt, p->deleted, p->deleted_count, BR_SALT_BYTES, br_salt_order)) {
            continue;
        }
        r->packs_left++;
        r->bytes_left += pack->facts.bytes;
        r->bytes_unused += unused_of(pack);
    }
}

// What killed writers left half written has no name that anybody knows.
static int sweep(struct pruning *p)
{
    uint64_t now = br_ring_unix_ns(p->ring), grace = BR_MAX(p->params->grace_ns, BR_PRUNE_SWEEP_NS);

    return !p->store->ops->sweep || now < grace
               ? 0
               : p->store->ops->sweep(p->store->ctx, now - grace, &p->result->bytes_swept, p->reterr);
}

static int prune(struct pruning *p)
{
    struct br_repo_refreshed refreshed;
    int rc = sort_going(p);

    rc = rc < 0 || p->params->dry_run ? rc : remove_points(p);
    rc = rc < 0 || p->params->dry_run ? rc : sweep(p);

    rc = rc < 0 ? rc : look_at_leases(p);
    rc = rc < 0 ? rc : br_doomed_avoid(p->repo, p->reterr);
    rc = rc < 0 ? rc : br_repo_refresh(p->repo, &refreshed, p->reterr);
    rc = rc < 0 ? rc : look(p);
    rc = rc < 0 ? rc : repack(p);
    rc = rc < 0 ? rc : doom_dead(p);
    rc = rc < 0 ? rc : doom_unreadable(p);
    if (rc < 0 || p->params->dry_run) {
        return rc;
    }
    rc = put_lists(p);
    return rc < 0 ? rc : delete_doomed(p);
}

int br_prune(const struct br_prune_params *params, struct br_prune_result *ret_result, struct br_err *reterr)
{
    struct br_err err = {0};
    struct pruning p = {
        .params = params,
        .result = ret_result,
        .repo = params->repo,
        .index = br_repo_index_of(params->repo),
        .store = br_repo_store_of(params->repo),
        .ring = br_repo_ring_of(params->repo),
        .reterr = &err,
    };

    *ret_result = (struct br_prune_result){0};
    p.own.run = br_ring_new_uuid(p.ring);
    snprintf(p.own.host, sizeof(p.own.host), "%s", params->host ? params->host : "");
    snprintf(p.own.label, sizeof(p.own.label), "prune");
    int rc = prune(&p);
    count_left(&p);
    if (params->dry_run) {
        ret_result->points_removed = params->remove_count;
    }
    if (p.own_taken) {
        br_lease_drop(p.repo, &p.own);
    }
    br_needs_close(p.needs);
    free(p.going);
    free(p.points);
    free(p.leases);
    free(p.doomed);
    free(p.deleted);
    free(p.unreadable);
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc;
}
