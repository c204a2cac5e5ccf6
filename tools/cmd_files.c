// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/files/copy.h"
#include "tools/files/source.h"

#define FILES_PARTITION                                                                                                             \
    {                                                                                                                               \
        "partition", CLI_NUMBER, "N",                                                                                               \
            "Of a whole disk the partition, as its table counts them; 0 the disk itself. Default: the only one with a file system." \
    }
#define FILES_NO_MOUNT                                                                                                             \
    {                                                                                                                              \
        "no-mount", CLI_FLAG, NULL,                                                                                                \
            "Also as root read ext2, ext3 and ext4 by libext2fs alone, and nothing else: no kernel looks at what the point holds." \
    }
#define FILES_VOLUME                                                                                                                                                    \
    {                                                                                                                                                                   \
        "volume", CLI_TEXT, "VOLUME",                                                                                                                                   \
            "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid." \
    }

static const struct cli_option files_ls_options[] = {
    FILES_PARTITION, FILES_NO_MOUNT, FILES_VOLUME, REPOSITORY_OPTIONS, {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_option files_get_options[] = {
    FILES_PARTITION,
    FILES_NO_MOUNT,
    {"recursive", CLI_FLAG, NULL, "Of a folder all that is below it, into the new folder FILE."},
    {"overwrite", CLI_FLAG, NULL, "Replace FILE when it is there; a folder never is."},
    FILES_VOLUME,
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example files_ls_examples[] = {
    {"blkrep files ls /backup/repo@latest:/ --volume fs.img", "What is in the root of the file system."},
    {NULL, NULL},
};

static const struct cli_example files_get_examples[] = {
    {"blkrep files get /backup/repo@latest:/etc/fstab - --volume fs.img", "One file, to standard output."},
    {"blkrep files get /backup/repo@latest:/etc /backup/etc --recursive --volume fs.img",
     "A folder with all below it."},
    {NULL, NULL},
};

#define FILES_SOURCE_FIELDS                                                                         \
    {"repository", "text", "Its path."}, {"point", "text|null", "The id of the point."},            \
        {"partition", "number|null", "Which was read; 0 the whole disk."},                          \
        {"filesystem", "text|null", "Its type, as libblkid names it."},                             \
        {"mounted", "boolean", "It was read through a mount, else by libext2fs."},                  \
    {                                                                                               \
        "journal_pending", "boolean",                                                               \
            "It was in use: its journal, which is not replayed, holds what is newer than the rest." \
    }

static const struct cli_field files_ls_fields[] = {
    FILES_SOURCE_FIELDS,
    {"entries", "number", "How many were printed."},
    {"failed", "number", "How many could not be read; each is a warning."},
    {NULL, NULL, NULL},
};

static const struct cli_field files_get_fields[] = {
    FILES_SOURCE_FIELDS,
    {"target", "text|null", "Where it went; - is standard output."},
    {"size_bytes", "number", "Of the file, of all files of a folder."},
    {"copied", "number", "Files and folders, links and the like that are there now."},
    {"failed", "number", "Those below a folder that are not, or not as they were; each is a warning."},
    {"skipped", "number", "Devices that only root can make; each is a warning."},
    {NULL, NULL, NULL},
};

static const struct cli_field files_entry_fields[] = {
    {"name", "text", "Quoted as C does when it is no plain text."},
    {"kind", "text", "file, directory, symlink, fifo, socket, character-device or block-device."},
    {"mode", "text", "Permissions, octal."},
    {"uid", "number", "Owner."},
    {"gid", "number", "Group."},
    {"size_bytes", "number", "Of its content."},
    {"mtime_unix", "number", "Last change of its content, seconds since 1970."},
    {"target", "text|null", "Of a symlink."},
    {NULL, NULL, NULL},
};

static const struct cli_line files_ls_lines[] = {
    {"entry", "For each entry.", files_entry_fields},
    {NULL, NULL, NULL},
};

struct files_run {
    struct cli *cli;
    struct files_source source;
    // ls
    uint64_t entries;
    uint64_t failed;
    struct br_err first; // why the first one of them did
    // get
    char target[PATH_MAX + 32];
    char written[PATH_MAX + 64]; // beside, until it is whole
    struct copy_counts counts;
};

// ls ----------------------------------------------------------------------------------------------------------------------------------

static const struct {
    mode_t type;
    char letter;
    const char *name;
} kinds[] = {
    {S_IFREG, '-', "file"},         {S_IFDIR, 'd', "directory"}, {S_IFLNK, 'l', "symlink"},
    {S_IFIFO, 'p', "fifo"},         {S_IFSOCK, 's', "socket"},   {S_IFCHR, 'c', "character-device"},
    {S_IFBLK, 'b', "block-device"}, {0, '?', "unknown"},
};

static size_t kind_of(mode_t mode)
{
    size_t i = 0;

    while (kinds[i].type && kinds[i].type != (mode & S_IFMT)) {
        i++;
    }
    return i;
}

static void entry_event(const struct cli *cli, const struct tree_entry *entry)
{
    json_t *event = json_object();
    char mode[16];

    snprintf(mode, sizeof(mode), "%04o", entry->mode & 07777u);
    json_object_set_new(event, "type", json_string("entry"));
    json_object_set_new(event, "name", cli_json_text(entry->name));
    json_object_set_new(event, "kind", json_string(kinds[kind_of(entry->mode)].name));
    json_object_set_new(event, "mode", json_string(mode));
    json_object_set_new(event, "uid", json_integer(entry->uid));
    json_object_set_new(event, "gid", json_integer(entry->gid));
    json_object_set_new(event, "size_bytes", json_integer((json_int_t)entry->size_bytes));
    json_object_set_new(event, "mtime_unix", json_integer(entry->mtime_s));
    json_object_set_new(event, "target", S_ISLNK(entry->mode) ? cli_json_text(entry->target) : json_null());
    cli_event(cli, event);
}

static int print_entry(void *ctx, const struct tree_entry *entry, const struct br_err *bad)
{
    struct files_run *run = ctx;
    char name[4 * sizeof(entry->name) + 3], target[2048], size[32], time[40];

    if (cli_cancel) {
        return br_err_set(&run->first, BR_E_CANCELLED, "listing a folder");
    }
    if (bad) {
        run->first = run->failed++ ? run->first : *bad;
        cli_warn(run->cli, "%s", bad->text);
        return 0;
    }
    run->entries++;
    if (run->cli->json) {
        entry_event(run->cli, entry);
        return 0;
    }
    br_quote(entry->name, name, sizeof(name));
    br_quote(entry->target, target, sizeof(target));
    cli_bytes(run->cli, entry->size_bytes, size, sizeof(size));
    br_time_text(entry->mtime_s < 0 ? 0 : (uint64_t)entry->mtime_s * BR_NS_PER_S, time, sizeof(time));
    cli_print(run->cli, "%c%04o %6u %6u %10s  %s  %s%s%s", kinds[kind_of(entry->mode)].letter, entry->mode & 07777u,
              entry->uid, entry->gid, size, time, name, S_ISLNK(entry->mode) ? " -> " : "",
              S_ISLNK(entry->mode) ? target : "");
    return 0;
}

static int files_ls_run(struct cli *cli, struct br_err *reterr)
{
    struct files_run run = {.cli = cli};
    struct tree_entry entry = {0};
    const struct tree *tree = &run.source.tree;
    const char *path = run.source.path;
    int error = files_source_open(cli, cli->args[0], &run.source, reterr);

    error = error ? error : tree_find(tree, path, false, &entry, reterr);
    if (!error) {
        error = S_ISDIR(entry.mode) ? tree_list(tree, path, &entry, print_entry, &run, reterr)
                                    : print_entry(&run, &entry, NULL);
    }
    if (run.first.code && (!error || error == -run.first.code)) {
        *reterr = run.first;
        error = -run.first.code;
    }
    files_source_close(cli, &run.source);
    cli_report_number(cli, "entries", run.entries);
    cli_report_number(cli, "failed", run.failed);
    return error;
}

// get ---------------------------------------------------------------------------------------------------------------------------------

#define GET_BESIDE ".blkrep-get"

// A name of the file system's is one of this folder; nothing is written through a link.
static int get_target(struct files_run *run, const struct tree_entry *entry, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    bool folder = S_ISDIR(entry->mode);
    struct stat st;

    snprintf(run->target, sizeof(run->target), "%s", cli->arg_count > 1 ? cli->args[1] : entry->name);
    if (!*run->target) {
        return br_err_set(reterr, BR_E_USAGE, "what is FILE to be? The root of a file system has no name");
    }
    if (!strcmp(run->target, "-")) {
        return folder ? br_err_set(reterr, BR_E_USAGE, "a folder does not go to standard output") : 0;
    }
    for (size_t len = strlen(run->target); folder && len > 1 && run->target[len - 1] == '/';) {
        run->target[--len] = 0;
    }
    if (strlen(run->target) + sizeof(GET_BESIDE) > PATH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a path that is too long");
    }
    if (!lstat(run->target, &st) && (folder || !cli_flag(cli, "overwrite") || !S_ISREG(st.st_mode))) {
        return br_err_set(reterr, BR_E_EXISTS,
                          folder                ? "%s is there; a folder is made anew, and never merged with another"
                          : S_ISREG(st.st_mode) ? "%s is there; --overwrite replaces it"
                                                : "%s is there, and no regular file",
                          run->target);
    }
    snprintf(run->written, sizeof(run->written), "%s%s", run->target, GET_BESIDE);
    return 0;
}

// It gets its name when it is whole.
static int get_name(struct files_run *run, struct br_err *reterr)
{
    unsigned flags = cli_flag(run->cli, "overwrite") ? 0 : RENAME_NOREPLACE;

    return renameat2(AT_FDCWD, run->written, AT_FDCWD, run->target, flags)
               ? br_err_os(reterr, errno, "naming %s", run->target)
               : 0;
}

static int get_file(struct files_run *run, const struct tree_entry *entry, struct br_err *reterr)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = entry->mtime_s, .tv_nsec = (long)entry->mtime_ns}};
    bool beside = run->written[0];
    int fd = STDOUT_FILENO;

    if (beside) {
        unlink(run->written);
        fd = open(run->written, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0) {
        return br_err_os(reterr, errno, "making %s", run->written);
    }
    int error = copy_content(&run->source.tree, run->source.path, entry, fd, beside, reterr);
    if (beside) {
        if (!error && (fchmod(fd, entry->mode & 0777u) || futimens(fd, times) || fsync(fd))) {
            error = br_err_os(reterr, errno, "writing %s", run->target);
        }
        close(fd);
        error = error ? error : get_name(run, reterr);
        if (error) {
            unlink(run->written);
        }
    }
    run->counts.entries += !error;
    run->counts.size_bytes = entry->size_bytes;
    return error;
}

static void get_told(void *ctx, const char *path, bool skipped, const struct br_err *why)
{
    struct files_run *run = ctx;
    char shown[512];

    br_quote(path, shown, sizeof(shown));
    cli_warn(run->cli, "%s %s: %s", shown, skipped ? "is left out" : "failed", why->text);
}

static int get_folder(struct files_run *run, const struct tree_entry *entry, struct br_err *reterr)
{
    struct br_err first;
    int error = copy_folder(&run->source.tree, run->source.path, entry, run->written, get_told, run, &run->counts,
                            &first, reterr);

    if (error == -BR_E_EXISTS) {
        return br_err_prefix(reterr, "a run that was killed left it, remove it");
    }
    if (!error && (error = get_name(run, reterr))) {
        return br_err_prefix(reterr, "all of it came, and stays in %s", run->written);
    }
    if (!error && first.code) {
        *reterr = first;
        error =
            br_err_prefix(reterr, "%llu of what is in it failed, the first", (unsigned long long)run->counts.failed);
    }
    return error;
}

static int get_entry(struct files_run *run, const struct tree_entry *entry, struct br_err *reterr)
{
    char shown[512];
    bool folder = S_ISDIR(entry->mode);

    br_quote(run->source.path, shown, sizeof(shown));
    if (!S_ISREG(entry->mode) && !(folder && cli_flag(run->cli, "recursive"))) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s is a %s: get takes regular files%s", shown,
                          kinds[kind_of(entry->mode)].name, folder ? ", and folders with --recursive" : " and folders");
    }
    int error = get_target(run, entry, reterr);

    return error ? error : folder ? get_folder(run, entry, reterr) : get_file(run, entry, reterr);
}

static int files_get_run(struct cli *cli, struct br_err *reterr)
{
    struct files_run run = {.cli = cli};
    struct tree_entry entry = {0};
    bool to_stdout = cli->arg_count > 1 && !strcmp(cli->args[1], "-");

    if (to_stdout && cli->json) {
        return br_err_set(reterr, BR_E_USAGE, "--json and data both want standard output");
    }
    int error = files_source_open(cli, cli->args[0], &run.source, reterr);
    error = error ? error : tree_find(&run.source.tree, run.source.path, true, &entry, reterr);
    // The name that was asked for, not the one that a link led to.
    error = error ? error : get_entry(&run, &entry, reterr);
    if (!error && !to_stdout) {
        char shown[512], size[32];

        br_quote(run.target, shown, sizeof(shown));
        cli_bytes(cli, run.counts.size_bytes, size, sizeof(size));
        cli_print(cli, "%s: %s", shown, size);
    }
    files_source_close(cli, &run.source);
    if (!to_stdout || error) {
        cli_report_text(cli, "target", run.target[0] ? run.target : NULL);
        cli_report_number(cli, "size_bytes", run.counts.size_bytes);
        cli_report_number(cli, "copied", run.counts.entries);
        cli_report_number(cli, "failed", run.counts.failed);
        cli_report_number(cli, "skipped", run.counts.skipped);
    }
    return error;
}

const struct cli_verb cmd_files_ls = {
    .name = "files ls",
    .args = "REPO@POINT:PATH",
    .args_min = 1,
    .args_max = 1,
    .summary = "List files of a recovery point.",
    .description =
        "PATH begins with a slash and is one of the point's file system; symbolic links never lead out of it. A directory is listed, anything else shown. "
        "What can't be read is warned of, and the rest listed.\n\n"
        "Of ext2, ext3 and ext4, on a disk or a partition of it, no root is needed: only the blocks that are wanted are read, and each is proven. "
        "What that does not read right, other file systems (XFS, btrfs, vfat, whatever the kernel mounts) and an ext4 that was in use and has a journal to replay, "
        "root sees by a mount as of `blkrep mount`, where no other process looks and which ends with the command, however it ends. For other users the first are "
        "refused, and of the second the journal is not replayed, with a warning.\n\n"
        "Names that are no plain text are printed quoted, as C does.",
    .options = files_ls_options,
    .examples = files_ls_examples,
    .see_also = "blkrep-files-get(1), blkrep-export(1), blkrep-points(1)",
    .schema = "blkrep.files-ls/1",
    .fields = files_ls_fields,
    .lines = files_ls_lines,
    .run = files_ls_run,
};

const struct cli_verb cmd_files_get = {
    .name = "files get",
    .args = "REPO@POINT:PATH [FILE]",
    .args_min = 1,
    .args_max = 2,
    .summary = "Fetch a file or a folder of a recovery point.",
    .description =
        "As `blkrep files ls` finds it; symbolic links in PATH are followed within the file system. FILE is by default the last part of PATH, in this folder; - is "
        "standard output. It has its permissions (not owner, attributes or set-id bits) and time, zeros become holes, and it gets its name when it is whole: "
        "a block that is missing or damaged leaves none. Devices and fifos are refused, and folders without --recursive.\n\n"
        "With --recursive a folder comes with all below it: permissions, times, symbolic links as they are, hard links, holes, fifos and sockets; when root runs it "
        "also owners, set-id bits and devices, which others are told are left out. Access lists and extended attributes do not come. FILE must not be there; nothing "
        "is merged. What can't be had is a warning each, the rest is fetched, and the exit status is that of the first failure. When it is stopped, or there is no "
        "room, nothing is left.",
    .options = files_get_options,
    .examples = files_get_examples,
    .see_also = "blkrep-files-ls(1), blkrep-restore(1), blkrep-points(1)",
    .schema = "blkrep.files-get/1",
    .fields = files_get_fields,
    .run = files_get_run,
};
