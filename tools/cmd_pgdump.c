// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/files/mount.h"
#include "tools/files/postgresql.h"
#include "tools/files/word.h"

#define PGDUMP_START_SECONDS 600u

static const struct cli_option pgdump_options[] = {
    {"database", CLI_TEXT, "NAME", "Only this database, by pg_dump. Default: all, with roles, by pg_dumpall."},
    {"user", CLI_TEXT, "NAME", "The database's superuser. Default: postgres."},
    {"bin", CLI_PATH, "DIR", "Where the programs of the data's version are. Default: /usr/lib/postgresql/VERSION/bin."},
    {"partition", CLI_NUMBER, "N",
     "Of a whole disk the partition with the data; 0 the disk itself. Default: the only one with a file system."},
    {"volume", CLI_TEXT, "VOLUME",
     "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example pgdump_examples[] = {
    {"blkrep files pgdump /backup/repo@latest:/var/lib/postgresql/15/main --volume pg.img > /backup/dump.sql",
     "All databases, as they were when the point was made."},
    {NULL, NULL},
};

static const struct cli_field pgdump_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"version", "text|null", "Of the data folder."},
    {NULL, NULL, NULL},
};

static int pgdump_dump(const struct cli *cli, const struct point_mount *mount, const char *path, char *version,
                       struct br_err *reterr)
{
    char run_dir[sizeof(mount->run_dir) + 8];
    const struct postgresql_params params = {
        .root = mount->dir,
        .path = path,
        .run_dir = run_dir,
        .database = cli_text(cli, "database"),
        .user = cli_text(cli, "user") ? cli_text(cli, "user") : "postgres",
        .bin = cli_text(cli, "bin"),
        .limit_ms = PGDUMP_START_SECONDS * 1000,
    };

    return point_mount_folder(mount, "server", run_dir, sizeof(run_dir), reterr)
               ? -reterr->code
               : postgresql_dump(&params, version, reterr);
}

static int pgdump_run(struct cli *cli, struct br_err *reterr)
{
    struct point_found found = {.secret_fd = -1};
    struct point_mount mount = {.lock_fd = -1};
    const struct layout_part *part = NULL;
    char left[PATH_MAX], path[PATH_MAX], version[16] = "";

    if (cli->json) {
        return br_err_set(reterr, BR_E_USAGE, "--json and the dump both want standard output");
    }
    int error = files_word(cli->args[0], left, path, reterr);
    int rc = error ? 0 : point_mount_clean(NULL, reterr);
    error = error ? error : BR_MIN(rc, 0);
    error = error ? error : point_find(cli, left, true, &found, reterr);
    error = error ? error
                  : layout_pick(&found.layout,
                                cli_text(cli, "partition") ? (int)BR_MIN(cli_number(cli, "partition", 0), 100000u) : -1,
                                &part, reterr);
    if (!error) {
        const struct point_mount_params params = {
            .found = &found, .partition = part->number, .writable = true, .alone = true};

        error = point_mount_open(cli, &params, &mount, reterr);
    }
    error = error ? error : pgdump_dump(cli, &mount, path, version, reterr);
    point_mount_close(&mount);
    point_found_free(&found);
    if (error) {
        point_report(cli, &found);
        cli_report_text(cli, "version", version[0] ? version : NULL);
    }
    return error;
}

const struct cli_verb cmd_files_pgdump = {
    .name = "files pgdump",
    .args = "REPO@POINT:PATH",
    .args_min = 1,
    .args_max = 1,
    .summary = "Dump a PostgreSQL database of a recovery point, without restoring it.",
    .description =
        "PATH is the data folder, the one with PG_VERSION, in the point's file system. It is mounted as `blkrep mount --writable` does, where no other "
        "process sees it; a server of its version replays its log there, as after a power cut, and pg_dumpall or pg_dump writes to standard output. The "
        "server runs as the folder's owner, listens on a private socket and on no port, and takes no setting from the folder. Everything of it is gone at the "
        "end; the point does not change.\n\n"
        "The point must hold all of the database in one moment: of a disk that was in use, one that was made of a frozen view (blkrep-attach(1)). Refused are "
        "databases with tablespaces or a pg_wal outside of PATH. Needs root, the programs of that PostgreSQL version, and what blkrep-mount(1) needs.",
    .options = pgdump_options,
    .examples = pgdump_examples,
    .see_also = "blkrep-mount(1), blkrep-files-get(1), blkrep-backup(1)",
    .schema = "blkrep.files-pgdump/1",
    .fields = pgdump_fields,
    .run = pgdump_run,
};
