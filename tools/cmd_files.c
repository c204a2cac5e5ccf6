// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/repo/access.h"
#include "tools/files/ext.h"
#include "tools/files/layout.h"
#include "tools/files/word.h"
#include "tools/repository.h"

#define FILES_PARTITION                                                                                                             \
    {                                                                                                                               \
        "partition", CLI_NUMBER, "N",                                                                                               \
            "Of a whole disk the partition, as its table counts them; 0 the disk itself. Default: the only one with a file system." \
    }
#define FILES_VOLUME                                                                                                                                                    \
    {                                                                                                                                                                   \
        "volume", CLI_TEXT, "VOLUME",                                                                                                                                   \
            "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid." \
    }

static const struct cli_option files_ls_options[] = {
    FILES_PARTITION,
    FILES_VOLUME,
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_option files_get_options[] = {
    FILES_PARTITION,
    {"overwrite", CLI_FLAG, NULL, "Replace FILE when it is there."},
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
    {NULL, NULL},
};

static const struct cli_field files_ls_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"partition", "number|null", "Which was read; 0 the whole disk."},
    {"filesystem", "text|null", "Its type, as libblkid names it."},
    {"journal_pending", "boolean",
     "It was in use: its journal, which is not replayed, holds what is newer than the rest."},
    {"entries", "number", "How many were printed."},
    {NULL, NULL, NULL},
};

static const struct cli_field files_get_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"partition", "number|null", "Which was read; 0 the whole disk."},
    {"filesystem", "text|null", "Its type, as libblkid names it."},
    {"journal_pending", "boolean",
     "It was in use: its journal, which is not replayed, holds what is newer than the rest."},
    {"target", "text|null", "Where it went; - is standard output."},
    {"size_bytes", "number", "Of the file."},
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
    struct br_ring *ring;
    struct repository repository;
    struct br_point point;
    struct br_access *access;
    const struct layout_part *part;
    struct layout layout;
    struct ext *ext;
    char path[PATH_MAX]; // in the file system
    uint64_t entries;
    uint64_t size_bytes;
    // get
    char target[PATH_MAX + 32];
    char written[PATH_MAX + 64]; // beside, until it is whole
    int fd;
    bool sparse; // zeros are left out: a file
    uint64_t at_bytes;
    struct br_err err; // of writing
};

// Opening -----------------------------------------------------------------------------------------------------------------------------

static int files_open(struct files_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    char repo[PATH_MAX], point[256], left[PATH_MAX];
    int number = cli_text(cli, "partition") ? (int)BR_MIN(cli_number(cli, "partition", 0), 100000u) : -1;
    int error = files_word(cli->args[0], left, run->path, reterr);

    error = error ? error : repository_word(left, repo, point, reterr);
    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest:/ is the newest", repo, repo);
    }
    error = error ? error : place_ring(cli, &run->ring, reterr);
    error = error ? error : repository_open(cli, run->ring, repo, true, &run->repository, reterr);
    error = error ? error : repository_point(cli, &run->repository, point, &run->point, reterr);
    error = error ? error : br_access_open(run->repository.repo, &run->point, &run->access, reterr);
    error = error ? error : layout_of(run->access, &run->layout, reterr);
    error = error ? error : layout_pick(&run->layout, number, &run->part, reterr);
    if (!error && !layout_is_ext(run->part)) {
        error = br_err_set(
            reterr, BR_E_UNSUPPORTED,
            "partition %d holds %s: single files are had of ext2, ext3 and ext4; root can mount others (blkrep mount)",
            run->part->number, run->part->type[0] ? run->part->type : "nothing known");
    }
    error = error ? error : ext_open(run->access, run->part->offset_bytes, run->part->size_bytes, &run->ext, reterr);
    if (!error && ext_needs_journal(run->ext)) {
        cli_warn(
            cli,
            "the file system was in use: its journal is not replayed, so that what was changed last may be missing or half there; blkrep mount replays it");
    }
    return error;
}

static void files_close(struct files_run *run)
{
    struct cli *cli = run->cli;
    char id[BR_UUID_TEXT_BYTES];

    br_uuid_text(&run->point.id, id);
    cli_report_text(cli, "repository", run->repository.path[0] ? run->repository.path : cli->args[0]);
    cli_report_text(cli, "point", br_uuid_is_nil(&run->point.id) ? NULL : id);
    cli_report_json(cli, "partition", run->part ? json_integer(run->part->number) : json_null());
    cli_report_text(cli, "filesystem", run->part ? run->part->type : NULL);
    cli_report_bool(cli, "journal_pending", run->ext && ext_needs_journal(run->ext));
    ext_close(run->ext);
    br_access_close(run->access);
    repository_close(&run->repository);
    br_ring_close(run->ring);
}

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

static void entry_event(const struct cli *cli, const struct ext_entry *entry)
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

static int print_entry(void *ctx, const struct ext_entry *entry)
{
    struct files_run *run = ctx;
    char name[4 * sizeof(entry->name) + 3], target[2048], size[32], time[40];

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
    struct files_run run = {.cli = cli, .fd = -1};
    struct ext_entry entry = {0};
    int error = files_open(&run, reterr);

    error = error ? error : ext_find(run.ext, run.path, false, &entry, reterr);
    if (!error) {
        error =
            S_ISDIR(entry.mode) ? ext_list(run.ext, entry.inode, print_entry, &run, reterr) : print_entry(&run, &entry);
    }
    files_close(&run);
    cli_report_number(cli, "entries", run.entries);
    return error;
}

// get ---------------------------------------------------------------------------------------------------------------------------------

#define GET_BESIDE ".blkrep-get"

static int get_open(struct files_run *run, const struct ext_entry *entry, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    struct stat st;

    snprintf(run->target, sizeof(run->target), "%s", cli->arg_count > 1 ? cli->args[1] : entry->name);
    if (!strcmp(run->target, "-")) {
        run->fd = STDOUT_FILENO;
        return 0;
    }
    // A name of the file system's is one of this folder; nothing is written through a link.
    if (strlen(run->target) + sizeof(GET_BESIDE) > PATH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a path that is too long");
    }
    if (!lstat(run->target, &st) && (!cli_flag(cli, "overwrite") || !S_ISREG(st.st_mode))) {
        return br_err_set(reterr, BR_E_EXISTS,
                          S_ISREG(st.st_mode) ? "%s is there; --overwrite replaces it"
                                              : "%s is there, and no regular file",
                          run->target);
    }
    snprintf(run->written, sizeof(run->written), "%s%s", run->target, GET_BESIDE);
    unlink(run->written);
    run->fd = open(run->written, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    run->sparse = true;
    return run->fd < 0 ? br_err_os(reterr, errno, "making %s", run->written) : 0;
}

static int get_write(void *ctx, const uint8_t *bytes, size_t len)
{
    struct files_run *run = ctx;

    if (cli_cancel) {
        return br_err_set(&run->err, BR_E_CANCELLED, "reading a file");
    }
    while (len) {
        size_t piece = BR_MIN(len, (size_t)65536);
        ssize_t put = (ssize_t)piece;

        if (!run->sparse) {
            put = write(run->fd, bytes, piece);
        } else if (!br_is_zero(bytes, piece)) {
            put = pwrite(run->fd, bytes, piece, (off_t)run->at_bytes);
        }
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return br_err_os(&run->err, errno, "writing %s", run->target);
        }
        run->at_bytes += (uint64_t)put;
        bytes += put;
        len -= (size_t)put;
    }
    return 0;
}

// It gets its name when it is whole.
static int get_finish(struct files_run *run, const struct ext_entry *entry, struct br_err *reterr)
{
    unsigned flags = cli_flag(run->cli, "overwrite") ? 0 : RENAME_NOREPLACE;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = entry->mtime_s}};

    if (!run->sparse) {
        return 0;
    }
    if (ftruncate(run->fd, (off_t)run->at_bytes) || fchmod(run->fd, entry->mode & 0777u) || futimens(run->fd, times) ||
        fsync(run->fd) || renameat2(AT_FDCWD, run->written, AT_FDCWD, run->target, flags)) {
        return br_err_os(reterr, errno, "writing %s", run->target);
    }
    run->written[0] = 0;
    return 0;
}

static int get_file(struct files_run *run, const struct ext_entry *entry, struct br_err *reterr)
{
    char shown[512];

    br_quote(run->path, shown, sizeof(shown));
    if (!S_ISREG(entry->mode)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s is a %s: get takes regular files", shown,
                          kinds[kind_of(entry->mode)].name);
    }
    int error = get_open(run, entry, reterr);
    error = error ? error : ext_read(run->ext, entry->inode, get_write, run, reterr);
    if (error && run->err.code) {
        *reterr = run->err;
    }
    if (!error && run->at_bytes != entry->size_bytes) {
        error = br_err_set(reterr, BR_E_CORRUPT, "%s is shorter than its size", shown);
    }
    run->size_bytes = entry->size_bytes;
    error = error ? error : get_finish(run, entry, reterr);
    if (run->sparse && run->fd >= 0) {
        close(run->fd);
        if (run->written[0]) {
            unlink(run->written);
        }
    }
    return error;
}

static int files_get_run(struct cli *cli, struct br_err *reterr)
{
    struct files_run run = {.cli = cli, .fd = -1};
    struct ext_entry entry = {0};
    bool to_stdout = cli->arg_count > 1 && !strcmp(cli->args[1], "-");

    if (to_stdout && cli->json) {
        return br_err_set(reterr, BR_E_USAGE, "--json and data both want standard output");
    }
    int error = files_open(&run, reterr);
    error = error ? error : ext_find(run.ext, run.path, true, &entry, reterr);
    // The name that was asked for, not the one that a link led to.
    const char *slash = strrchr(run.path, '/');
    if (!error) {
        snprintf(entry.name, sizeof(entry.name), "%s", slash + 1);
        error = get_file(&run, &entry, reterr);
    }
    if (!error && !to_stdout) {
        char shown[512], size[32];

        br_quote(run.target, shown, sizeof(shown));
        cli_bytes(cli, run.size_bytes, size, sizeof(size));
        cli_print(cli, "%s: %s", shown, size);
    }
    files_close(&run);
    if (!to_stdout || error) {
        cli_report_text(cli, "target", run.target[0] ? run.target : NULL);
        cli_report_number(cli, "size_bytes", run.size_bytes);
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
        "Works for ext2, ext3 and ext4, on a disk or a partition of it, without root: only the blocks that are needed are read, and each is proven. "
        "The journal of a file system that was in use is not replayed; that is said. For other file systems see `blkrep mount`.\n\n"
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
    .summary = "Fetch a single file of a recovery point.",
    .description =
        "As `blkrep files ls` finds it; symbolic links are followed within the file system. FILE is by default the last part of PATH, in this folder; - is "
        "standard output. It has its permissions (not owner, attributes or set-id bits) and time, zeros become holes, and it gets its name when it is whole: "
        "a block that is missing or damaged leaves none. Devices, fifos and directories are refused.",
    .options = files_get_options,
    .examples = files_get_examples,
    .see_also = "blkrep-files-ls(1), blkrep-restore(1), blkrep-points(1)",
    .schema = "blkrep.files-get/1",
    .fields = files_get_fields,
    .run = files_get_run,
};
