// SPDX-License-Identifier: Apache-2.0
#include "tools/audit.h"
#include "tools/replica_verb.h"

static const struct cli_option finish_options[] = {
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example finish_examples[] = {
    {"blkrep finish /backup/disk.img", "After a crash in the middle of an apply; the source may be gone."},
    {NULL, NULL},
};

static int finish_say(struct cli *cli, const struct replica_verb *verb, int finished, struct br_err *reterr)
{
    const struct br_identity *identity = br_replica_identity(verb->replica);

    replica_verb_report(cli, identity);
    cli_report_text(cli, "replica", verb->place.path);
    cli_report_bool(cli, "finished", finished > 0);
    switch (identity->state) {
    case BR_STATE_COMPLETE:
        cli_print(cli, "%s: %s generation %llu", verb->place.path, finished ? "finished, now at" : "nothing to do, at",
                  (unsigned long long)identity->generation.counter);
        return 0;
    case BR_STATE_INCOMPLETE:
        return br_err_set(reterr, BR_E_INCOMPLETE, "%s: only the source has the rest", verb->place.path);
    case BR_STATE_NONE:
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that this host knows", verb->place.path);
    default: return br_err_set(reterr, BR_E_TRANSITION, "%s", verb->place.path);
    }
}

static int finish_run(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    int finished = 0;
    int error = audit_ready(cli, reterr);

    if (error) {
        return error;
    }
    error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
    if (!error) {
        finished = br_replica_finish(verb.replica, reterr);
        error = finished < 0 ? finished : finish_say(cli, &verb, finished, reterr);
    }
    if (!error && finished) {
        json_t *details = json_object();
        json_object_set_new(details, "generation",
                            json_integer((json_int_t)br_replica_identity(verb.replica)->generation.counter));
        error = audit_append(cli, "finish", verb.place.path, details, reterr);
    }
    replica_verb_close(&verb);
    return error;
}

static const struct cli_field finish_fields[] = {
    {"replica", "text", "Its path."},
    {"finished", "boolean", "There was something to do, and it is done."},
    REPLICA_VERB_FIELDS,
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_finish = {
    .name = "finish",
    .args = "REPLICA",
    .args_min = 1,
    .args_max = 1,
    .summary = "Complete a replica that a crash left between two versions.",
    .description =
        "A delta is staged whole beside the replica, then committed, then written over the old version. When that last step is cut, the "
        "replica says so and every verb refuses to use it. finish writes the staged delta again, without the source, in time bounded by the "
        "delta; it may itself be cut and repeated. sync and serve do the same by themselves before they go on.\n\n"
        "A first copy that is not complete can't be finished here: run blkrep sync again.",
    .options = finish_options,
    .examples = finish_examples,
    .see_also = "blkrep-sync(1), blkrep-status(1)",
    .schema = "blkrep.finish/1",
    .fields = finish_fields,
    .run = finish_run,
};
