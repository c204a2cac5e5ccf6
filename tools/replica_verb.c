// SPDX-License-Identifier: Apache-2.0
#include "tools/replica_verb.h"

#include <unistd.h>

int replica_verb_open(struct cli *cli, const char *word, enum place_mode mode, struct replica_verb *ret_verb,
                      struct br_err *reterr)
{
    struct place_address address;
    int error;

    *ret_verb = (struct replica_verb){.place = {.look_fd = -1}};
    error = place_resolve(cli, word, "replica", &address, reterr);
    if (!error && address.remote) {
        error = br_err_set(reterr, BR_E_USAGE, "%s is on another host; run blkrep %s there", word, cli->verb->name);
    }
    // Nothing may be made for a name that is mistyped.
    if (!error && access(address.path, F_OK)) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "the replica %s", address.path);
    }
    if (!error) {
        error = place_ring(cli, &ret_verb->ring, reterr);
    }
    if (!error) {
        error = place_open(cli, ret_verb->ring, address.path, mode, &ret_verb->place, reterr);
    }
    if (error) {
        return error;
    }
    struct place *place = &ret_verb->place;
    struct br_replica_params params = {
        .ring = ret_verb->ring,
        .dir = place->dir,
        .file = place->file,
        .parent = place->parent,
        .name = place->object.is_block ? NULL : place->name,
        .what = place->path,
        .read_only = mode == PLACE_LOOK,
    };
    return br_replica_open(&params, &ret_verb->replica, reterr);
}

void replica_verb_close(struct replica_verb *verb)
{
    br_replica_close(verb->replica);
    place_close(&verb->place, true); // a question about a plain file leaves no folder beside it
    br_ring_close(verb->ring);
}

void replica_verb_report(struct cli *cli, const struct br_identity *identity)
{
    char text[2 * BR_HASH_BYTES + 1];

    cli_report_text(cli, "state", br_replica_state_name(identity->state));
    br_uuid_text(&identity->volume, text);
    cli_report_text(cli, "volume", br_uuid_is_nil(&identity->volume) ? NULL : text);
    cli_report_number(cli, "generation", identity->generation.counter);
    br_hash_text(&identity->root, text);
    cli_report_text(cli, "root", identity->state == BR_STATE_COMPLETE ? text : NULL);
    cli_report_number(cli, "size_bytes", identity->tree.geometry.size_bytes);
    cli_report_text(cli, "consistency", br_consistency_name(identity->consistency));
    cli_report_number(cli, "unreadable_blocks", identity->unreadable_blocks);
    cli_report_number(cli, "version_taken_unix", identity->taken_unix_ns / BR_NS_PER_S);
    cli_report_number(cli, "full_proof_unix", identity->full_proof_unix_ns / BR_NS_PER_S);
}

json_t *replica_verb_gaps(struct br_replica *replica, struct br_err *reterr)
{
    struct br_gap gaps[BR_GAPS_MAX];
    unsigned count;

    if (br_replica_gaps(replica, gaps, &count, reterr)) {
        return NULL;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++) {
        json_t *gap = json_object();
        json_object_set_new(gap, "offset_bytes", json_integer((json_int_t)gaps[i].offset_bytes));
        json_object_set_new(gap, "len_bytes", json_integer((json_int_t)gaps[i].len_bytes));
        json_array_append_new(list, gap);
    }
    return list;
}
