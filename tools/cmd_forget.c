// SPDX-License-Identifier: Apache-2.0
//
// blkrep forget and blkrep adopt: a replica's state follows its bytes only as far as names do. forget drops the state, so that the file or
// device is plain again; adopt takes a replica over whose bytes were moved, copied or restored, after proving every block.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/audit.h"
#include "tools/known.h"
#include "tools/progress.h"
#include "tools/replica_verb.h"

static const struct cli_option forget_options[] = {
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"yes", CLI_FLAG, NULL, "Don't ask; for scripts."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_option adopt_options[] = {
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {"from", CLI_PATH, "DIR",
     "The state to take over: a folder NAME.blkrep or STATE/devices/WWID from where the replica was before. It is copied."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example forget_examples[] = {
    {"blkrep forget /backup/disk.img --yes", "Keep the image, drop what blkrep remembers of it."},
    {NULL, NULL},
};

static const struct cli_example adopt_examples[] = {
    {"blkrep adopt /backup/disk.img", "After the image was moved together with its .blkrep folder."},
    {NULL, NULL},
};

static bool state_file_name(const char *name)
{
    return !strncmp(name, "identity", 8) || !strncmp(name, "tree.", 5) || !strcmp(name, "stage") ||
           !strcmp(name, "stage.cut") || !strncmp(name, "cut.", 4) || !strcmp(name, "lock");
}

static int state_path_of(const struct replica_verb *verb, struct cli *cli, char *path, struct br_err *reterr)
{
    if (!verb->place.object.is_block) {
        snprintf(path, PATH_MAX + 16, "%s.blkrep", verb->place.path);
        return 0;
    }
    char state[PATH_MAX];
    int error = place_state(cli, state, reterr);
    snprintf(path, PATH_MAX + 16, "%.3800s/devices/%s", state, verb->place.object.wwid);
    return error;
}

// Removes what makes it a replica; the volume's own id and what it knows of its replicas, when it is a source too, stay.
static int forget_state(const char *path, struct br_err *reterr)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int error = 0;

    if (!dir) {
        return errno == ENOENT ? 0 : br_err_os(reterr, errno, "opening %s", path);
    }
    while ((entry = readdir(dir))) {
        if (state_file_name(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) && errno != ENOENT) {
            error = br_err_os(reterr, errno, "removing %s/%s", path, entry->d_name);
        }
    }
    if (!error && fsync(dirfd(dir))) {
        error = br_err_os(reterr, errno, "syncing %s", path);
    }
    closedir(dir);
    rmdir(path); // only when it is empty now
    return error;
}

static int forget_run(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    char path[PATH_MAX + 16];
    char question[PATH_MAX + 128];
    int error = audit_ready(cli, reterr);

    if (error) {
        return error;
    }
    error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
    bool damaged = error == -BR_E_CORRUPT; // a record that can't be read can be forgotten all the same
    if (!error && br_replica_identity(verb.replica)->state == BR_STATE_NONE) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that this host knows", verb.place.path);
    }
    if (!error || damaged) {
        snprintf(question, sizeof(question), "The state of %s will be dropped; the next sync to it is a first copy",
                 verb.place.path);
        error = cli_confirm(cli, "forget", question, reterr);
    }
    if (!error) {
        error = state_path_of(&verb, cli, path, reterr);
    }
    if (!error) {
        error = forget_state(path, reterr);
    }
    int known = error ? 0 : known_forget(cli, verb.place.path, reterr);
    if (!error) {
        error = known < 0 ? known : audit_append(cli, "forget", verb.place.path, NULL, reterr);
    }
    if (!error) {
        cli_report_text(cli, "replica", verb.place.path);
        cli_print(cli, "%s: forgotten; its bytes are untouched", verb.place.path);
    }
    replica_verb_close(&verb);
    return error;
}

static int adopt_copy_file(int from_fd, int to_fd, const char *name, struct br_err *reterr)
{
    int in = openat(from_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = openat(to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    char *buffer = malloc(BR_MIB);
    ssize_t got = in >= 0 && out >= 0 && buffer ? 1 : -1;
    int error = 0;

    while (got > 0 && (got = read(in, buffer, BR_MIB)) > 0) {
        if (write(out, buffer, (size_t)got) != got) {
            got = -1;
        }
    }
    if (got < 0 || fsync(out)) {
        error = br_err_os(reterr, errno ? errno : ENOSPC, "copying the state file %s", name);
    }
    free(buffer);
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        close(out);
    }
    return error;
}

static int adopt_take_state(struct cli *cli, const char *from, const char *to, struct br_err *reterr)
{
    DIR *dir = opendir(from);
    struct dirent *entry;
    int error = 0;

    if (!dir) {
        return br_err_os(reterr, errno, "opening %s", from);
    }
    if (mkdir(to, 0700) && errno != EEXIST) {
        error = br_err_os(reterr, errno, "making %s", to);
    }
    int to_fd = error ? -1 : open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!error && to_fd < 0) {
        error = br_err_os(reterr, errno, "opening %s", to);
    }
    if (!error && !faccessat(to_fd, "identity", F_OK, 0)) {
        error = br_err_set(reterr, BR_E_REFUSED, "%s already holds state; blkrep forget it first", to);
    }
    while (!error && (entry = readdir(dir))) {
        if (state_file_name(entry->d_name) && strcmp(entry->d_name, "lock") != 0) {
            error = adopt_copy_file(dirfd(dir), to_fd, entry->d_name, reterr);
        }
    }
    if (!error && fsync(to_fd)) {
        error = br_err_os(reterr, errno, "syncing %s", to);
    }
    if (to_fd >= 0) {
        close(to_fd);
    }
    closedir(dir);
    (void)cli;
    return error;
}

static int adopt_prepare(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    char path[PATH_MAX + 16];
    const char *from = cli_text(cli, "from");

    if (!from) {
        return 0;
    }
    int error = replica_verb_open(cli, cli->args[0], PLACE_LOOK, &verb, reterr);
    if (!error) {
        error = state_path_of(&verb, cli, path, reterr);
    }
    replica_verb_close(&verb);
    return error ? error : adopt_take_state(cli, from, path, reterr);
}

static int adopt_run(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    uint64_t bad_blocks = 0;
    int error = audit_ready(cli, reterr);

    if (!error) {
        error = adopt_prepare(cli, reterr);
    }
    if (error) {
        return error;
    }
    error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
    if (!error) {
        int finished = br_replica_finish(verb.replica, reterr);
        error = finished < 0 ? finished : 0;
    }
    if (!error && br_replica_identity(verb.replica)->state != BR_STATE_COMPLETE) {
        error = br_replica_identity(verb.replica)->state == BR_STATE_NONE
                    ? br_err_set(reterr, BR_E_NOT_FOUND, "%s has no state here; name it with --from", verb.place.path)
                    : br_err_set(reterr, BR_E_INCOMPLETE, "%s", verb.place.path);
    }
    if (!error) {
        error = br_replica_verify(verb.replica, NULL, NULL, &bad_blocks, reterr);
    }
    if (!error) {
        error = audit_append(cli, "adopt", verb.place.path, NULL, reterr);
    }
    if (!error) {
        cli_report_text(cli, "replica", verb.place.path);
        replica_verb_report(cli, br_replica_identity(verb.replica));
        cli_print(cli, "%s: adopted at generation %llu, every block proven", verb.place.path,
                  (unsigned long long)br_replica_identity(verb.replica)->generation.counter);
    }
    replica_verb_close(&verb);
    return error;
}

static const struct cli_field forget_fields[] = {
    {"replica", "text", "Its path."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_forget = {
    .name = "forget",
    .args = "REPLICA",
    .args_min = 1,
    .args_max = 1,
    .summary = "Drop what blkrep remembers of a replica; its bytes stay.",
    .description =
        "The file or device is plain afterwards: no verb knows it as a replica, and the next sync to it is a first copy that "
        "needs --overwrite. A source that recorded it notices and compares anew.",
    .options = forget_options,
    .examples = forget_examples,
    .see_also = "blkrep-adopt(1), blkrep-status(1)",
    .schema = "blkrep.forget/1",
    .fields = forget_fields,
    .run = forget_run,
};

static const struct cli_field adopt_fields[] = {
    {"replica", "text", "Its path."},
    REPLICA_VERB_FIELDS,
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_adopt = {
    .name = "adopt",
    .args = "REPLICA",
    .args_min = 1,
    .args_max = 1,
    .summary = "Take over a replica that was moved, copied or restored.",
    .description =
        "Every block is read and proven against the replica's version tree, then its new place, inode and times are recorded as "
        "those to expect. With --from the state is first copied from where the replica was before (an image moved without its "
        ".blkrep folder, a disk that came from another host). A copy of a replica adopted this way is the same replica twice: "
        "sync to one of them only.",
    .options = adopt_options,
    .examples = adopt_examples,
    .see_also = "blkrep-forget(1), blkrep-verify(1)",
    .schema = "blkrep.adopt/1",
    .fields = adopt_fields,
    .run = adopt_run,
};
