// SPDX-License-Identifier: Apache-2.0
//
// blkrep send and blkrep receive: a sync in two halves, with a stream on stdout and stdin between them.
#include <stdio.h>
#include <unistd.h>

#include "engine/sync/sync.h"
#include "engine/sync/transfer.h"
#include "tools/audit.h"
#include "tools/ends.h"
#include "tools/known.h"
#include "tools/progress.h"
#include "tools/stream_io.h"
#include "tools/repository.h"
#include "tools/stream_repository.h"

static const struct cli_option send_options[] = {
    {"since", CLI_TEXT, "VERSION",
     "Send only what changed since that version: `last`, or the first digits (at least 8) of the root or generation id of the version sent "
     "last; of a repository's point, another point of that volume. Without it the stream is full."},
    {"live-source", CLI_FLAG, NULL,
     "Read a source that can change meanwhile. The version is marked `consistency: none` for ever: it may be a mix of moments."},
    {"continue-on-read-error", CLI_FLAG, NULL, "Mark blocks that can't be read and go on; the exit status is then 8."},
    {"recheck", CLI_SIZE, "SIZE",
     "Of an attached volume: how much of what its tracker calls unchanged to read and prove anew; default as for blkrep sync."},
    {"compress", CLI_CHOICE, "on|off", "zstd where it helps; default on."},
    {"volume", CLI_TEXT, "VOLUME",
     "Of a repository: which volume's points latest and times mean, where it has several: its source's path or the last part of it, or the first digits of its uuid."},
    {"passphrase-file", CLI_PATH, "FILE",
     "Of a repository: the passphrase is the first line of FILE. Else it is $BLKREP_PASSPHRASE, or asked for."},
    {"key-file", CLI_PATH, "FILE", "Open the repository with this key file instead of a passphrase."},
    REPOSITORY_ROLLBACK,
    {"bwlimit", CLI_SIZE, "SIZE", "Read out at most SIZE bytes of changed data per second."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"progress", CLI_NUMBER, "FD",
     "Write progress as newline-delimited JSON to this open descriptor; with --json the exit object too."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_option receive_options[] = {
    {"overwrite", CLI_FLAG, NULL, "Accept the loss of what the target holds when it is not this volume's replica."},
    {"yes", CLI_FLAG, NULL, "Don't ask before a loss that --overwrite names; for scripts."},
    {"recheck", CLI_SIZE, "SIZE", "How much of the replica to prove anew in this run; default as for blkrep sync."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"compress", CLI_CHOICE, "auto|on|off", "zstd on the way to a remote replica."},
    {"bwlimit", CLI_SIZE, "SIZE", "To a remote replica: at most SIZE bytes per second."},
    {"force-full", CLI_FLAG, NULL, "Take a replica whose record is damaged for none."},
    {"tag", CLI_TEXT, "TAG[,TAG]", "Of a repository: words for the point, as for blkrep backup."},
    {"passphrase-file", CLI_PATH, "FILE",
     "Of a repository: the passphrase is the first line of FILE. Else it is $BLKREP_PASSPHRASE, or asked for."},
    {"key-file", CLI_PATH, "FILE", "Open the repository with this key file instead of a passphrase."},
    REPOSITORY_ROLLBACK,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example send_examples[] = {
    {"blkrep send disk.img > full.blkrep", "A full stream into a file."},
    {"blkrep send disk.img --since=last > delta.blkrep", "What changed since the stream before."},
    {"blkrep send /backup/repo@latest --volume disk.img > point.blkrep",
     "A recovery point; who receives it has the volume of then."},
    {NULL, NULL},
};

static const struct cli_example receive_examples[] = {
    {"blkrep receive /backup/disk.img < full.blkrep", "Make or update a replica from a stream."},
    {"blkrep send disk.img | blkrep receive /backup/repo", "A recovery point in a repository from a stream."},
    {NULL, NULL},
};

struct send_run {
    struct cli *cli;
    struct br_ring *ring;
    struct source_end source;
    struct progress progress;
    uint64_t begun_ns;
    struct br_send_result result;
};

static void send_on_progress(void *ctx, const struct br_pipe_progress *at)
{
    struct send_run *run = ctx;
    struct progress_sample sample = {
        .phase = "send",
        .position_bytes = at->position_bytes,
        .size_bytes = at->size_bytes,
        .shipped_bytes = at->bytes_shipped,
        .elapsed_ns = br_ring_now_ns(run->ring) - run->begun_ns,
    };

    progress_show(&run->progress, &sample);
}

static void send_report(const struct send_run *run)
{
    struct cli *cli = run->cli;
    const struct br_send_result *r = &run->result;
    const struct br_tracker *tracker = source_end_tracker(&run->source);
    char text[2 * BR_HASH_BYTES + 1];

    cli_report_text(cli, "tracker", tracker ? tracker->name : "scan");
    cli_report_text(cli, "fallback_reason", r->tracked.reason);
    cli_report_number(cli, "bytes_tracked", r->tracked.bytes_named);
    cli_report_number(cli, "bytes_rechecked_source", r->tracked.bytes_rechecked);
    cli_report_bool(cli, "tracker_caught", r->tracked.caught);
    cli_report_seconds(cli, "seconds_window", source_end_window_ns(&run->source));
    cli_report_bool(cli, "full", r->full);
    cli_report_number(cli, "size_bytes", r->size_bytes);
    cli_report_number(cli, "stream_bytes", r->stream_bytes);
    cli_report_number(cli, "bytes_read", r->bytes_read);
    cli_report_number(cli, "bytes_changed", r->bytes_changed);
    cli_report_number(cli, "bytes_zeroed", r->zero_bytes);
    cli_report_number(cli, "unreadable_blocks", r->unreadable_blocks);
    cli_report_number(cli, "generation", r->generation.counter);
    br_uuid_text(&r->generation.id, text);
    cli_report_text(cli, "generation_id", text);
    br_hash_text(&r->root, text);
    cli_report_text(cli, "root", text);
    cli_report_seconds(cli, "seconds", r->duration_ns);
}

static int send_engine(struct send_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    const struct place *place = &run->source.place;
    const char *compress = cli_text(cli, "compress");
    uint64_t period_ns;
    int error = source_end_recheck_period(&run->source, &period_ns, reterr);

    if (error) {
        return error;
    }
    struct br_send_params params = {
        .ring = run->ring,
        .source = place->file,
        .size_bytes = place->object.size_bytes,
        .sector_bytes = place->object.sector_bytes,
        .consistency = source_end_consistency(&run->source),
        .tracker = source_end_tracker(&run->source),
        .recheck_bytes = cli_size(cli, "recheck", BR_RECHECK_DEFAULT),
        .recheck_period_ns = period_ns,
        .label = place->path,
        .dir = place->dir,
        .since = cli_text(cli, "since"),
        .level = compress && !strcmp(compress, "off") ? 0 : 1,
        .bytes_per_second = cli_size(cli, "bwlimit", 0),
        .continue_on_read_error = cli_flag(cli, "continue-on-read-error"),
        .cancel = &cli_cancel,
        .source_check = source_end_check,
        .source_check_ctx = &run->source,
        .write = stream_write,
        .progress = send_on_progress,
        .progress_ctx = run,
    };

    run->begun_ns = br_ring_now_ns(run->ring);
    const struct br_send_result *r = &run->result;
    error = br_send_run(&params, &run->result, reterr);
    progress_end(&run->progress);
    send_report(run);
    if (error) {
        return source_end_blame(&run->source, error, reterr);
    }
    char size[32];
    cli_bytes(cli, r->stream_bytes, size, sizeof(size));
    cli_say(cli, "%s: sent generation %llu, %s, %s%s%s", place->path, (unsigned long long)r->generation.counter,
            r->full ? "full" : "delta", size, r->tracked.reason ? "; everything was compared: " : "",
            r->tracked.reason ? r->tracked.reason : "");
    return r->unreadable_blocks ? br_err_set(reterr, BR_E_GAPS, "%s: %llu blocks of 64 KiB could not be read",
                                             place->path, (unsigned long long)r->unreadable_blocks)
                                : 0;
}

// Options that only one of the two kinds of source has.
static int send_check(struct cli *cli, bool repository, struct br_err *reterr)
{
    static const char *const of_sources[] = {"recheck", "bwlimit", NULL};
    static const char *const of_repositories[] = {"volume", "passphrase-file", "key-file", NULL};

    if (repository && (cli_flag(cli, "live-source") || cli_flag(cli, "continue-on-read-error"))) {
        return br_err_set(reterr, BR_E_USAGE, "of a repository's point nothing changes, and all of it is there");
    }
    for (const char *const *option = repository ? of_sources : of_repositories; *option; option++) {
        if (cli_text(cli, *option)) {
            return br_err_set(reterr, BR_E_USAGE, "%s is %s repository's point: --%s is out of place", cli->args[0],
                              repository ? "a" : "no", *option);
        }
    }
    return 0;
}

static int send_run(struct cli *cli, struct br_err *reterr)
{
    bool repository = stream_names_repository(cli, cli->args[0]);
    struct send_run run = {.cli = cli, .source = {.place = {.look_fd = -1}}};

    if (isatty(STDOUT_FILENO)) {
        return br_err_set(reterr, BR_E_USAGE, "stdout is a terminal; send the stream to a file or a pipe");
    }
    int error = send_check(cli, repository, reterr);
    if (!error && repository) {
        return stream_send_point(cli, reterr);
    }
    error = error ? error : progress_begin(&run.progress, cli, reterr);
    error = error ? error : stream_events(cli, reterr);
    if (!error) {
        error = place_ring(cli, &run.ring, reterr);
    }
    if (!error) {
        error = source_end_open(cli, run.ring, cli->args[0], false, &run.source, reterr);
    }
    if (!error) {
        error = source_end_guard(&run.source, reterr);
    }
    if (!error) {
        error = send_engine(&run, reterr);
    }
    source_end_close(&run.source, error != 0);
    br_ring_close(run.ring);
    return error;
}

struct receive_run {
    struct cli *cli;
    struct br_ring *ring;
    struct target_end target;
    struct progress progress;
    uint64_t begun_ns;
};

static void receive_on_progress(void *ctx, uint64_t stream_bytes, uint64_t bytes_durable)
{
    struct receive_run *run = ctx;
    struct progress_sample sample = {
        .phase = "receive",
        .position_bytes = stream_bytes,
        .durable_bytes = bytes_durable,
        .elapsed_ns = br_ring_now_ns(run->ring) - run->begun_ns,
    };

    progress_show(&run->progress, &sample);
}

static void receive_remember(struct receive_run *run, const struct br_receive_result *r, int result)
{
    struct br_err err = {0};
    json_t *details = json_object();
    char root[2 * BR_HASH_BYTES + 1];

    br_hash_text(&r->root, root);
    json_object_set_new(details, "source", cli_json_text(r->header.label));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    json_object_set_new(details, "generation", json_integer((json_int_t)r->header.generation.counter));
    json_object_set_new(details, "root", json_string(root));
    json_object_set_new(details, "overwrite", json_boolean(cli_flag(run->cli, "overwrite")));
    if (audit_append(run->cli, result ? "receive-failed" : "receive", run->target.name, details, &err)) {
        cli_warn(run->cli, "the audit line could not be written: %s", err.text);
    }
}

static int receive_engine(struct receive_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    struct br_receive_result result = {0};
    struct br_receive_params params = {
        .ring = run->ring,
        .endpoint = run->target.endpoint,
        .overwrite = cli_flag(cli, "overwrite"),
        .recheck_bytes = cli_size(cli, "recheck", BR_RECHECK_DEFAULT),
        .cancel = &cli_cancel,
        .read = stream_read,
        .progress = receive_on_progress,
        .progress_ctx = run,
    };

    run->begun_ns = br_ring_now_ns(run->ring);
    int error = br_receive_run(&params, &result, reterr);
    progress_end(&run->progress);
    stream_receive_report(cli, run->target.name, &result);
    receive_remember(run, &result, error);
    if (!error) {
        cli_print(cli, "%s: %s generation %llu", run->target.name, result.new_version ? "received" : "already at",
                  (unsigned long long)result.header.generation.counter);
    }
    return error;
}

static int receive_run(struct cli *cli, struct br_err *reterr)
{
    struct receive_run run = {.cli = cli, .target = {.place = {.look_fd = -1}}};

    if (isatty(STDIN_FILENO)) {
        return br_err_set(reterr, BR_E_USAGE, "stdin is a terminal; give the stream from a file or a pipe");
    }
    if (stream_names_repository(cli, cli->args[0])) {
        return stream_receive_point(cli, reterr);
    }
    int error = progress_begin(&run.progress, cli, reterr);
    if (!error && (cli_text(cli, "tag") || cli_text(cli, "key-file") || cli_text(cli, "passphrase-file"))) {
        error =
            br_err_set(reterr, BR_E_USAGE,
                       "%s is no repository: --tag, --key-file and --passphrase-file are out of place", cli->args[0]);
    }
    if (!error) {
        error = audit_ready(cli, reterr);
    }
    if (!error) {
        error = place_ring(cli, &run.ring, reterr);
    }
    if (!error) {
        error = target_end_open(cli, run.ring, cli->args[0], false, &run.target, reterr);
    }
    if (!error) {
        error = target_end_confirm(cli, &run.target, reterr);
    }
    if (!error) {
        error = receive_engine(&run, reterr);
    }
    target_end_close(&run.target, error != 0);
    br_ring_close(run.ring);
    return error;
}

static const struct cli_field send_fields[] = {
    {"tracker", "text",
     "What told which blocks to compare; scan reads all of the source; repository: a point was sent."},
    {"fallback_reason", "text|null",
     "Why the tracker of an attached volume did not narrow what was read; null when it did, and with scan."},
    {"bytes_tracked", "number", "What the tracker said may have changed, in whole blocks of 64 KiB; 0 with scan."},
    {"bytes_rechecked_source", "number", "Of what the tracker called unchanged, read and proven all the same."},
    {"tracker_caught", "boolean", "One of these had changed: the tracker is distrusted, and everything was compared."},
    {"seconds_window", "number", "How long writes to an attached volume waited for the snapshot; 0 of others."},
    {"full", "boolean", "The stream stands alone; else it is the difference from --since."},
    {"size_bytes", "number", "Of the volume."},
    {"stream_bytes", "number", "Of the stream."},
    {"bytes_read", "number", "Read from the source; holes are not."},
    {"bytes_changed", "number", "In the pages of the stream."},
    {"bytes_zeroed", "number", "In what became zeros."},
    {"unreadable_blocks", "number", "Blocks that could not be read."},
    {"generation", "number", "Counts the versions that were sent."},
    {"generation_id", "text", "The id of this one; --since takes it."},
    {"root", "text", "The hash that names the content."},
    {"seconds", "number", "It took."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_send = {
    .name = "send",
    .args = "SOURCE|REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Write a stream of SOURCE or of a recovery point, or of what changed in it, to stdout.",
    .description =
        "The stream carries the source's version, or what turns the version sent last into it, with a checksum on every frame and "
        "an end without which nobody takes it for a version. It can go to a file, a pipe or another host; `blkrep receive` makes a "
        "replica from it and `blkrep dump` shows it as text. Nothing comes back from the receiver: a receiver that missed a stream "
        "refuses the next one, and a full one puts it right.\n\n"
        "A source that can change while it is read is refused, as by `blkrep sync`.\n\n"
        "A recovery point, REPO@POINT, is sent as a version of its volume; --since is then another point of that volume, and whoever is to take the "
        "difference must hold that one. The root of what was received is the point's: `blkrep diff REPO@POINT REPLICA` compares the two.",
    .options = send_options,
    .examples = send_examples,
    .see_also = "blkrep-receive(1), blkrep-dump(1), blkrep-stream(5)",
    .schema = "blkrep.send/1",
    .fields = send_fields,
    .run = send_run,
};

static const struct cli_field receive_fields[] = {
    {"replica", "text", "Its path or address; of a repository its path."},
    {"point", "text", "Of a repository: the id of the point."},
    {"new_version", "boolean", "False when the replica was at the stream's version already."},
    {"full", "boolean", "The stream stood alone."},
    {"size_bytes", "number", "Of the volume."},
    {"stream_bytes", "number", "Of the stream."},
    {"bytes_durable", "number", "Made durable beside the replica before the commit, or in a first copy in it."},
    {"bytes_written", "number", "Written to the replica itself."},
    {"bytes_rechecked", "number", "Of the replica, proven anew."},
    {"unreadable_blocks", "number", "Blocks that the source could not read."},
    {"consistency", "text", "none, crash or clean, see blkrep-sync(1)."},
    {"generation", "number", "Counts the versions of the replica."},
    {"root", "text", "The hash that names the content."},
    {"seconds", "number", "It took."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_receive = {
    .name = "receive",
    .args = "REPLICA|REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Bring REPLICA to the version that the stream on stdin carries, or add it to a repository.",
    .description =
        "A full stream makes a new replica, completes an unfinished one or replaces an older version; a delta needs the replica to be "
        "at the very version that it starts from. Every frame is checked before anything of it is written, and the replica is the "
        "old version or the new one, whatever crashes.\n\n"
        "Into a repository the version comes as a recovery point of its volume, whose id is the version's; a delta needs the point that it starts from "
        "to be there. A stream whose version is there already changes nothing.",
    .options = receive_options,
    .examples = receive_examples,
    .see_also = "blkrep-send(1), blkrep-finish(1), blkrep-stream(5)",
    .schema = "blkrep.receive/1",
    .fields = receive_fields,
    .run = receive_run,
};
