// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/replica_verb.h"

static const struct cli_option verify_options[] = {
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example verify_examples[] = {
    {"blkrep verify /backup/disk.img", "Prove that every block of the replica is what its version tree says."},
    {NULL, NULL},
};

struct verify_show {
    struct progress progress;
    struct br_ring *ring;
    uint64_t begun_ns;
};

static int verify_on_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct verify_show *show = ctx;
    struct progress_sample sample = {
        .phase = "verify",
        .position_bytes = done_bytes,
        .size_bytes = total_bytes,
        .durable_bytes = 0,
        .elapsed_ns = br_ring_now_ns(show->ring) - show->begun_ns,
    };

    progress_show(&show->progress, &sample);
    return cli_cancel ? -BR_E_CANCELLED : 0;
}

static int verify_state_error(const struct replica_verb *verb, struct br_err *reterr)
{
    switch (br_replica_identity(verb->replica)->state) {
    case BR_STATE_COMPLETE: return 0;
    case BR_STATE_NONE:
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that this host knows", verb->place.path);
    case BR_STATE_INCOMPLETE: return br_err_set(reterr, BR_E_INCOMPLETE, "%s", verb->place.path);
    default: return br_err_set(reterr, BR_E_TRANSITION, "%s", verb->place.path);
    }
}

static void verify_say(struct cli *cli, const struct replica_verb *verb, uint64_t ns)
{
    const struct br_identity *identity = br_replica_identity(verb->replica);
    char size[32];
    char took[32];

    cli_bytes(cli, identity->tree.geometry.size_bytes, size, sizeof(size));
    br_duration_text(ns, took, sizeof(took));
    cli_print(cli, "%s: all %s are generation %llu, proven in %s", verb->place.path, size,
              (unsigned long long)identity->generation.counter, took);
}

static int verify_run(struct cli *cli, struct br_err *reterr)
{
    struct verify_show show = {0};
    struct replica_verb verb;
    uint64_t bad_blocks = 0;
    int error = progress_begin(&show.progress, cli, reterr);

    if (error) {
        return error;
    }
    error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
    if (!error) {
        error = verify_state_error(&verb, reterr);
    }
    if (!error) {
        show.ring = verb.ring;
        show.begun_ns = br_ring_now_ns(verb.ring);
        error = br_replica_verify(verb.replica, verify_on_progress, &show, &bad_blocks, reterr);
        progress_end(&show.progress);
        cli_report_text(cli, "replica", verb.place.path);
        cli_report_number(cli, "bad_blocks", bad_blocks);
        cli_report_seconds(cli, "seconds", br_ring_now_ns(verb.ring) - show.begun_ns);
        replica_verb_report(cli, br_replica_identity(verb.replica));
    }
    if (!error) {
        verify_say(cli, &verb, br_ring_now_ns(verb.ring) - show.begun_ns);
    } else if (error == -BR_E_VERIFY) {
        struct br_err audit_err = {0};
        json_t *details = json_object();
        json_object_set_new(details, "bad_blocks", json_integer((json_int_t)bad_blocks));
        if (audit_append(cli, "verify-failed", verb.place.path, details, &audit_err)) {
            cli_warn(cli, "the audit line could not be written: %s", audit_err.text);
        }
    }
    replica_verb_close(&verb);
    return error;
}

static const struct cli_field verify_fields[] = {
    {"replica", "text", "Its path."},
    {"bad_blocks", "number", "Blocks that are not what they should be."},
    {"seconds", "number", "It took."},
    REPLICA_VERB_FIELDS,
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_verify = {
    .name = "verify",
    .args = "REPLICA",
    .args_min = 1,
    .args_max = 1,
    .summary = "Read a whole replica and prove every block.",
    .description =
        "Every block of the replica is read and compared with the version tree that the replica's state keeps. Exit status 0 "
        "means that all are what the last sync made durable; the date of this proof is what `blkrep status` shows as the last "
        "full proof. Exit status 4 names the first block that differs and how many there are.\n\n"
        "`blkrep sync --verify` also reads the source again.",
    .options = verify_options,
    .examples = verify_examples,
    .see_also = "blkrep-sync(1), blkrep-status(1)",
    .schema = "blkrep.verify/1",
    .fields = verify_fields,
    .run = verify_run,
};
