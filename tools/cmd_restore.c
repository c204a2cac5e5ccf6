// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/restore/restore.h"
#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/repository.h"
#include "tools/run_log.h"

static const struct cli_option restore_options[] = {
    {"volume", CLI_TEXT, "VOLUME",
     "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid."},
    {"offset", CLI_SIZE, "SIZE",
     "Begin there in the volume, a multiple of 64 KiB; what lies there goes to the same place of TARGET."},
    {"length", CLI_SIZE, "SIZE", "So much of it, rounded up to 64 KiB. Default: to the end."},
    {"delta", CLI_FLAG, NULL,
     "Read TARGET and write only the pages that differ. For a target that holds another version of the same volume."},
    {"overwrite", CLI_FLAG, NULL,
     "Accept the loss of what TARGET holds. Of a file nothing else is asked, at a terminal neither; of a device on which something is recognized, a "
     "file system say, see --yes."},
    {"dry-run", CLI_FLAG, NULL, "Check what the restore itself would check, print the plan, write nothing."},
    {"yes", CLI_FLAG, NULL,
     "With --overwrite onto a device on which something is recognized: don't ask for its name first, which needs a terminal; for scripts."},
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example restore_examples[] = {
    {"blkrep restore /backup/repo@latest restored.img --volume disk.img",
     "The newest point of that volume, into a new file."},
    {"blkrep restore /backup/repo@2026-11-24T03:05 /dev/sdb --overwrite --volume disk.img",
     "The newest point of that time or before, onto a disk."},
    {"blkrep restore /backup/repo@latest~1 - --volume disk.img | sha256sum", "The one before the newest, to a pipe."},
    {NULL, NULL},
};

static const struct cli_field restore_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"target", "text", "Where it went; - is standard output."},
    {"dry_run", "boolean", "Nothing was written."},
    {"size_bytes", "number", "Of the volume."},
    {"bytes_read", "number", "From the repository, as stored."},
    {"bytes_data", "number", "Data of the point, proven."},
    {"bytes_written", "number", "To the target."},
    {"bytes_zeroed", "number", "Made zeros there."},
    {"bytes_same", "number", "With --delta: not written, because they were there."},
    {"bytes_unreadable", "number", "That the point lacks, because its source could not be read: zeros."},
    {"rolled_back", "number",
     "Volumes that are older than this host has seen them there; each is also a warning, and the exit status is 4."},
    {"seconds", "number", "It took."},
    {"root", "text|null", "The hash that names the content of the point."},
    {NULL, NULL, NULL},
};

struct restore_run {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct run_log *log; // NULL of a dry run
    struct br_point point;
    struct place place;
    struct progress progress;
    struct br_restore_result result;
    uint64_t begun_ns;
    bool to_stdout;
    bool opened;
    char target[PATH_MAX];  // where it ends up
    char written[PATH_MAX]; // where it is written: beside, while a file that was not there is made
    bool beside;
};

#define RESTORE_BESIDE ".blkrep-restore"

static int restore_write(void *ctx, const void *bytes, size_t len, struct br_err *reterr)
{
    const uint8_t *from = bytes;

    (void)ctx;
    while (len) {
        ssize_t put = write(STDOUT_FILENO, from, len);

        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return br_err_os(reterr, errno, "writing to standard output");
        }
        from += put;
        len -= (size_t)put;
    }
    return 0;
}

static void restore_on_progress(void *ctx, const struct br_read_progress *at)
{
    struct restore_run *run = ctx;
    struct progress_sample sample = {
        .phase = "restore",
        .position_bytes = at->position_bytes,
        .size_bytes = at->size_bytes,
        .shipped_bytes = at->store_bytes,
        .elapsed_ns = br_ring_now_ns(run->ring) - run->begun_ns,
    };

    progress_show(&run->progress, &sample);
}

// Is the target a file in the repository itself?
static int restore_not_inside(const struct restore_run *run, struct br_err *reterr)
{
    size_t len = strlen(run->repository.path);

    if (!strncmp(run->place.path, run->repository.path, len) && run->place.path[len] == '/') {
        return br_err_set(reterr, BR_E_REFUSED, "%s lies in the repository", run->place.path);
    }
    return 0;
}

static int restore_look_at_target(struct restore_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    const struct br_guard_object *object = &run->place.object;
    char have[32], need[32], question[2 * BR_GUARD_TEXT_BYTES + 64];
    int error = restore_not_inside(run, reterr);

    if (!error && object->is_block && object->size_bytes < run->point.size_bytes) {
        br_size_text(object->size_bytes, have, sizeof(have));
        br_size_text(run->point.size_bytes, need, sizeof(need));
        error = br_err_set(reterr, BR_E_TARGET_SMALL, "%s holds %s, the point has %s", run->place.path, have, need);
    }
    bool replica = run->place.dir && br_dir_exists(run->place.dir, "identity", NULL) == 1;
    bool holds = !run->beside &&
                 (replica || run->place.holds[0] || (run->place.exists && !object->is_block && !run->place.empty));
    if (!error && holds && !cli_flag(cli, "overwrite")) {
        error = br_err_set(reterr, BR_E_TARGET_FOREIGN, "%s holds %s", run->place.path,
                           replica               ? "a replica"
                           : run->place.holds[0] ? run->place.holds
                                                 : "something");
    }
    if (!error && run->place.holds[0] && object->is_block && !cli_flag(cli, "dry-run")) {
        snprintf(question, sizeof(question), "%s holds %s, which will be lost", object->text, run->place.holds);
        error = cli_confirm(cli, object->kernel_name, question, reterr);
    }
    return error;
}

// A file that is not there yet is written beside and gets its name when it is whole: a restore that is cut leaves nothing that looks like one.
static int restore_names(struct restore_run *run, struct br_err *reterr)
{
    const char *given = run->cli->args[1];
    struct stat st;

    if (strlen(given) + sizeof(RESTORE_BESIDE) > PATH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a path that is too long");
    }
    run->beside = lstat(given, &st) && errno == ENOENT && !cli_flag(run->cli, "dry-run");
    snprintf(run->target, sizeof(run->target), "%s", given);
    snprintf(run->written, sizeof(run->written), "%s%s", given, run->beside ? RESTORE_BESIDE : "");
    // What a restore that was cut left is taken over, once its lock is held.
    if (run->beside && !lstat(run->written, &st) && !S_ISREG(st.st_mode)) {
        return br_err_set(reterr, BR_E_REFUSED, "%s is in the way, and no regular file", run->written);
    }
    return 0;
}

// From here on the target is nobody's replica: no run writes to it meanwhile, and none takes it for what it was.
static int restore_take_over(struct restore_run *run, struct br_err *reterr)
{
    int error = br_dir_lock(run->place.dir, "lock", reterr);

    if (!error && br_dir_exists(run->place.dir, "identity", reterr) == 1) {
        error = br_dir_unlink(run->place.dir, "identity", reterr);
        error = error ? error : br_dir_sync(run->place.dir, reterr);
    }
    return error;
}

static int restore_name_it(struct restore_run *run, struct br_err *reterr)
{
    const char *slash = strrchr(run->target, '/');
    char identity[PATH_MAX + 32];
    struct stat ours, there;

    // Somebody removed it, or put another file there: that one is not what was restored.
    if (fstat(run->place.look_fd, &ours) || lstat(run->written, &there) || ours.st_dev != there.st_dev ||
        ours.st_ino != there.st_ino) {
        return br_err_set(reterr, BR_E_REFUSED, "%s was exchanged while it was written", run->written);
    }
    // Of a replica that had this name once.
    snprintf(identity, sizeof(identity), "%s.blkrep/identity", run->target);
    unlink(identity);
    int error = br_dir_publish(run->place.parent, run->place.name, slash ? slash + 1 : run->target, reterr);

    return error ? error : br_dir_sync(run->place.parent, reterr);
}

static int restore_open_target(struct restore_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    bool dry_run = cli_flag(cli, "dry-run");

    if (run->to_stdout) {
        return cli_flag(cli, "delta") ? br_err_set(reterr, BR_E_USAGE, "--delta needs a target that can be read") : 0;
    }
    int error = restore_names(run, reterr);
    error = error ? error
                  : place_open(cli, run->ring, run->written, dry_run ? PLACE_PLAN : PLACE_TARGET, &run->place, reterr);
    run->opened = !error;
    error = error ? error : restore_look_at_target(run, reterr);
    return error || dry_run ? error : restore_take_over(run, reterr);
}

// A file becomes as long as the volume; all of it, so that what lies behind the volume's end is no longer there.
static int restore_size(struct restore_run *run, bool *ret_zero, struct br_err *reterr)
{
    bool whole = !cli_text(run->cli, "offset") && !cli_text(run->cli, "length");
    int error = 0;

    *ret_zero = false;
    if (run->to_stdout || run->place.object.is_block) {
        return 0;
    }
    bool fresh = run->place.empty;
    // A file that is given up is emptied first: its holes are the zeros then.
    if (!fresh && whole && !cli_flag(run->cli, "delta")) {
        error = br_file_truncate(run->place.file, 0, reterr);
        fresh = true;
    }
    *ret_zero = fresh;
    if (!error && (whole || fresh || run->place.object.size_bytes < run->point.size_bytes)) {
        error = br_file_truncate(run->place.file, run->point.size_bytes, reterr);
    }
    return error;
}

static int restore_engine(struct restore_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    struct br_restore_params params = {
        .repo = run->repository.repo,
        .point = &run->point,
        .offset_bytes = cli_size(cli, "offset", 0),
        .len_bytes = cli_size(cli, "length", UINT64_MAX),
        .target = run->place.file,
        .differences = cli_flag(cli, "delta"),
        .write = restore_write,
        .cancel = &cli_cancel,
        .progress = restore_on_progress,
        .progress_ctx = run,
    };
    char real[PATH_MAX];

    // Before the target is touched; a name that another folder would give another meaning is none to remember.
    run_log_target(run->log, run->to_stdout ? "-" : realpath(run->target, real) ? real : run->target, &run->point.id);
    run_log_stage(run->log, "restore");
    int error = restore_size(run, &params.target_is_zero, reterr);

    run->begun_ns = br_ring_now_ns(run->ring);
    error = error ? error : br_restore(&params, &run->result, reterr);
    error = error || !run->beside ? error : restore_name_it(run, reterr);
    progress_end(&run->progress);
    if (error == -BR_E_NO_SPACE) {
        const char *folders[] = {run->place.path};
        place_name_full(folders, 1, reterr);
    }
    return error;
}

static void restore_report(struct restore_run *run, uint64_t ns)
{
    struct cli *cli = run->cli;
    char text[2 * BR_HASH_BYTES + 1];
    bool known = !br_uuid_is_nil(&run->point.id);

    cli_report_text(cli, "repository", run->repository.path[0] ? run->repository.path : cli->args[0]);
    br_uuid_text(&run->point.id, text);
    cli_report_text(cli, "point", known ? text : NULL);
    cli_report_text(cli, "target", run->target[0] ? run->target : cli->args[1]);
    cli_report_bool(cli, "dry_run", cli_flag(cli, "dry-run"));
    cli_report_number(cli, "size_bytes", run->point.size_bytes);
    cli_report_number(cli, "bytes_read", run->result.read.store_bytes);
    cli_report_number(cli, "bytes_data", run->result.read.data_bytes);
    cli_report_number(cli, "bytes_written", run->result.bytes_written);
    cli_report_number(cli, "bytes_zeroed", run->result.bytes_zeroed);
    cli_report_number(cli, "bytes_same", run->result.bytes_same);
    cli_report_number(cli, "bytes_unreadable", run->result.unreadable_bytes);
    cli_report_number(cli, "rolled_back", run->repository.rolled_back);
    cli_report_seconds(cli, "seconds", ns);
    br_hash_text(&run->point.root, text);
    cli_report_text(cli, "root", known ? text : NULL);
}

// "128 KiB at 1 MiB of ", or "" of all of the point.
static void restore_range(const struct restore_run *run, char *text, size_t text_bytes)
{
    const struct cli *cli = run->cli;
    uint64_t from = cli_size(cli, "offset", 0), rest = run->point.size_bytes - from;
    uint64_t len = BR_MIN(cli_size(cli, "length", UINT64_MAX), rest);
    char bytes[32], at[32];

    len = BR_MIN(len + (BR_BLOCK_BYTES - len % BR_BLOCK_BYTES) % BR_BLOCK_BYTES, rest);
    cli_bytes(cli, len, bytes, sizeof(bytes));
    cli_bytes(cli, from, at, sizeof(at));
    *text = 0;
    if (len < run->point.size_bytes) {
        snprintf(text, text_bytes, "%s at %s of ", bytes, at);
    }
}

static void restore_say(const struct restore_run *run, uint64_t ns)
{
    struct cli *cli = run->cli;
    char id[BR_UUID_TEXT_BYTES], taken[40], size[32], took[32], data[32], range[80];

    br_uuid_text(&run->point.id, id);
    br_time_text(run->point.taken_unix_ns, taken, sizeof(taken));
    cli_bytes(cli, run->point.size_bytes, size, sizeof(size));
    cli_bytes(cli, run->result.read.data_bytes, data, sizeof(data));
    br_duration_text(ns, took, sizeof(took));
    restore_range(run, range, sizeof(range));
    if (cli_flag(cli, "dry-run")) {
        cli_print(cli, "%s: would %s %spoint %.8s of %s, taken %s, %s; nothing was written",
                  run->to_stdout ? "standard output" : cli->args[1], run->to_stdout || *range ? "get" : "become", range,
                  id, run->point.label, taken, size);
    } else if (*range && !run->to_stdout) {
        cli_print(cli, "%s: holds %spoint %.8s of %s, taken %s, %s of it data, in %s", run->target, range, id,
                  run->point.label, taken, data, took);
    } else if (run->to_stdout) {
        cli_say(cli, "%spoint %.8s of %s, taken %s: %s in %s", range, id, run->point.label, taken, *range ? data : size,
                took);
    } else {
        cli_print(cli, "%s: is point %.8s of %s, taken %s: %s, %s of it data, in %s", run->target, id, run->point.label,
                  taken, size, data, took);
    }
}

static int restore_finish(struct restore_run *run, int result, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    json_t *details = json_object();
    char id[BR_UUID_TEXT_BYTES];
    struct br_err err = {0};

    br_uuid_text(&run->point.id, id);
    json_object_set_new(details, "repository", cli_json_text(run->repository.path));
    json_object_set_new(details, "point", json_string(id));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    if (audit_append(cli, result ? "restore-failed" : "restore", run->to_stdout ? "-" : run->target, details, &err)) {
        cli_warn(cli, "the audit line could not be written: %s", err.text);
    }
    if (!result && run->result.unreadable_bytes) {
        return br_err_set(reterr, BR_E_GAPS,
                          "%llu bytes of the point could not be read when it was made, and are zeros now",
                          (unsigned long long)run->result.unreadable_bytes);
    }
    return repository_result(&run->repository, result, reterr);
}

static int restore_open(struct restore_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    if (!error && cli_size(cli, "offset", 0) % BR_BLOCK_BYTES) {
        error = br_err_set(reterr, BR_E_USAGE, "--offset must be a multiple of 64 KiB");
    }
    error = error ? error : progress_begin(&run->progress, cli, reterr);
    error = error || cli_flag(cli, "dry-run") ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &run->ring, reterr);
    error = error ? error : repository_open(cli, run->ring, repo, true, &run->repository, reterr);
    run->log = error || cli_flag(cli, "dry-run") ? NULL : run_log_begin(cli, run->ring, &run->repository, false);
    error = error ? error : repository_point(cli, &run->repository, point, &run->point, reterr);
    if (!error && cli_size(cli, "offset", 0) > run->point.size_bytes) {
        error = br_err_set(reterr, BR_E_USAGE, "--offset lies behind the volume's end");
    }
    return error ? error : restore_open_target(run, reterr);
}

static int restore_run(struct cli *cli, struct br_err *reterr)
{
    struct restore_run run = {.cli = cli, .place = {.look_fd = -1}, .to_stdout = !strcmp(cli->args[1], "-")};
    bool dry_run = cli_flag(cli, "dry-run");
    uint64_t ns = 0;

    if (run.to_stdout && cli->json) {
        return br_err_set(reterr, BR_E_USAGE, "--json and data both want standard output");
    }
    int error = restore_open(&run, reterr);
    bool failed = error != 0;
    if (!error && !dry_run) {
        error = restore_engine(&run, reterr);
        failed = error != 0;
        if (error && !run.to_stdout && !run.beside) {
            br_err_prefix(reterr, "%s holds a part of the point now", run.target);
        }
        ns = br_ring_now_ns(run.ring) - run.begun_ns;
        error = restore_finish(&run, error, reterr);
    } else if (!error) {
        error = repository_result(&run.repository, 0, reterr);
    }
    if (!run.to_stdout || error) {
        restore_report(&run, ns);
    }
    run_log_end(run.log, error);
    if (!error) {
        restore_say(&run, ns);
    }
    if (run.opened) {
        // The folder of its state, which a restored file has no use for, goes if opening made it.
        bool beside = run.beside && failed;
        place_close(&run.place, failed || run.point.size_bytes > 0);
        if (beside) {
            unlink(run.written);
        }
    }
    repository_close(&run.repository);
    br_ring_close(run.ring);
    return error;
}

const struct cli_verb cmd_restore = {
    .name = "restore",
    .args = "REPO@POINT TARGET",
    .args_min = 2,
    .args_max = 2,
    .summary = "Write a recovery point onto a file, a device or a pipe.",
    .description =
        "POINT is latest, latest~N (the Nth before it), the first digits of an id as `blkrep points` shows it, or a time: the newest point that was "
        "taken then or before. TARGET is a file, made when it is missing, a block device at least as large as the volume, or - for standard output.\n\n"
        "Every block is proven to be what the source held before it is written, and all is durable when the exit status is 0. A block that is "
        "missing or damaged ends the restore, named by its offset. A target that holds something is refused without --overwrite; a mounted or "
        "held one always. Zeros become holes of a file; what lies behind the volume's end on a larger device is left alone.",
    .options = restore_options,
    .examples = restore_examples,
    .see_also = "blkrep-points(1), blkrep-backup(1), blkrep-errors(7)",
    .schema = "blkrep.restore/1",
    .fields = restore_fields,
    .run = restore_run,
};
