// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/needs.h"

#include "engine/repo/version.h"

#define NEEDS_NODES 8u

struct pack {
    struct br_needs_pack pack;
    uint64_t first; // bit of its chunk 0
};

struct br_needs {
    struct br_repo *repo;
    struct br_index *index;
    struct br_frames *nodes;
    struct pack *packs;
    size_t count, room;
    uint64_t chunks; // of all of them
    uint8_t *bits;
    struct br_point before; // added last, whole
    bool has_before;
    // The point that is added.
    struct br_repo_version *version;
    uint64_t missing;
    struct br_err *reterr;
};

static int take_pack(void *ctx, const struct br_index_pack *facts)
{
    struct br_needs *needs = ctx;

    if (needs->count == needs->room) {
        size_t room = needs->room ? 2 * needs->room : 64;
        void *more = reallocarray(needs->packs, room, sizeof(*needs->packs));

        if (!more) {
            return -BR_E_NOMEM;
        }
        needs->packs = more;
        needs->room = room;
    }
    needs->packs[needs->count++] = (struct pack){
        .pack = {.facts = *facts, .doomed = br_index_avoids(needs->index, facts->salt)},
        .first = needs->chunks,
    };
    needs->chunks += facts->chunks;
    return 0;
}

int br_needs_open(struct br_repo *repo, struct br_needs **ret_needs, struct br_err *reterr)
{
    struct br_needs *needs = calloc(1, sizeof(*needs));
    int rc = needs ? 0 : -BR_E_NOMEM;

    if (!rc) {
        needs->repo = repo;
        needs->index = br_repo_index_of(repo);
        rc = br_index_each_pack(needs->index, take_pack, needs, reterr);
    }
    if (!rc) {
        needs->bits = calloc(1, needs->chunks / 8 + 1);
        rc = needs->bits ? 0 : -BR_E_NOMEM;
    }
    if (rc == -BR_E_NOMEM) {
        br_err_set(reterr, BR_E_NOMEM, "what the points need");
    }
    rc = rc < 0 ? rc : br_frames_open(repo, NEEDS_NODES, &needs->nodes, reterr);
    if (rc < 0) {
        br_needs_close(needs);
        return rc;
    }
    *ret_needs = needs;
    return 0;
}

void br_needs_close(struct br_needs *needs)
{
    if (needs) {
        br_frames_close(needs->nodes);
        free(needs->packs);
        free(needs->bits);
        free(needs);
    }
}

static int number_order(const void *key, const void *element)
{
    const struct pack *pack = element;
    uint32_t number = *(const uint32_t *)key;

    return (number > pack->pack.facts.number) - (number < pack->pack.facts.number);
}

static void mark(struct br_needs *needs, const struct br_index_chunk *chunk)
{
    struct pack *pack =
        needs->count ? bsearch(&chunk->pack, needs->packs, needs->count, sizeof(*pack), number_order) : NULL;

    // A pack that came since: a writer's, which is not asked about.
    if (!pack || chunk->ordinal >= pack->pack.facts.chunks) {
        return;
    }
    uint64_t bit = pack->first + chunk->ordinal;
    if (!(needs->bits[bit / 8] >> bit % 8 & 1)) {
        needs->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
        pack->pack.chunks_needed++;
        pack->pack.raw_needed += chunk->len_bytes;
    }
}

// Copies of a chunk, of one kind or of any.
#define COPIES_MAX 64u

struct copies {
    struct br_index_chunk chunks[COPIES_MAX];
    unsigned count;
};

static int take_copy(void *ctx, const struct br_index_chunk *chunk)
{
    struct copies *copies = ctx;

    if (copies->count < COPIES_MAX) {
        copies->chunks[copies->count++] = *chunk;
    }
    return copies->count == COPIES_MAX ? -BR_E_LIMIT : 0;
}

static int copies_of(struct br_needs *needs, const struct br_chunk_id *id, struct copies *copies, struct br_err *reterr)
{
    copies->count = 0;
    int rc = br_index_each_copy(needs->index, id, take_copy, copies, reterr);
    return rc == -BR_E_LIMIT ? br_err_set(reterr, BR_E_LIMIT, "a chunk that is in %u packs", COPIES_MAX) : rc;
}

static bool will_last(const struct br_index_chunk *chunk)
{
    return chunk->proven && !chunk->doomed;
}

// One copy of a whole block that will last, or all there are. Returns 1 when there is any, 0 none.
static int need_base(struct br_needs *needs, const struct br_chunk_id *id, bool only_lasting, struct br_err *reterr)
{
    struct br_index_chunk best;
    struct copies copies;
    int rc = br_index_find_block(needs->index, id, 0, &best, reterr);

    if (rc > 0 && will_last(&best)) {
        mark(needs, &best);
        return 1;
    }
    if (rc <= 0 || only_lasting) {
        return BR_MIN(rc, 0);
    }
    rc = copies_of(needs, id, &copies, reterr);
    for (unsigned i = 0; !rc && i < copies.count; i++) {
        if (copies.chunks[i].kind == BR_CHUNK_BLOCK) {
            mark(needs, &copies.chunks[i]);
        }
    }
    return rc < 0 ? rc : 1;
}

// Returns 1 when it is there, 0 not.
static int need(struct br_needs *needs, const struct br_chunk_id *id, struct br_err *reterr)
{
    struct br_index_chunk best;
    struct copies copies;
    int rc = br_index_find(needs->index, id, &best, reterr);

    if (rc <= 0) {
        return rc;
    }
    if (will_last(&best)) {
        rc = best.kind == BR_CHUNK_OVERLAY ? need_base(needs, &best.base, true, reterr) : 1;
        if (rc > 0) {
            mark(needs, &best);
        }
        if (rc) {
            return rc;
        }
    }
    rc = copies_of(needs, id, &copies, reterr);
    for (unsigned i = 0; rc >= 0 && i < copies.count; i++) {
        mark(needs, &copies.chunks[i]);
        if (copies.chunks[i].kind == BR_CHUNK_OVERLAY) {
            rc = need_base(needs, &copies.chunks[i].base, false, reterr);
        }
    }
    return rc < 0 ? rc : 1;
}

static int take_node(void *ctx, const struct br_chunk_id *id, struct br_err *reterr)
{
    int rc = need(ctx, id, reterr);

    return BR_MIN(rc, 0); // one that is missing fails where it is read
}

static int take_leaf(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct br_needs *needs = ctx;
    struct br_chunk_id id;

    (void)block;
    (void)old_leaf;
    if (br_leaf_is_special(new_leaf)) {
        return 0;
    }
    int rc = br_chunk_id_leaf(needs->version->domain, new_leaf, &id, needs->reterr);
    rc = rc < 0 ? rc : need(needs, &id, needs->reterr);
    needs->missing += rc == 0;
    return BR_MIN(rc, 0);
}

int br_needs_add(struct br_needs *needs, const struct br_point *point, uint64_t *ret_missing, struct br_err *reterr)
{
    bool shares = needs->has_before && br_uuid_equal(&needs->before.domain, &point->domain);
    struct br_repo_version version, old = {0};
    struct br_tree none;
    int rc = br_repo_version_open(needs->repo, needs->nodes, point, &version, reterr);

    rc = rc < 0 || !shares ? rc : br_repo_version_open(needs->repo, needs->nodes, &needs->before, &old, reterr);
    if (!rc) {
        version.on_node = take_node;
        version.on_node_ctx = needs;
        needs->version = &version;
        needs->reterr = reterr;
        needs->missing = 0;
        br_tree_empty(&version.tree.geometry, &br_hash_zero, &none);
        rc = br_tree_diff(shares ? &old.tree : &none, shares ? &old.store : &version.store, &version.tree,
                          &version.store, take_leaf, needs, reterr);
    }
    br_repo_version_close(&version);
    br_repo_version_close(&old);
    needs->version = NULL;
    needs->has_before = !rc;
    needs->before = *point;
    if (!rc && ret_missing) {
        *ret_missing = needs->missing;
    }
    return rc;
}

size_t br_needs_count(const struct br_needs *needs)
{
    return needs->count;
}

const struct br_needs_pack *br_needs_pack(const struct br_needs *needs, size_t at)
{
    return &needs->packs[at].pack;
}

bool br_needs_chunk(const struct br_needs *needs, size_t at, uint32_t ordinal)
{
    uint64_t bit = needs->packs[at].first + ordinal;

    return needs->bits[bit / 8] >> bit % 8 & 1;
}
