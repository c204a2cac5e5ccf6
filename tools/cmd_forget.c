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
#include "tools/volume/view.h"

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

// Removes what makes it a replica; the volume's own id and what it knows of its replicas, when it is a source too, stay.
static int forget_state(const char *path, struct br_err *reterr)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int error = 0;

    if (!dir) {
        return errno == ENOENT ? 0 : br_err_os(reterr, errno, "opening %s", path);
    }
    // The identity record goes first: without it the rest is nobody's, wherever this is cut.
    if (unlinkat(dirfd(dir), "identity", 0) && errno != ENOENT) {
        error = br_err_os(reterr, errno, "removing %s/identity", path);
    }
    while (!error && (entry = readdir(dir))) {
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

// Marks and snapshots that attached volumes keep for it. They cost room and speed only, so what fails is a warning.
static void forget_marks(struct cli *cli, const struct br_uuid *replica)
{
    struct br_err err = {0};
    int error = br_uuid_is_nil(replica) ? 0 : view_forget(cli, replica, &err);

    if (error) {
        cli_warn(cli, "marks of it on attached volumes could not be dropped: %s: %s", br_err_message(-error), err.text);
    }
}

// The same for each replica of that name that this host noted.
static void forget_known_marks(struct cli *cli, const char *name)
{
    struct br_err err;
    json_t *known;
    const json_t *entry;
    size_t i;

    if (known_list(cli, &known, &err)) {
        return;
    }
    json_array_foreach(known, i, entry)
    {
        const char *replica = json_string_value(json_object_get(entry, "replica"));
        const char *text = json_string_value(json_object_get(entry, "replica_uuid"));
        struct br_uuid uuid;
        if (replica && text && !strcmp(replica, name) && br_uuid_parse(text, &uuid)) {
            forget_marks(cli, &uuid);
        }
    }
    json_decref(known);
}

static int forget_done(struct cli *cli, const char *name, const char *what_stays, struct br_err *reterr)
{
    int error = audit_append(cli, "forget", name, NULL, reterr);

    if (!error) {
        cli_report_text(cli, "replica", name);
        cli_print(cli, "%s: forgotten; %s", name, what_stays);
    }
    return error;
}

// A replica that is gone, or on another host: only what this host noted of it can be dropped.
static int forget_note(struct cli *cli, const char *name, struct br_err *reterr)
{
    char question[PLACE_NAME_BYTES + 128];
    int known = known_count(cli, name, reterr);

    if (known == 0) {
        return name[0] == '/'
                   ? br_err_set(reterr, BR_E_NOT_FOUND, "the replica %s", name)
                   : br_err_set(reterr, BR_E_NOT_FOUND, "nothing is noted of %s here; run blkrep forget there", name);
    }
    snprintf(question, sizeof(question), "What this host noted of %s will be dropped", name);
    int error = known < 0 ? known : cli_confirm(cli, "forget", question, reterr);
    if (!error) {
        forget_known_marks(cli, name);
        known = known_forget(cli, name, reterr);
        error = known < 0 ? known : forget_done(cli, name, "only what this host noted of it is gone", reterr);
    }
    return error;
}

static int forget_replica(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    char question[PATH_MAX + 128];
    int error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
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
        error = forget_state(verb.place.side, reterr);
    }
    if (!error) {
        if (damaged) {
            forget_known_marks(cli, verb.place.path);
        } else {
            forget_marks(cli, &br_replica_identity(verb.replica)->replica);
        }
        int known = known_forget(cli, verb.place.path, reterr);
        error = known < 0 ? known : forget_done(cli, verb.place.path, "its bytes are untouched", reterr);
    }
    replica_verb_close(&verb);
    return error;
}

static int forget_run(struct cli *cli, struct br_err *reterr)
{
    char name[PLACE_NAME_BYTES];
    int error = place_name(cli, cli->args[0], "replica", name, reterr);

    error = error ? error : audit_ready(cli, reterr);
    if (error) {
        return error;
    }
    return name[0] != '/' || access(name, F_OK) ? forget_note(cli, name, reterr) : forget_replica(cli, reterr);
}

// Whatever was there of the same name is no state: there is no identity record.
static int adopt_copy_file(int from_fd, int to_fd, const char *name, struct br_err *reterr)
{
    int in = openat(from_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = in < 0 ? -1 : openat(to_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    char *buffer = malloc(BR_MIB);
    ssize_t got = in >= 0 && out >= 0 && buffer ? 1 : -1;
    int error = 0;

    while (got > 0 && (got = read(in, buffer, BR_MIB)) > 0) {
        ssize_t put = write(out, buffer, (size_t)got);
        if (put != got) {
            errno = put < 0 ? errno : ENOSPC;
            got = -1;
        }
    }
    if (got < 0 || fsync(out)) {
        error = br_err_os(reterr, errno, "copying the state file %s", name);
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

// The identity record comes last: without it the rest is nobody's, and a copy that failed can be made again.
static int adopt_copy_state(DIR *from, int to_fd, struct br_err *reterr)
{
    struct dirent *entry;
    int error = 0;

    while (!error && (entry = readdir(from))) {
        const char *name = entry->d_name;
        if (state_file_name(name) && strcmp(name, "lock") != 0 && strcmp(name, "identity") != 0) {
            error = adopt_copy_file(dirfd(from), to_fd, name, reterr);
        }
    }
    if (!error && fsync(to_fd)) {
        error = br_err_os(reterr, errno, "making the copied state durable");
    }
    error = error ? error : adopt_copy_file(dirfd(from), to_fd, "identity", reterr);
    if (error) {
        unlinkat(to_fd, "identity", 0);
    } else if (fsync(to_fd)) {
        error = br_err_os(reterr, errno, "making the copied state durable");
    }
    return error;
}

static int adopt_take_state(const char *from, const struct place *place, struct br_err *reterr)
{
    DIR *dir = opendir(from);

    if (!dir) {
        return br_err_os(reterr, errno, "opening %s", from);
    }
    int to_fd = open(place->side, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = to_fd < 0 ? br_err_os(reterr, errno, "opening %s", place->side) : 0;
    if (!error && faccessat(dirfd(dir), "identity", F_OK, 0)) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "%s holds no state of a replica (no file identity)", from);
    }
    if (!error && !faccessat(to_fd, "identity", F_OK, 0)) {
        error = br_err_set(reterr, BR_E_REFUSED, "%s already holds state; blkrep forget it first", place->side);
    }
    error = error ? error : adopt_copy_state(dir, to_fd, reterr);
    if (to_fd >= 0) {
        close(to_fd);
    }
    closedir(dir);
    return error;
}

// With --from: the state is copied before the replica is opened with it.
static int adopt_prepare(struct cli *cli, bool *ret_copied, struct br_err *reterr)
{
    struct place_address address;
    struct br_ring *ring = NULL;
    struct place place = {.look_fd = -1};
    const char *from = cli_text(cli, "from");
    int error = from ? place_resolve(cli, cli->args[0], "replica", &address, reterr) : 0;

    *ret_copied = false;
    if (error || !from || address.remote || access(address.path, F_OK)) {
        return error; // what else is wrong is told by replica_verb_open()
    }
    error = place_ring(cli, &ring, reterr);
    if (!error) {
        error = place_open(cli, ring, address.path, PLACE_TARGET, &place, reterr);
    }
    if (!error) {
        error = br_dir_lock(place.dir, "lock", reterr);
    }
    if (!error) {
        error = adopt_take_state(from, &place, reterr);
        *ret_copied = !error;
    }
    place_close(&place, error != 0);
    br_ring_close(ring);
    return error;
}

static int adopt_prove(struct replica_verb *verb, struct br_err *reterr)
{
    uint64_t bad_blocks = 0;
    int finished = br_replica_finish(verb->replica, reterr);

    if (finished < 0) {
        return finished;
    }
    switch (br_replica_identity(verb->replica)->state) {
    case BR_STATE_COMPLETE:
        finished = br_replica_verify(verb->replica, NULL, NULL, &bad_blocks, reterr);
        return finished == -BR_E_GAPS ? 0 : finished;
    case BR_STATE_NONE:
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s has no state here; name it with --from", verb->place.path);
    default: return br_err_set(reterr, BR_E_INCOMPLETE, "%s", verb->place.path);
    }
}

// State that was copied for bytes which are not what it says goes again; what a delta was being written over keeps it.
static void adopt_undo(const struct replica_verb *verb)
{
    struct br_err err = {0};

    if (verb->replica && br_replica_identity(verb->replica)->state != BR_STATE_APPLYING) {
        (void)forget_state(verb->place.side, &err); // the copy's original is where it was
    }
}

static int adopt_run(struct cli *cli, struct br_err *reterr)
{
    struct replica_verb verb;
    bool copied = false;
    int error = audit_ready(cli, reterr);

    if (!error) {
        error = adopt_prepare(cli, &copied, reterr);
    }
    if (error) {
        return error;
    }
    error = replica_verb_open(cli, cli->args[0], PLACE_TARGET, &verb, reterr);
    if (!error) {
        error = adopt_prove(&verb, reterr);
    }
    if (!error) {
        error = audit_append(cli, "adopt", verb.place.path, NULL, reterr);
    }
    if (!error) {
        cli_report_text(cli, "replica", verb.place.path);
        replica_verb_report(cli, br_replica_identity(verb.replica));
        cli_print(cli, "%s: adopted at generation %llu, every block proven", verb.place.path,
                  (unsigned long long)br_replica_identity(verb.replica)->generation.counter);
    } else if (copied) {
        adopt_undo(&verb);
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
        "needs --overwrite. A source that recorded it notices and compares anew.\n\n"
        "Of a replica that is gone, or on another host, what this host noted for `blkrep status` is dropped. Marks and "
        "snapshots that attached volumes keep for the replica go in each case.",
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
