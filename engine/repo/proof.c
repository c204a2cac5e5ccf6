// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/proof.h"

#define PROOF_FRAMES 8u

struct br_proof {
    struct br_repo *repo;
    struct br_frames *frames; // of what lies below overlays
    struct br_mac **macs;
    struct br_uuid *domains;
    size_t count;
    struct br_buf below;
};

static int add_domain(struct br_proof *proof, const struct br_uuid *domain, struct br_err *reterr)
{
    for (size_t i = 0; i < proof->count; i++) {
        if (br_uuid_equal(&proof->domains[i], domain)) {
            return 0;
        }
    }
    void *domains = reallocarray(proof->domains, proof->count + 1, sizeof(*proof->domains));
    if (domains) {
        proof->domains = domains;
    }
    void *macs = domains ? reallocarray(proof->macs, proof->count + 1, sizeof(struct br_mac *)) : NULL;
    if (!macs) {
        return br_err_set(reterr, BR_E_NOMEM, "the domains");
    }
    proof->macs = macs;
    proof->domains[proof->count] = *domain;
    int rc = br_domain_mac(&br_repo_config_of(proof->repo)->id_secret, domain, &proof->macs[proof->count], reterr);
    proof->count += !rc;
    return rc;
}

int br_proof_open(struct br_repo *repo, const struct br_point *points, size_t count, struct br_proof **ret_proof,
                  struct br_err *reterr)
{
    struct br_proof *proof = calloc(1, sizeof(*proof));
    int rc = proof ? 0 : br_err_set(reterr, BR_E_NOMEM, "proofs");

    if (!rc) {
        proof->repo = repo;
        rc = br_frames_open(repo, PROOF_FRAMES, &proof->frames, reterr);
    }
    for (size_t i = 0; !rc && i < count; i++) {
        rc = add_domain(proof, &points[i].domain, reterr);
    }
    if (rc < 0) {
        br_proof_close(proof);
        return rc;
    }
    *ret_proof = proof;
    return 0;
}

void br_proof_close(struct br_proof *proof)
{
    if (proof) {
        for (size_t i = 0; i < proof->count; i++) {
            br_mac_close(proof->macs[i]);
        }
        br_frames_close(proof->frames);
        br_buf_free(&proof->below);
        free(proof->macs);
        free(proof->domains);
        free(proof);
    }
}

static bool is_id(struct br_proof *proof, const struct br_chunk_id *id, bool node, const struct br_hash *hash)
{
    struct br_chunk_id made;

    for (size_t i = 0; i < proof->count; i++) {
        int rc = node ? br_chunk_id_node(proof->macs[i], hash, &made, NULL)
                      : br_chunk_id_leaf(proof->macs[i], hash, &made, NULL);

        if (!rc && !memcmp(made.bytes, id->bytes, BR_MAC_BYTES)) {
            return true;
        }
    }
    return false;
}

// The leaf of what an overlay makes of its base.
static bool overlaid(struct br_proof *proof, const struct br_chunk_entry *chunk, const uint8_t *bytes,
                     struct br_hash *ret_leaf)
{
    struct br_index_chunk base;
    struct br_overlay overlay;

    br_buf_reset(&proof->below);
    if (br_index_find_block(br_repo_index_of(proof->repo), &chunk->base, 0, &base, NULL) <= 0 ||
        br_frames_chunk_at(proof->frames, &base, &proof->below, NULL) < 0 || proof->below.len > BR_BLOCK_BYTES ||
        br_overlay_decode(bytes, chunk->len_bytes, (uint32_t)proof->below.len, &overlay, NULL) < 0) {
        return false;
    }
    br_overlay_apply(&overlay, proof->below.data, (uint32_t)proof->below.len);
    br_leaf_hash(proof->below.data, (uint32_t)proof->below.len, ret_leaf);
    return true;
}

bool br_proof_chunk(struct br_proof *proof, const struct br_chunk_entry *chunk, const uint8_t *bytes)
{
    struct br_hash hash;

    switch (chunk->kind) {
    case BR_CHUNK_BLOCK:
        if (chunk->len_bytes > BR_BLOCK_BYTES) {
            return false;
        }
        br_leaf_hash(bytes, chunk->len_bytes, &hash);
        return is_id(proof, &chunk->id, false, &hash);
    case BR_CHUNK_OVERLAY: return overlaid(proof, chunk, bytes, &hash) && is_id(proof, &chunk->id, false, &hash);
    case BR_CHUNK_NODE:
        return br_tree_node_named(bytes, chunk->len_bytes, &hash) && is_id(proof, &chunk->id, true, &hash);
    }
    return false;
}
