// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/files/mount.h"
#include "tools/nbdkit/process.h"
#include "tools/notify.h"

static const struct cli_option mount_options[] = {
    {"partition", CLI_NUMBER, "N",
     "Of a whole disk only this partition, on DIR itself. Default: each one that has a file system, on DIR/N."},
    {"writable", CLI_FLAG, NULL,
     "Allow writing. What is written lies in a temporary file ($TMPDIR) and is gone at the end; the point does not change."},
    {"run", CLI_TEXT, "COMMAND",
     "Run COMMAND by sh in DIR, and end with it. Only COMMAND sees the files then, and nothing is left if blkrep is killed."},
    {"unmount", CLI_FLAG, NULL,
     "End the mount on DIR, the only argument then; also take away what mounts left that were killed."},
    {"volume", CLI_TEXT, "VOLUME",
     "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example mount_examples[] = {
    {"blkrep mount /backup/repo@latest /backup/look --volume fs.img --run 'ls etc'", "Look into the newest point."},
    {NULL, NULL},
};

static const struct cli_field mount_fields[] = {
    {"repository", "text|null", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"dir", "text", "Where the files are."},
    {"filesystems", "number", "How many were mounted."},
    {NULL, NULL, NULL},
};

static const struct cli_field mount_ready_fields[] = {
    {"dir", "text", "Where the files are."},
    {"partitions", "boolean", "DIR/N is partition N; else DIR is the file system."},
    {"filesystems", "number", "How many are mounted."},
    {NULL, NULL, NULL},
};

static const struct cli_line mount_lines[] = {
    {"ready", "The files are there now.", mount_ready_fields},
    {NULL, NULL, NULL},
};

static int mount_dir(const char *given, char dir[PATH_MAX], struct br_err *reterr)
{
    DIR *folder = realpath(given, dir) ? opendir(dir) : NULL;
    const struct dirent *entry;
    bool empty = true;

    if (!folder) {
        return br_err_os(reterr, errno, "opening %s", given);
    }
    while ((entry = readdir(folder))) {
        empty = empty && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."));
    }
    closedir(folder);
    return empty ? 0 : br_err_set(reterr, BR_E_REFUSED, "%s is not empty", given);
}

static void mount_ready(const struct cli *cli, const struct point_mount *mount)
{
    json_t *event = json_object();

    json_object_set_new(event, "type", json_string("ready"));
    json_object_set_new(event, "dir", cli_json_text(mount->dir));
    json_object_set_new(event, "partitions", json_boolean(mount->table));
    json_object_set_new(event, "filesystems", json_integer((json_int_t)mount->count));
    cli_event(cli, event);
    if (!cli->json && !cli_text(cli, "run")) {
        cli_print(cli, "READY %s", mount->dir);
        fflush(stdout);
    }
    notify("READY=1");
}

static int mount_command(const struct cli *cli, const struct point_mount *mount, struct br_err *reterr)
{
    const char *argv[] = {"sh", "-c", cli_text(cli, "run"), NULL};
    const struct child child = {.argv = argv, .out_fd = cli->json ? -1 : STDOUT_FILENO, .cwd = mount->dir};

    return child_run(&child, 0, reterr);
}

static int mount_serve(struct point_mount *mount, struct br_err *reterr)
{
    while (!cli_cancel) {
        if (!point_mount_alive(mount)) {
            return br_err_set(reterr, BR_E_PEER, "what serves the files ended by itself");
        }
        child_pause(100);
    }
    notify("STOPPING=1");
    return 0;
}

static int mount_end(struct cli *cli, struct br_err *reterr)
{
    char dir[PATH_MAX];

    if (cli->arg_count != 1) {
        return br_err_set(reterr, BR_E_USAGE, "--unmount takes DIR alone");
    }
    // A mount whose server is gone has no real path any more.
    if (!realpath(cli->args[0], dir)) {
        snprintf(dir, sizeof(dir), "%s", cli->args[0]);
    }
    int rc = point_mount_clean(dir, reterr);
    cli_report_text(cli, "repository", NULL);
    cli_report_text(cli, "point", NULL);
    cli_report_text(cli, "dir", dir);
    cli_report_number(cli, "filesystems", 0);
    return rc < 0 ? rc : rc ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "no point is mounted on %s", dir);
}

static int mount_run(struct cli *cli, struct br_err *reterr)
{
    struct point_found found = {.secret_fd = -1};
    struct point_mount mount = {.lock_fd = -1};
    char dir[PATH_MAX] = "";

    if (cli_flag(cli, "unmount")) {
        return mount_end(cli, reterr);
    }
    if (cli->arg_count != 2) {
        return br_err_set(reterr, BR_E_USAGE, "blkrep mount takes REPO@POINT DIR");
    }
    int error = point_mount_clean(NULL, reterr);
    error = error < 0 ? error : mount_dir(cli->args[1], dir, reterr);
    error = error ? error : point_find(cli, cli->args[0], true, &found, reterr);
    const struct point_mount_params params = {
        .found = &found,
        .dir = dir,
        .partition = cli_text(cli, "partition") ? (int)BR_MIN(cli_number(cli, "partition", 0), 100000u) : -1,
        .writable = cli_flag(cli, "writable"),
        .alone = cli_text(cli, "run") != NULL,
    };
    error = error ? error : point_mount_open(cli, &params, &mount, reterr);
    size_t count = mount.count;
    if (!error) {
        mount_ready(cli, &mount);
        error = params.alone ? mount_command(cli, &mount, reterr) : mount_serve(&mount, reterr);
    }
    point_mount_close(&mount);
    point_found_free(&found);
    point_report(cli, &found);
    cli_report_text(cli, "dir", dir);
    cli_report_number(cli, "filesystems", count);
    return error;
}

const struct cli_verb cmd_mount = {
    .name = "mount",
    .args = "REPO@POINT DIR",
    .args_min = 1,
    .args_max = 2,
    .summary = "Make the files of a recovery point visible, without restoring it.",
    .description =
        "Of a file system its files are in DIR, which must be an empty folder; of a disk with partitions those of partition N in DIR/N. Read only unless "
        "--writable; set-id bits and devices count for nothing. The journal of a file system that was in use is replayed as after a power cut, into a "
        "temporary file: nothing is written to the point, in no case. Only what is looked at is read from the repository, and a damaged block is an I/O error; so "
        "is everything while the server of a repository behind `blkrep serve` is gone.\n\n"
        "It runs until a signal or `blkrep mount --unmount DIR`, and prints READY and DIR when the files are there. Needs root, nbdkit, nbdfuse (package "
        "libnbd-bin), FUSE and loop devices; no NBD in the kernel. What a mount leaves that was killed is taken away by the next one.",
    .options = mount_options,
    .examples = mount_examples,
    .see_also = "blkrep-files-get(1), blkrep-export(1), blkrep-restore(1)",
    .schema = "blkrep.mount/1",
    .fields = mount_fields,
    .lines = mount_lines,
    .run = mount_run,
};
