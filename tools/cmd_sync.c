// SPDX-License-Identifier: Apache-2.0
//
// blkrep sync: one run (or one every N seconds) that makes a replica equal to a source. What is decided here is what needs names, people
// and /proc: what the arguments mean, whether the source can change, whether the target may be written. The rest is engine/sync.
#include <stdio.h>
#include <time.h>

#include "engine/sync/sync.h"
#include "tools/audit.h"
#include "tools/conf.h"
#include "tools/ends.h"
#include "tools/known.h"
#include "tools/progress.h"

static const struct cli_option sync_options[] = {
    {"dry-run", CLI_FLAG, NULL,
     "Read and compare, print what would be shipped, change nothing here or there. What the run itself would be refused for is refused; at "
     "a server the role reader is enough."},
    {"every", CLI_DURATION, "TIME",
     "Run again and again, one run begun every TIME: continuous asynchronous replication. What may pass (a server that can't be reached, a "
     "busy replica, a full disk) is tried again, after 1 s at first, later once a minute (when TIME is shorter, once in TIME, or in 5 s); "
     "anything else ends it. SIGTERM and SIGINT end it with the status of the last whole run: 0 when the replica was current, 1 when there "
     "was none."},
    {"verify", CLI_FLAG, NULL, "Afterwards read both sides whole and compare them block by block."},
    {"force-full", CLI_FLAG, NULL,
     "Make the whole replica anew, trusting nothing that is there. A file is written beside and renamed; a device is written in place, "
     "which needs --overwrite, because its old version is lost meanwhile."},
    {"overwrite", CLI_FLAG, NULL, "Accept the loss of what the target holds when it is not this volume's replica."},
    {"live-source", CLI_FLAG, NULL,
     "Read a source that can change meanwhile. The version is marked `consistency: none` for ever: it may be a mix of moments."},
    {"continue-on-read-error", CLI_FLAG, NULL, "Mark blocks that can't be read and go on; the exit status is then 8."},
    {"recheck", CLI_SIZE, "SIZE",
     "How much of the replica to prove anew in this run. Default: the larger of 64 MiB and the bytes changed, and enough to prove all of it "
     "within recheck-period (30 days)."},
    {"bwlimit", CLI_SIZE, "SIZE", "Ship at most SIZE bytes per second."},
    {"compress", CLI_CHOICE, "auto|on|off",
     "zstd on the way to a remote replica; auto compresses while that is the faster way."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"progress", CLI_NUMBER, "FD",
     "Write progress as newline-delimited JSON to this open descriptor. A reader that stalls misses lines; the run does not wait for it."},
    {"yes", CLI_FLAG, NULL, "Don't ask before a loss that --overwrite names; for scripts."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example sync_examples[] = {
    {"blkrep sync disk.img /backup/disk.img", "First copy, later incrementals, from the same command."},
    {"blkrep sync /dev/vg0/data blkrep://backup.example.org/data --every 30s",
     "Keep a replica on another host at most about 30 s behind."},
    {"blkrep sync disk.img /backup/disk.img --dry-run --json", "Tell a program what would be shipped."},
    {NULL, NULL},
};

struct sync_run {
    struct cli *cli;
    int before; // what the run before this one failed with (--every); 0: it did not
    struct br_ring *ring;
    struct source_end source;
    struct target_end target;
    struct progress progress;
    struct br_sync_result result;
};

static void sync_on_progress(void *ctx, const struct br_sync_progress *at)
{
    struct sync_run *run = ctx;

    progress_show_sync(&run->progress, at);
}

static int sync_engine(struct sync_run *run, struct br_err *reterr)
{
    const struct cli *cli = run->cli;
    struct br_sync_params params;
    int error = source_end_params(&run->source, run->ring, &params, reterr);

    if (error) {
        return error;
    }
    params.endpoint = run->target.endpoint;
    params.force_full = cli_flag(cli, "force-full");
    params.overwrite = cli_flag(cli, "overwrite");
    params.bytes_per_second = run->target.address.remote ? 0 : cli_size(cli, "bwlimit", 0); // TLS limits its own
    params.progress = sync_on_progress;
    params.progress_ctx = run;
    error = br_sync_run(&params, &run->result, reterr);
    progress_end(&run->progress);
    return source_end_blame(&run->source, error, reterr);
}

static void sync_report(struct sync_run *run)
{
    struct cli *cli = run->cli;
    const struct br_sync_result *r = &run->result;
    char text[BR_UUID_TEXT_BYTES];

    // What could not be opened is named as it was given.
    cli_report_text(cli, "source", run->source.place.path[0] ? run->source.place.path : cli->args[0]);
    cli_report_text(cli, "replica", run->target.name[0] ? run->target.name : cli->args[1]);
    source_end_report(cli, &run->source, r);
    cli_report_bool(cli, "may_write", r->may_write);
    cli_report_bool(cli, "resumed", r->resumed);
    cli_report_bool(cli, "new_version", r->new_version);
    cli_report_number(cli, "bytes_read_old", r->bytes_old);
    cli_report_number(cli, "bytes_shipped", r->bytes_shipped);
    cli_report_number(cli, "bytes_resumed", r->bytes_resumed);
    cli_report_number(cli, "bytes_durable", r->bytes_durable);
    cli_report_number(cli, "bytes_written", r->bytes_written);
    cli_report_number(cli, "bytes_rechecked", r->bytes_rechecked);
    cli_report_number(cli, "recheck_mismatches", r->recheck_mismatches);
    cli_report_seconds(cli, "seconds_scan", r->scan_ns);
    cli_report_seconds(cli, "seconds_commit", r->commit_ns);
    cli_report_number(cli, "generation", r->generation.counter);
    br_uuid_text(&r->generation.id, text);
    cli_report_text(cli, "generation_id", br_uuid_is_nil(&r->generation.id) ? NULL : text);
}

static void sync_say(const struct sync_run *run)
{
    const struct br_sync_result *r = &run->result;
    struct cli *cli = run->cli;
    char changed[32];
    char shipped[32];
    char read[32];
    char rate[32];
    char took[32];
    char resumed[96] = "";

    if (r->bytes_resumed) {
        cli_bytes(cli, r->bytes_resumed, rate, sizeof(rate));
        snprintf(resumed, sizeof(resumed), " (and %s by a run that was cut)", rate);
    }
    cli_bytes(cli, r->bytes_changed, changed, sizeof(changed));
    cli_bytes(cli, r->bytes_shipped, shipped, sizeof(shipped));
    cli_bytes(cli, r->bytes_read, read, sizeof(read));
    double seconds = (double)BR_MAX(r->duration_ns, UINT64_C(1)) / 1e9;
    br_size_text((uint64_t)((double)r->bytes_read / seconds), rate, sizeof(rate));
    br_duration_text(r->duration_ns, took, sizeof(took));
    if (r->dry_run && !r->may_write) {
        cli_warn(cli, "%s: this client may look there only: the run itself would be refused; pair anew, as a writer",
                 run->target.name);
    }
    if (r->dry_run) {
        cli_print(cli, "%s: would ship %s (%s changed), nothing was written", run->target.name, shipped, changed);
        return;
    }
    // A scan always compares everything; that a tracker did not spare it is news.
    const char *compared = r->fallback_reason && source_end_tracker(&run->source) ? "; everything was compared: " : "";
    if (!r->new_version) {
        cli_print(cli, "%s: is current, generation %llu; %s read in %s%s%s%s", run->target.name,
                  (unsigned long long)r->generation.counter, read, took, r->verified ? ", verified" : "", compared,
                  *compared ? r->fallback_reason : "");
        return;
    }
    cli_print(cli, "%s: generation %llu; %s changed, %s shipped%s, %s read in %s (%s/s)%s%s%s%s", run->target.name,
              (unsigned long long)r->generation.counter, changed, shipped, resumed, read, took, rate,
              r->verified ? ", verified" : "", r->consistency == BR_CONSISTENCY_NONE ? "; consistency: none" : "",
              compared, *compared ? r->fallback_reason : "");
}

// What is known of every run, also of one that could not begin.
static json_t *sync_run_facts(const struct sync_run *run, int result, const struct br_err *why)
{
    json_t *facts = json_object();

    json_object_set_new(facts, "last_run_unix", json_integer(time(NULL)));
    json_object_set_new(facts, "last_status", json_integer(br_err_exit(result)));
    json_object_set_new(facts, "last_error", result ? json_string(br_err_name(result)) : json_null());
    json_object_set_new(facts, "last_error_text", result ? cli_json_text(why->text) : json_null());
    json_object_set_new(
        facts, "every_seconds",
        json_integer((json_int_t)((cli_duration_ns(run->cli, "every", 0) + BR_NS_PER_S - 1) / BR_NS_PER_S)));
    return facts;
}

static json_t *sync_known_facts(const struct sync_run *run, int result, const struct br_err *why)
{
    const struct br_sync_result *r = &run->result;
    json_t *facts = sync_run_facts(run, result, why);
    char root[2 * BR_HASH_BYTES + 1];
    char replica[BR_UUID_TEXT_BYTES];

    if (result && result != -BR_E_GAPS) {
        return facts;
    }
    br_hash_text(&r->root, root);
    br_uuid_text(&r->replica, replica);
    json_object_set_new(facts, "replica_uuid", json_string(replica));
    json_object_set_new(facts, "version_taken_unix",
                        json_integer((json_int_t)(r->version_taken_unix_ns / BR_NS_PER_S)));
    json_object_set_new(facts, "current_unix", json_integer((json_int_t)(r->taken_unix_ns / BR_NS_PER_S)));
    json_object_set_new(facts, "generation", json_integer((json_int_t)r->generation.counter));
    json_object_set_new(facts, "root", json_string(root));
    json_object_set_new(facts, "size_bytes", json_integer((json_int_t)r->size_bytes));
    json_object_set_new(facts, "consistency", json_string(br_consistency_name((uint8_t)r->consistency)));
    json_object_set_new(facts, "full_proof_unix", json_integer((json_int_t)(r->full_proof_unix_ns / BR_NS_PER_S)));
    json_object_set_new(facts, "bytes_shipped", json_integer((json_int_t)r->bytes_shipped));
    json_object_set_new(facts, "seconds", json_real((double)(r->duration_ns / 1000) / 1e6));
    json_object_set_new(facts, "unreadable_blocks", json_integer((json_int_t)r->unreadable_blocks));
    return facts;
}

static json_t *sync_audit_details(const struct sync_run *run, int result)
{
    const struct br_sync_result *r = &run->result;
    json_t *details = json_object();
    char root[2 * BR_HASH_BYTES + 1];

    json_object_set_new(details, "source", cli_json_text(run->source.place.path));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    json_object_set_new(details, "fallback_reason", cli_json_text(r->fallback_reason));
    json_object_set_new(details, "generation", json_integer((json_int_t)r->generation.counter));
    br_hash_text(&r->root, root);
    json_object_set_new(details, "root", json_string(root));
    json_object_set_new(details, "consistency", json_string(br_consistency_name((uint8_t)r->consistency)));
    json_object_set_new(details, "recheck_mismatches", json_integer((json_int_t)r->recheck_mismatches));
    json_object_set_new(details, "tracker", json_string(r->tracker));
    json_object_set_new(details, "tracker_caught", json_boolean(r->tracked.caught));
    json_object_set_new(details, "overwrite", json_boolean(cli_flag(run->cli, "overwrite")));
    json_object_set_new(details, "force_full", json_boolean(cli_flag(run->cli, "force-full")));
    return details;
}

// After the act: what can't be written down is a warning, the replica is what it is.
static void sync_remember(struct sync_run *run, int result, const struct br_err *why)
{
    struct br_err err = {0};
    // That a tracker could not be used is an event also where the compare found nothing.
    bool fell_back = !result && run->result.tracked.reason;
    bool acted = run->result.new_version || run->result.recheck_mismatches || run->result.tracked.caught || fell_back ||
                 run->result.mode == BR_MODE_REPLACE || (result && result != run->before);

    if (run->result.dry_run || !run->target.name[0]) {
        return;
    }
    if (acted && audit_append(run->cli, result ? "sync-failed" : "sync", run->target.name,
                              sync_audit_details(run, result), &err)) {
        cli_warn(run->cli, "the audit line could not be written: %s", err.text);
    }
    // What was refused before there was a replica makes no pair of this host: `status` would show a mistyped name for ever.
    bool mistyped = result && br_uuid_is_nil(&run->result.replica);
    if ((mistyped ? known_record_failure : known_record)(run->cli, run->source.place.path, run->target.name,
                                                         sync_known_facts(run, result, why), &err)) {
        cli_warn(run->cli, "the run could not be noted for status: %s", err.text);
    }
}

// A run that could not begin: its pair, when it is known, must not be shown as it was after the last good one.
static void sync_remember_failure(struct sync_run *run, int result, const struct br_err *why)
{
    const char *const *words = (const char *const *)run->cli->args;
    char source[PLACE_NAME_BYTES], replica[PLACE_NAME_BYTES];
    struct br_err err = {0};

    if (result == -BR_E_USAGE || run->result.dry_run || place_name(run->cli, words[0], "volume", source, &err) ||
        place_name(run->cli, words[1], "replica", replica, &err)) {
        return;
    }
    if (known_record_failure(run->cli, source, replica, sync_run_facts(run, result, why), &err)) {
        cli_warn(run->cli, "the failure could not be noted for status: %s", err.text);
    }
}

static void sync_close(struct sync_run *run, int result)
{
    target_end_close(&run->target, result != 0);
    source_end_close(&run->source, result != 0);
    br_ring_close(run->ring);
}

static int sync_open(struct sync_run *run, bool dry_run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    int error = progress_begin(&run->progress, cli, reterr);

    if (!error) {
        error = place_ring(cli, &run->ring, reterr);
    }
    if (!error && !dry_run) {
        error = audit_ready(cli, reterr);
    }
    if (!error) {
        error = source_end_open(cli, run->ring, cli->args[0], dry_run, &run->source, reterr);
    }
    if (!error) {
        error = source_end_is_not(cli, &run->source, cli->args[1], reterr);
    }
    if (!error) {
        error = source_end_guard(&run->source, reterr);
    }
    if (!error) {
        error = target_end_open(cli, run->ring, cli->args[1], dry_run, &run->target, reterr);
    }
    // A server on this host may have the source itself for a replica, by whatever name: it has it open for writing by now.
    if (!error && run->target.address.remote) {
        error = source_end_guard(&run->source, reterr);
    }
    if (!error && !dry_run) {
        error = target_end_confirm(cli, &run->target, reterr);
    }
    return error;
}

// Three folders are written to; the error itself names a file in one of them.
static void sync_name_full(const struct sync_run *run, struct br_err *reterr)
{
    char state[PATH_MAX] = "";
    bool remote = run->target.address.remote;
    const char *folders[] = {state, run->source.place.side, remote ? NULL : run->target.place.side,
                             remote ? NULL : run->target.place.path};

    if (place_state_path(run->cli, state, NULL)) {
        state[0] = 0;
    }
    place_name_full(folders, BR_ARRAY_LEN(folders), reterr);
}

static int sync_once(struct cli *cli, int before, struct sync_run *run, struct br_err *reterr)
{
    *run = (struct sync_run){
        .cli = cli,
        .before = before,
        .source = {.place = {.look_fd = -1}},
        .target = {.place = {.look_fd = -1}},
        .result = {.tracker = "scan",
                   .consistency = cli_flag(cli, "live-source") ? BR_CONSISTENCY_NONE : BR_CONSISTENCY_CLEAN,
                   .dry_run = cli_flag(cli, "dry-run")},
    };
    int error = sync_open(run, cli_flag(cli, "dry-run"), reterr);
    bool opened = !error;
    error = opened ? sync_engine(run, reterr) : error;
    if (error == -BR_E_NO_SPACE) {
        sync_name_full(run, reterr);
    }
    if (opened) {
        sync_remember(run, error, reterr);
    } else {
        sync_remember_failure(run, error, reterr);
    }
    sync_report(run);
    if (!error && (!cli_text(cli, "every") || cli_heard())) {
        sync_say(run);
        fflush(stdout); // the next line may be a day away
    }
    if (!error && run->result.unreadable_blocks) {
        error = br_err_set(reterr, BR_E_GAPS, "%s: %llu blocks of 64 KiB could not be read", run->source.place.path,
                           (unsigned long long)run->result.unreadable_blocks);
    }
    sync_close(run, error);
    return error;
}

// --every -----------------------------------------------------------------------------------------------------------------------------

#define SYNC_RETRY_FIRST_NS (BR_NS_PER_S)      // after the first failure, or TIME when that is shorter
#define SYNC_RETRY_LEAST_NS (5 * BR_NS_PER_S)  // the longest pause is TIME, but within these two:
#define SYNC_RETRY_MOST_NS  (60 * BR_NS_PER_S) // a server that is gone is not pestered, one that is back is seen soon

// Faults that pass by themselves or when room is made; anything else, a refusal above all, needs a person.
static bool sync_passing(int error)
{
    switch (-error) {
    case BR_E_PEER:
    case BR_E_TIMEOUT:
    case BR_E_BUSY:
    case BR_E_NO_SPACE:
    case BR_E_NOMEM:
    case BR_E_GAPS: return true;
    default: return false;
    }
}

struct sync_every {
    struct cli *cli;
    uint64_t every_ns;
    int64_t
        version_ns; // monotonic: when the view of the newest good version began to be read; before 0, before the machine was started
    uint64_t lag_ns; // how old the newest good version was when the last run ended
    uint64_t lag_max_ns;
    uint64_t runs;
    uint64_t failed;
    uint64_t in_a_row;      // runs that failed since the last good one
    unsigned said_statuses; // bits: what was said on stderr of this row
    struct br_err last;     // of the last whole run
};

static void sync_every_event(const struct sync_every *every, const struct sync_run *run)
{
    const struct br_err *err = &every->last;
    json_t *event = json_object();

    json_object_set_new(event, "type", json_string("run"));
    json_object_set_new(event, "status", json_integer(br_err_exit(err->code)));
    json_object_set_new(event, "error", err->code ? cli_json_text(err->text) : json_null());
    json_object_set_new(event, "generation", json_integer((json_int_t)run->result.generation.counter));
    json_object_set_new(event, "bytes_changed", json_integer((json_int_t)run->result.bytes_changed));
    json_object_set_new(event, "bytes_shipped", json_integer((json_int_t)run->result.bytes_shipped));
    json_object_set_new(event, "bytes_resumed", json_integer((json_int_t)run->result.bytes_resumed));
    json_object_set_new(event, "seconds", json_real((double)(run->result.duration_ns / 1000) / 1e6));
    json_object_set_new(event, "lag_seconds", json_real((double)(every->lag_ns / 1000) / 1e6));
    cli_news(every->cli, event);
}

static uint64_t sync_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void sync_sleep_until(uint64_t deadline_ns)
{
    while (!cli_cancel && sync_clock_ns(CLOCK_MONOTONIC) < deadline_ns) {
        uint64_t left = deadline_ns - sync_clock_ns(CLOCK_MONOTONIC);
        struct timespec nap = {.tv_nsec = (long)BR_MIN(left, 100 * BR_NS_PER_MS)};
        nanosleep(&nap, NULL); // a signal cuts it short
    }
}

// Lag goes on where a process that kept this pair current before left it: a restart does not make the replica younger.
static void sync_every_begin(struct sync_every *every)
{
    const char *const *words = (const char *const *)every->cli->args;
    char source[PLACE_NAME_BYTES], replica[PLACE_NAME_BYTES];

    every->version_ns = (int64_t)sync_clock_ns(CLOCK_MONOTONIC);
    if (place_name(every->cli, words[0], "volume", source, NULL) ||
        place_name(every->cli, words[1], "replica", replica, NULL)) {
        return;
    }
    json_t *known = known_find(every->cli, source, replica);
    json_int_t taken = json_integer_value(json_object_get(known, "current_unix"));
    if (json_integer_value(json_object_get(known, "every_seconds")) > 0 && taken > 0 && taken < time(NULL)) {
        every->version_ns -= (time(NULL) - taken) * (int64_t)BR_NS_PER_S;
    }
    json_decref(known);
}

static uint64_t sync_retry_ns(const struct sync_every *every)
{
    uint64_t most = BR_MAX(SYNC_RETRY_LEAST_NS, BR_MIN(every->every_ns, SYNC_RETRY_MOST_NS));
    uint64_t ns = BR_MIN(every->every_ns, SYNC_RETRY_FIRST_NS);

    for (uint64_t i = 1; i < every->in_a_row && ns < most; i++) {
        ns *= 2;
    }
    return BR_MIN(ns, most);
}

// Said when it begins, when another thing fails, and when all is well again; --json has a line for every run.
static void sync_every_say(struct sync_every *every, const struct sync_run *run)
{
    const struct br_err *err = &every->last;
    char text[40];

    if (err->code && err->code != BR_E_GAPS) {
        if (!(every->said_statuses & 1u << br_err_exit(err->code))) {
            cli_say(every->cli, "blkrep sync: %s: %s; trying again until it passes", br_err_message(err->code),
                    err->text);
        }
        every->said_statuses |= 1u << br_err_exit(err->code);
    } else if (every->said_statuses) {
        br_duration_text(every->lag_ns, text, sizeof(text));
        cli_say(every->cli, "blkrep sync: %s is current again, after %llu run%s that failed; it was %s behind",
                run->target.name, (unsigned long long)every->in_a_row, every->in_a_row == 1 ? "" : "s", text);
        every->said_statuses = 0;
    }
}

// One run. Returns when the next one is due; 0: there is none.
static uint64_t sync_every_run(struct sync_every *every, struct br_err *reterr)
{
    struct sync_run run;
    uint64_t begun_ns = sync_clock_ns(CLOCK_MONOTONIC);
    int error = sync_once(every->cli, -every->last.code, &run, reterr);

    if (error == -BR_E_CANCELLED && cli_cancel) {
        return 0; // not a whole one
    }
    every->last = error ? *reterr : (struct br_err){0};
    every->lag_ns = (uint64_t)((int64_t)sync_clock_ns(CLOCK_MONOTONIC) - every->version_ns);
    every->lag_max_ns = BR_MAX(every->lag_max_ns, every->lag_ns);
    every->runs++;
    every->failed += error != 0;
    sync_every_event(every, &run);
    if (error && !sync_passing(error)) {
        return 0;
    }
    sync_every_say(every, &run);
    if (error && error != -BR_E_GAPS) {
        every->in_a_row++;
        return sync_clock_ns(CLOCK_MONOTONIC) + sync_retry_ns(every);
    }
    every->in_a_row = 0;
    every->version_ns = (int64_t)begun_ns;
    return begun_ns + every->every_ns;
}

// The exit status is the last whole run's: 0 says that the replica was current when this ended.
// Lag is measured, not promised: how old the newest durable version is when a run ends. Counted by the monotonic clock, since the source's
// view began to be read.
static int sync_every(struct cli *cli, uint64_t every_ns, struct br_err *reterr)
{
    struct sync_every every = {.cli = cli, .every_ns = every_ns};
    uint64_t next_ns = 1;
    char text[40];

    sync_every_begin(&every);
    while (!cli_cancel && next_ns) {
        next_ns = sync_every_run(&every, reterr);
        sync_sleep_until(next_ns);
    }
    if (!every.runs) {
        br_err_set(&every.last, BR_E_CANCELLED, "before the first run ended");
    }
    br_duration_text(every.lag_max_ns, text, sizeof(text));
    if (cli_heard()) {
        cli_print(cli, "%llu run%s, %llu failed; the replica was at most %s behind", (unsigned long long)every.runs,
                  every.runs == 1 ? "" : "s", (unsigned long long)every.failed, text);
    }
    cli_report_number(cli, "runs", every.runs);
    cli_report_number(cli, "runs_failed", every.failed);
    cli_report_seconds(cli, "lag_seconds_max", every.lag_max_ns);
    *reterr = every.last;
    return -every.last.code;
}

static int sync_run(struct cli *cli, struct br_err *reterr)
{
    struct sync_run run;
    uint64_t every_ns = cli_duration_ns(cli, "every", 0);

    if (!cli_text(cli, "every")) {
        return sync_once(cli, 0, &run, reterr);
    }
    if (!every_ns) {
        return br_err_set(reterr, BR_E_USAGE, "--every needs a time above zero");
    }
    if (cli_flag(cli, "dry-run") || cli_flag(cli, "force-full")) {
        return br_err_set(reterr, BR_E_USAGE, "--every goes with neither --dry-run nor --force-full");
    }
    return sync_every(cli, every_ns, reterr);
}

static const struct cli_field sync_fields[] = {
    {"source", "text", "The source's path."},
    {"replica", "text", "The replica's path or address."},
    {"tracker", "text", "What told which blocks to compare; scan reads all of the source."},
    {"fallback_reason", "text|null", "Why the run became a full compare; null when it did not."},
    {"consistency", "text",
     "none: the source could change while it was read. crash: it is one moment, as after a power cut. clean: nothing could write."},
    {"dry_run", "boolean", "Nothing was written."},
    {"may_write", "boolean",
     "The replica takes new versions from this host. False: a dry run by a client of the role reader, or it was not asked."},
    {"resumed", "boolean", "A first copy or a delta that was cut went on from what had come of it."},
    {"new_version", "boolean", "There was something to ship, and the replica is a new version now."},
    {"size_bytes", "number", "Of the volume."},
    {"bytes_read", "number", "Read from the source; holes are not."},
    {"bytes_read_old", "number",
     "Read of what an attached volume held before (trackers cow and thin), to find the pages that differ where this side has lost their hashes."},
    {"bytes_changed", "number", "In pages that differ; with those that became zeros."},
    {"bytes_zeroed", "number", "Of it, in what became zeros."},
    {"bytes_shipped", "number",
     "Data that was handed to the replica in this run, also when it failed: over a network what the pages came to, compressed and framed, "
     "as far as the network took it; without the talk about them."},
    {"bytes_resumed", "number",
     "Not shipped, because a run that was cut had shipped it: pages of a delta, whole blocks of a first copy."},
    {"bytes_durable", "number", "Of what was shipped, durable at the replica when the run ended."},
    {"bytes_written", "number", "Written to the replica itself."},
    {"bytes_rechecked", "number", "Of the replica, called unchanged and proven all the same."},
    {"recheck_mismatches", "number",
     "Blocks of those that were not as they should be; the tracker is then distrusted."},
    {"bytes_tracked", "number", "What the tracker said may have changed, in whole blocks of 64 KiB; 0 with scan."},
    {"bytes_rechecked_source", "number", "Of what the tracker called unchanged, read and proven all the same."},
    {"tracker_caught", "boolean",
     "One of these had changed: the tracker is distrusted, and this run compared everything."},
    {"seconds_window", "number", "How long writes to an attached volume waited for the snapshot; 0 of others."},
    {"unreadable_blocks", "number", "Blocks of the version that the source could not read."},
    {"verified", "boolean", "Both sides were read whole and compared, by --verify."},
    {"seconds", "number", "The whole run took."},
    {"seconds_scan", "number", "Of that, until all was read and shipped."},
    {"seconds_commit", "number", "Of that, from the commit until the replica was the new version."},
    {"generation", "number", "Counts the versions of the replica."},
    {"generation_id", "text|null", "The id of that version; null when there is none."},
    {"volume", "text|null", "The uuid of the volume."},
    {"root", "text|null", "The hash that names the content; null when there is no version."},
    {"runs", "number", "With --every: how many there were."},
    {"runs_failed", "number", "With --every: of them, how many failed."},
    {"lag_seconds_max", "number", "With --every: the longest time that the replica was behind."},
    {NULL, NULL, NULL},
};

static const struct cli_field sync_run_fields[] = {
    {"status", "number", "The exit status that the run alone would have had."},
    {"error", "text|null", "What failed, for people."},
    {"generation", "number", "Of the replica after it."},
    {"bytes_changed", "number", "As in the exit object."},
    {"bytes_shipped", "number", "As in the exit object."},
    {"bytes_resumed", "number", "As in the exit object."},
    {"seconds", "number", "It took."},
    {"lag_seconds", "number",
     "How old the version was that the replica had until this run made it current, or that it still has when it failed."},
    {NULL, NULL, NULL},
};

static const struct cli_line sync_lines[] = {
    {"run", "With --every, one for each run.", sync_run_fields},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_sync = {
    .name = "sync",
    .args = "SOURCE REPLICA",
    .args_min = 2,
    .args_max = 2,
    .summary = "Make REPLICA equal to SOURCE, shipping only what differs.",
    .description =
        "SOURCE is a file or block device on this host, REPLICA a file or block device here or behind blkrep serve "
        "(blkrep://HOST[:PORT]/NAME); either may be a name from the configuration. The first run copies all data, later runs read the source, "
        "compare it with the version that the replica is known to be at, and ship the 4 KiB pages that differ.\n\n"
        "When the exit status is 0, the replica is durable and identical to the source as it was read. At any instant, whatever crashes or "
        "is cut, the replica is the old version or the new one, or says that it is between both; then `blkrep finish` completes it without "
        "the source. A run that was cut is gone on with by running the same command again: the source is read anew, and what had come and "
        "is still right is not shipped a second time, of a first copy as of a delta.\n\n"
        "A volume that is attached (blkrep-attach(1)), named by its name or its device, is read from a snapshot that the run takes, in use or "
        "not, and of it only what its tracker names; a share of the rest is read and proven in every run. VOLUME@SNAPSHOT reads a snapshot "
        "that is there.\n\n"
        "A source that can change while it is read (mounted read-write, open for writing elsewhere, seen to move) is refused. A target "
        "that holds something else is refused without --overwrite; a mounted or held one always.",
    .options = sync_options,
    .examples = sync_examples,
    .see_also = "blkrep-finish(1), blkrep-status(1), blkrep-serve(1), blkrep-errors(7)",
    .schema = "blkrep.sync/1",
    .fields = sync_fields,
    .lines = sync_lines,
    .run = sync_run,
};
