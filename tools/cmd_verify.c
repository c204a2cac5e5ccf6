// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/remote.h"
#include "tools/replica_verb.h"
#include "tools/verify_repository.h"

static const struct cli_option verify_options[] = {
    {"data", CLI_FLAG, NULL,
     "Of a repository: also read all that is stored, and prove that it is what was written. Without it is looked whether everything is there."},
    {"share", CLI_SIZE, "SIZE",
     "Of a repository: read only so much of what is stored, from where the last such run stopped, so that some runs prove all of it. It goes by whole packs, the last of which may go beyond SIZE. Not with --data, which reads all."},
    {"repair", CLI_TEXT, "FROM",
     "Of a repository: read all of it, and store anew what is missing or damaged. FROM is REPO2, another repository that has copies of its points "
     "(blkrep-copy(1)): what is read there is proven before it is stored, and a point whose own record is damaged is made anew from its copy. Or it is SOURCE, a "
     "file, a device, an attached volume or a snapshot of one, VOLUME@SNAPSHOT: see above. What names a repository, in the configuration, as a "
     "folder that holds one or by an address, is REPO2; everything else is SOURCE."},
    {"to-passphrase-file", CLI_PATH, "FILE",
     "The passphrase of REPO2. Else $BLKREP_TO_PASSPHRASE, or the same as of REPO."},
    {"to-key-file", CLI_PATH, "FILE", "The key file of REPO2."},
    {"volume", CLI_TEXT, "VOLUME",
     "Of a repository: only the points of this volume, its source's path or the last part of it, or the first digits of its uuid."},
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example verify_examples[] = {
    {"blkrep verify /backup/disk.img", "Prove that every block of the replica is what its version tree says."},
    {"blkrep verify /backup/repo", "Is everything there that the points of the repository need?"},
    {"blkrep verify /backup/repo --data", "Read it whole, too."},
    {"blkrep verify /backup/repo --share 50G", "Every night another part of it."},
    {"blkrep verify /backup/repo --repair disk.img", "Mend it with what the disk that it is of still holds."},
    {"blkrep verify /backup/repo@latest --volume disk.img", "Read the newest point of that volume, every block."},
    {"blkrep verify blkrep://backup.example.org/data",
     "The same of a replica there, which only a reader's role is needed for."},
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

static int verify_state_error(const char *name, const struct br_identity *identity, struct br_err *reterr)
{
    switch (identity->state) {
    case BR_STATE_COMPLETE: return 0;
    case BR_STATE_NONE:
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that %s knows", name,
                          name[0] == '/' ? "this host" : "its server");
    case BR_STATE_INCOMPLETE: return br_err_set(reterr, BR_E_INCOMPLETE, "%s", name);
    default: return br_err_set(reterr, BR_E_TRANSITION, "%s", name);
    }
}

static void verify_begin(struct verify_show *show, struct br_ring *ring)
{
    show->ring = ring;
    show->begun_ns = br_ring_now_ns(ring);
}

// Of @result, after every block was read or a difference was found.
static void verify_end(struct cli *cli, struct verify_show *show, const char *name, const struct br_identity *identity,
                       uint64_t bad_blocks, int result)
{
    uint64_t ns = br_ring_now_ns(show->ring) - show->begun_ns;
    struct br_err err = {0};
    char size[32];
    char took[32];

    progress_end(&show->progress);
    cli_report_text(cli, "replica", name);
    cli_report_number(cli, "bad_blocks", bad_blocks);
    cli_report_json(cli, "gaps", json_null());
    cli_report_seconds(cli, "seconds", ns);
    replica_verb_report(cli, identity);
    if (!result || result == -BR_E_GAPS) {
        cli_bytes(cli, identity->tree.geometry.size_bytes, size, sizeof(size));
        br_duration_text(ns, took, sizeof(took));
        cli_print(cli, "%s: all %s are generation %llu, proven in %s%s", name, size,
                  (unsigned long long)identity->generation.counter, took, result ? ", but for the gaps named" : "");
    } else if (result == -BR_E_VERIFY) {
        json_t *details = json_object();
        json_object_set_new(details, "bad_blocks", json_integer((json_int_t)bad_blocks));
        if (audit_append(cli, "verify-failed", name, details, &err)) {
            cli_warn(cli, "the audit line could not be written: %s", err.text);
        }
    }
}

static int verify_local(struct cli *cli, struct verify_show *show, struct br_err *reterr)
{
    struct replica_verb verb;
    uint64_t bad_blocks = 0;
    int error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);

    if (!error) {
        error = verify_state_error(verb.place.path, br_replica_identity(verb.replica), reterr);
    }
    if (!error) {
        verify_begin(show, verb.ring);
        error = br_replica_verify(verb.replica, verify_on_progress, show, &bad_blocks, reterr);
        verify_end(cli, show, verb.place.path, br_replica_identity(verb.replica), bad_blocks, error);
        if (error == -BR_E_GAPS) {
            struct br_err none;
            cli_report_json(cli, "gaps", replica_verb_gaps(verb.replica, &none));
        }
    }
    replica_verb_close(&verb);
    return error;
}

// The server reads; nothing of the replica comes over the wire.
static int verify_remote(struct cli *cli, struct verify_show *show, const struct place_address *address,
                         struct br_err *reterr)
{
    struct remote_options options = {.role = BR_ROLE_READER};
    struct br_endpoint endpoint = {0};
    struct br_endpoint_info info;
    struct br_ring *ring = NULL;
    uint64_t bad_blocks = 0;
    int error = place_ring(cli, &ring, reterr);

    error = error ? error : remote_open_endpoint(cli, ring, address, &options, &endpoint, reterr);
    error = error ? error : endpoint.ops->info(endpoint.ctx, &info, reterr);
    error = error ? error : verify_state_error(address->text, &info.identity, reterr);
    if (!error) {
        verify_begin(show, ring);
        error = endpoint.ops->verify(endpoint.ctx, verify_on_progress, show, &bad_blocks, reterr);
        verify_end(cli, show, address->text, &info.identity, bad_blocks, error);
    }
    if (endpoint.ops) {
        endpoint.ops->close(endpoint.ctx);
    }
    br_ring_close(ring);
    return error;
}

static int verify_run(struct cli *cli, struct br_err *reterr)
{
    struct verify_show show = {0};
    struct place_address address;
    char repo[PATH_MAX], point[256];
    struct br_err none;

    if (!repository_word(cli->args[0], repo, point, &none) && repository_is(cli, repo)) {
        return verify_repository(cli, repo, point, reterr);
    }
    int error = progress_begin(&show.progress, cli, reterr);

    if (!error &&
        (cli_flag(cli, "data") || cli_text(cli, "volume") || cli_text(cli, "share") || cli_text(cli, "repair"))) {
        error =
            br_err_set(reterr, BR_E_USAGE,
                       "%s is no repository: --data, --volume, --share and --repair are out of place", cli->args[0]);
    }
    error = error ? error : place_resolve(cli, cli->args[0], "replica", &address, reterr);
    if (error) {
        return error;
    }
    return address.remote ? verify_remote(cli, &show, &address, reterr) : verify_local(cli, &show, reterr);
}

static const struct cli_field verify_fields[] = {
    {"replica", "text", "Its path or address; of a repository its path."},
    {"bad_blocks", "number", "Blocks that are not what they should be, or are missing."},
    {"gaps", "list|null",
     "Ranges that the source could not read, the first 64, as objects of offset_bytes and len_bytes; null when there are none, and of a "
     "replica behind a server, whose error text names them."},
    {"seconds", "number", "It took."},
    {"complete", "boolean",
     "Of a repository: everything is there that its points need, in packs that are not known to be damaged."},
    {"intact", "boolean|null",
     "Of a repository: all that was read is what was written; null when nothing was (without --data and --share)."},
    {"points", "number", "Of a repository: that were looked at."},
    {"points_incomplete", "number", "Of them, that lack something, or don't open."},
    {"points_damaged", "number", "Of the others, that need something of a pack that is damaged; each is named."},
    {"chunks", "number", "Of a repository: that were looked for."},
    {"chunks_missing", "number", "Of them, that are in no pack."},
    {"packs", "number", "Of a repository: in it."},
    {"packs_damaged", "number", "Of them, of which something can't be read."},
    {"packs_proven", "number",
     "Of a repository: that another host wrote, or one that lost its index, and that count from now on."},
    {"objects", "number",
     "Of a repository: keys, epochs, leases, holds, lists, with --data also notes of runs, that were looked at."},
    {"objects_damaged", "number", "Of them, that are not what was written, or gone; each is also a warning."},
    {"bytes_read", "number", "Of a repository: from its packs."},
    {"bytes_stored", "number", "Of a repository: in all its packs, read or not."},
    {"share", "boolean", "Of a repository: only a share of that was read."},
    {"bytes_repaired", "number", "Of a repository: stored anew, with --repair."},
    {"source", "text|null",
     "Where --repair took that from: the path of SOURCE, or of REPO2; null when nothing had to be repaired."},
    {"points_renewed", "number", "Of points whose own record was damaged, made anew from REPO2."},
    {"blocks_from_source", "number", "With --repair SOURCE: blocks that it still held."},
    {"blocks_kept", "number", "Blocks that could be read in packs which are damaged elsewhere."},
    {"blocks_source_differs", "number",
     "Blocks that were looked for in SOURCE, which holds something else there, or ends before; each counts as often as points have it."},
    {"blocks_source_unreadable", "number", "Blocks that were looked for in SOURCE, and can't be read there."},
    {"bytes_read_source", "number", "Read from SOURCE."},
    {"rolled_back", "number",
     "Of a repository: volumes that are older than this host has seen them there; each is also a warning, and the exit status is 4."},
    REPLICA_VERB_FIELDS,
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_verify = {
    .name = "verify",
    .args = "REPLICA|REPO[@POINT]",
    .args_min = 1,
    .args_max = 1,
    .summary = "Prove every block of a replica or a recovery point, or that a repository is whole.",
    .description =
        "Every block of the replica is read and compared with the version tree that the replica's state keeps. Exit status 0 "
        "means that all are what the last sync made durable; the date of this proof is what `blkrep status` shows as the last "
        "full proof. Exit status 4 names the first block that differs and how many there are, exit status 8 the gaps of a version whose source "
        "could not be read everywhere, when all else is proven.\n\n"
        "A replica behind blkrep serve is read by its server, as long as both keep the connection; the date of that proof is not kept.\n\n"
        "`blkrep sync --verify` also reads the source again.\n\n"
        "Of a repository it is looked whether all is there that its points need (complete); with --data all of it is read too, and whether it is what "
        "was written is told apart (intact); each point that needs anything of a pack that turned out to be damaged is named. Of one point, REPO@POINT, every block is read and compared with what the point says, as a restore "
        "does. Keys, epochs, leases, holds and lists are looked at too, with --data also the notes of history: a recovery key that does not open any "
        "more is told of by whichever key opens the repository. Exit status 4 when anything is missing or damaged, each point, pack and object named. After --repair it is 0 when every point is whole again; damaged "
        "packs, which no point needs any more, go with the next blkrep prune. What could not be repaired is named, by point and range.\n\n"
        "With --repair SOURCE the blocks that are missing are read in SOURCE, where the points have them, and nothing else: the disk that was backed up, as it "
        "is now, also while it is in use, a replica of it, or an image that was restored before. Nothing is written there. A block counts when its hash "
        "is the one that the point names, so a SOURCE that has changed, or is the wrong one, is no help and does no harm. A part of a "
        "point's tree that is missing is made anew where SOURCE still holds all that lies below it, 16 MiB for the smallest part. Points of other volumes "
        "are looked for there, too; --volume names those that are meant.\n\n"
        "A point's own record comes back from REPO2 alone. It has the id, number, times and root of the copy; it is a new object, so that "
        "other hosts which saw the old one as the newest of its volume ask for --accept-rollback once, as this one does before "
        "the repair, and blkrep prune goes by the day of the repair, unless --by-taken. In a repository behind blkrep serve a writer may repair data; to "
        "replace a record takes an operator. A repair that was cut leaves what it had stored, and the next one goes on; when the "
        "state of this host was lost meanwhile, too, blkrep copy brings back a point that is gone.",
    .options = verify_options,
    .examples = verify_examples,
    .see_also = "blkrep-sync(1), blkrep-status(1)",
    .schema = "blkrep.verify/1",
    .fields = verify_fields,
    .run = verify_run,
};
