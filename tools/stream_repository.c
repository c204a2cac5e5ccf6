// SPDX-License-Identifier: Apache-2.0
#include "tools/stream_repository.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/codec/stream.h"
#include "engine/repo/lease.h"
#include "engine/repo/send.h"
#include "engine/sync/transfer.h"
#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/repository.h"
#include "tools/run_log.h"
#include "tools/stream_io.h"

#define STREAM_TAGS_BYTES 1200u

struct stream_end {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct progress progress;
    uint64_t begun_ns;
};

bool stream_names_repository(struct cli *cli, const char *word)
{
    char repo[PATH_MAX], point[256];
    struct br_err none;

    return !repository_word(word, repo, point, &none) && repository_is(cli, repo);
}

static void stream_close(struct stream_end *end)
{
    repository_close(&end->repository);
    br_ring_close(end->ring);
}

static uint64_t stream_ns(const struct stream_end *end)
{
    return end->ring ? br_ring_now_ns(end->ring) - end->begun_ns : 0;
}

// Send --------------------------------------------------------------------------------------------------------------------------------

static void send_on_progress(void *ctx, const struct br_point_delta_progress *at)
{
    struct stream_end *end = ctx;
    struct progress_sample sample = {
        .phase = "send",
        .position_bytes = at->position_bytes,
        .size_bytes = at->size_bytes,
        .shipped_bytes = at->bytes_changed,
        .elapsed_ns = stream_ns(end),
    };

    progress_show(&end->progress, &sample);
}

static void send_report(const struct stream_end *end, const struct br_point *point, bool full,
                        const struct br_delta_end *sent, uint64_t stream_bytes)
{
    struct cli *cli = end->cli;
    char text[2 * BR_HASH_BYTES + 1];

    cli_report_text(cli, "tracker", "repository");
    cli_report_text(cli, "fallback_reason", NULL);
    cli_report_number(cli, "bytes_tracked", 0);
    cli_report_number(cli, "bytes_rechecked_source", 0);
    cli_report_bool(cli, "tracker_caught", false);
    cli_report_seconds(cli, "seconds_window", 0);
    cli_report_bool(cli, "full", full);
    cli_report_number(cli, "size_bytes", point->size_bytes);
    cli_report_number(cli, "stream_bytes", stream_bytes);
    cli_report_number(cli, "bytes_read", sent->data_bytes);
    cli_report_number(cli, "bytes_changed", sent->data_bytes + sent->zero_bytes);
    cli_report_number(cli, "bytes_zeroed", sent->zero_bytes);
    cli_report_number(cli, "unreadable_blocks", point->unreadable_blocks);
    cli_report_number(cli, "generation", point->counter);
    br_uuid_text(&point->id, text);
    cli_report_text(cli, "generation_id", text);
    br_hash_text(&point->root, text);
    cli_report_text(cli, "root", text);
    cli_report_seconds(cli, "seconds", stream_ns(end));
}

static int send_since(struct stream_end *end, const struct br_point *point, struct br_point *ret_since,
                      struct br_err *reterr)
{
    int error = repository_point(end->cli, &end->repository, cli_text(end->cli, "since"), ret_since, reterr);

    if (!error && !br_uuid_equal(&ret_since->volume, &point->volume)) {
        error = br_err_set(reterr, BR_E_USAGE, "--since: that point is of another volume");
    }
    return error;
}

static int send_engine(struct stream_end *end, const char *word, struct br_err *reterr)
{
    struct cli *cli = end->cli;
    const char *compress = cli_text(cli, "compress");
    bool full = !cli_text(cli, "since");
    struct br_point point, since;
    struct br_delta_end sent = {0};
    uint64_t stream_bytes = 0;
    char id[BR_UUID_TEXT_BYTES], size[32];
    int error = repository_point(cli, &end->repository, word, &point, reterr);

    error = error || full ? error : send_since(end, &point, &since, reterr);
    if (error) {
        return error;
    }
    const struct br_point_send_params params = {
        .repo = end->repository.repo,
        .point = &point,
        .since = full ? NULL : &since,
        .level = compress && !strcmp(compress, "off") ? 0 : 1,
        .cancel = &cli_cancel,
        .write = stream_write,
        .progress = send_on_progress,
        .progress_ctx = end,
    };
    end->begun_ns = br_ring_now_ns(end->ring);
    error = br_point_send(&params, &sent, &stream_bytes, reterr);
    progress_end(&end->progress);
    send_report(end, &point, full, &sent, stream_bytes);
    if (!error) {
        br_uuid_text(&point.id, id);
        cli_bytes(cli, stream_bytes, size, sizeof(size));
        cli_say(cli, "%s: sent point %.8s, %s, %s", end->repository.path, id, full ? "full" : "delta", size);
    }
    return error || !point.unreadable_blocks
               ? error
               : br_err_set(reterr, BR_E_GAPS, "%" PRIu64 " blocks of the point could not be read when it was made",
                            point.unreadable_blocks);
}

int stream_send_point(struct cli *cli, struct br_err *reterr)
{
    struct stream_end end = {.cli = cli};
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    error = error ? error : progress_begin(&end.progress, cli, reterr);
    error = error ? error : stream_events(cli, reterr);
    error = error ? error : place_ring(cli, &end.ring, reterr);
    error = error ? error : repository_open(cli, end.ring, repo, true, &end.repository, reterr);
    error = error ? error : send_engine(&end, point, reterr);
    stream_close(&end);
    return error;
}

// Receive -----------------------------------------------------------------------------------------------------------------------------

// The stream's beginning was read, to learn of which volume it is, and is given out again.
struct peeked {
    struct br_buf bytes;
    size_t given;
    struct br_delta_header header;
};

static int peek_header(struct peeked *peeked, struct br_err *reterr)
{
    struct br_stream_decoder *decoder = NULL;
    struct br_stream_record record = {0};
    uint8_t bytes[4096];
    int rc = br_stream_decoder_open(&decoder, reterr);

    while (!rc) {
        const uint8_t *at = bytes;
        int got = stream_read(NULL, bytes, sizeof(bytes), reterr);
        size_t len = got > 0 ? (size_t)got : 0;

        if (got <= 0) {
            rc = got < 0 ? got : br_stream_decoder_finish(decoder, reterr);
            rc = rc < 0 ? rc : br_err_set(reterr, BR_E_TRUNCATED, "the stream is empty");
            break;
        }
        br_buf_append(&peeked->bytes, bytes, len);
        rc = br_buf_failed(&peeked->bytes) ? br_err_set(reterr, BR_E_NOMEM, "the stream") : 0;
        rc = rc < 0 ? rc : br_stream_decoder_next(decoder, &at, &len, &record, reterr);
    }
    br_stream_decoder_close(decoder);
    if (rc > 0) {
        peeked->header = record.header; // a stream has no other record before it
    }
    return BR_MIN(rc, 0);
}

static int peeked_read(void *ctx, void *bytes, size_t len, struct br_err *reterr)
{
    struct peeked *peeked = ctx;
    size_t left = BR_MIN(peeked->bytes.len - peeked->given, len);

    if (!left) {
        return stream_read(NULL, bytes, len, reterr);
    }
    memcpy(bytes, peeked->bytes.data + peeked->given, left);
    peeked->given += left;
    return (int)left;
}

static void receive_on_progress(void *ctx, uint64_t stream_bytes, uint64_t bytes_durable)
{
    struct stream_end *end = ctx;
    struct progress_sample sample = {
        .phase = "receive",
        .position_bytes = stream_bytes,
        .durable_bytes = bytes_durable,
        .elapsed_ns = stream_ns(end),
    };

    progress_show(&end->progress, &sample);
}

void stream_receive_report(struct cli *cli, const char *name, const struct br_receive_result *r)
{
    char text[2 * BR_HASH_BYTES + 1];

    cli_report_text(cli, "replica", name);
    cli_report_bool(cli, "new_version", r->new_version);
    cli_report_bool(cli, "full", r->header.full);
    cli_report_number(cli, "size_bytes", r->header.size_bytes);
    cli_report_number(cli, "stream_bytes", r->stream_bytes);
    cli_report_number(cli, "bytes_durable", r->far.bytes_durable);
    cli_report_number(cli, "bytes_written", r->far.bytes_written);
    cli_report_number(cli, "bytes_rechecked", r->far.bytes_rechecked);
    cli_report_number(cli, "unreadable_blocks", r->unreadable_blocks);
    cli_report_text(cli, "consistency", br_consistency_name(r->header.consistency));
    cli_report_number(cli, "generation", r->header.generation.counter);
    br_hash_text(&r->root, text);
    cli_report_text(cli, "root", text);
    cli_report_seconds(cli, "seconds", r->duration_ns);
}

static void receive_report(const struct stream_end *end, const struct br_receive_result *r)
{
    char text[BR_UUID_TEXT_BYTES];

    stream_receive_report(end->cli, end->repository.path, r);
    br_uuid_text(&r->header.generation.id, text);
    cli_report_text(end->cli, "point", text);
}

static void receive_remember(struct stream_end *end, const struct br_receive_result *r, int result)
{
    struct br_err err = {0};
    json_t *details = json_object();
    char text[2 * BR_HASH_BYTES + 1];

    json_object_set_new(details, "source", cli_json_text(r->header.label));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    br_uuid_text(&r->header.generation.id, text);
    json_object_set_new(details, "point", json_string(text));
    br_hash_text(&r->root, text);
    json_object_set_new(details, "root", json_string(text));
    if (audit_append(end->cli, result ? "receive-failed" : "receive", end->repository.path, details, &err)) {
        cli_warn(end->cli, "the audit line could not be written: %s", err.text);
    }
}

// What the stream's version is compared with: the point that it starts from; itself, when it is there already; none.
static int receive_open_far(struct stream_end *end, const struct br_delta_header *header,
                            struct br_backup_params *params, struct br_endpoint *ret_far, struct br_err *reterr)
{
    struct br_repo *repo = end->repository.repo;
    const struct br_generation *generation = &header->generation;
    struct br_point point;
    char id[BR_UUID_TEXT_BYTES];

    params->repo = repo;
    params->given = true;
    params->volume = header->volume;
    params->type = BR_POINT_INCREMENTAL;
    int error = repository_domain(end->cli, end->ring, &end->repository, &params->first_domain, reterr);
    if (error) {
        return error;
    }
    params->parent_as = generation->id;
    int there = br_lease_find_point(repo, &header->volume, &generation->id, &point, reterr);
    if (!there && header->full) {
        params->alone = true;
        return br_backup_open(params, ret_far, reterr);
    }
    if (!there) {
        params->parent_as = generation->parent_id;
        there = br_lease_find_point(repo, &header->volume, &generation->parent_id, &point, reterr);
    }
    if (!there) {
        br_uuid_text(&generation->parent_id, id);
        return br_err_set(reterr, BR_E_WRONG_PARENT, "the stream starts from version %s, which is no point there", id);
    }
    if (there < 0) {
        return there;
    }
    params->parent = point.id;
    return br_backup_open(params, ret_far, reterr);
}

static int receive_tags(struct cli *cli, char text[STREAM_TAGS_BYTES], const char *tags[BR_POINT_TAGS_MAX + 1],
                        struct br_err *reterr)
{
    return repository_tags(cli_text(cli, "tag"), text, STREAM_TAGS_BYTES, tags, reterr);
}

static int receive_engine(struct stream_end *end, struct peeked *peeked, struct br_err *reterr)
{
    struct cli *cli = end->cli;
    struct br_receive_result result = {0};
    struct br_endpoint far = {0};
    char host[256] = "", text[STREAM_TAGS_BYTES], id[BR_UUID_TEXT_BYTES];
    const char *tags[BR_POINT_TAGS_MAX + 1] = {NULL};
    struct br_backup_params backup = {.host = host, .tracker = "stream", .tags = tags, .level = BR_REPO_ZSTD_LEVEL};

    gethostname(host, sizeof(host) - 1);
    int error = receive_tags(cli, text, tags, reterr);
    error = error ? error : receive_open_far(end, &peeked->header, &backup, &far, reterr);
    if (!error) {
        const struct br_receive_params params = {
            .ring = end->ring,
            .endpoint = far,
            .recheck_bytes = cli_size(cli, "recheck", BR_RECHECK_DEFAULT),
            .cancel = &cli_cancel,
            .read = peeked_read,
            .read_ctx = peeked,
            .progress = receive_on_progress,
            .progress_ctx = end,
        };

        end->begun_ns = br_ring_now_ns(end->ring);
        error = br_receive_run(&params, &result, reterr);
        progress_end(&end->progress);
    }
    result.header = peeked->header;
    if (!error) { // which may have got another id than the stream gives it
        result.header.generation.id = br_backup_point(&far) ? br_backup_point(&far)->id : backup.parent;
    }
    receive_report(end, &result);
    receive_remember(end, &result, error);
    if (!error) {
        br_uuid_text(&result.header.generation.id, id);
        cli_print(cli, "%s: %s point %.8s", end->repository.path, result.new_version ? "received" : "already has", id);
    }
    if (far.ops) {
        far.ops->close(far.ctx);
    }
    return error;
}

int stream_receive_point(struct cli *cli, struct br_err *reterr)
{
    struct stream_end end = {.cli = cli};
    struct peeked peeked = {0};
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "a stream makes a point of its own: '@%s' is out of place", point);
    }
    error = error ? error : progress_begin(&end.progress, cli, reterr);
    error = error ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &end.ring, reterr);
    error = error ? error : repository_open(cli, end.ring, repo, false, &end.repository, reterr);
    struct run_log *log = error ? NULL : run_log_begin(cli, end.ring, &end.repository, true);
    error = error ? error : peek_header(&peeked, reterr);
    if (!error) {
        run_log_stage(log, "receive");
    }
    error = error ? error : receive_engine(&end, &peeked, reterr);
    run_log_end(log, error);
    br_buf_free(&peeked.bytes);
    stream_close(&end);
    return error;
}
