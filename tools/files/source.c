// SPDX-License-Identifier: Apache-2.0
#include "tools/files/source.h"

#include <stdio.h>
#include <unistd.h>

#include "tools/files/ext.h"
#include "tools/files/mounted.h"
#include "tools/files/word.h"

static int by_mount(struct cli *cli, struct files_source *source, struct br_err *reterr)
{
    const struct point_mount_params params = {
        .found = &source->found, .partition = source->part->number, .alone = true};
    int error = BR_MIN(point_mount_clean(NULL, reterr), 0);

    error = error ? error : point_mount_open(cli, &params, &source->mount, reterr);
    return error ? error : mounted_tree(source->mount.dir, &source->tree, reterr);
}

// What libext2fs does not read: who could, and by which words.
static int needs_mount(const struct cli *cli, const struct layout_part *part, struct br_err *reterr)
{
    const char *word = cli->args[0];
    char shown[200], number[32] = "";

    if (!part->filesystem) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "partition %d holds %s, no file system", part->number,
                          part->type[0] ? part->type : "nothing known");
    }
    br_quote(word, shown, sizeof(shown));
    if (part->number) {
        snprintf(number, sizeof(number), " --partition %d", part->number);
    }
    return cli_flag(cli, "no-mount")
               ? br_err_set(reterr, BR_E_UNSUPPORTED,
                            "partition %d holds %s: without a mount files are had of ext2, ext3 and ext4 alone",
                            part->number, part->type)
               : br_err_set(
                     reterr, BR_E_UNSUPPORTED,
                     "partition %d holds %s, which only root can look into, by a mount: as root run blkrep %s %s%s; "
                     "any user gets all of it by blkrep restore, or as a disk by blkrep export",
                     part->number, part->type, cli->verb->name, shown, number);
}

static int replay(struct cli *cli, struct files_source *source, struct br_err *reterr)
{
    struct tree ext = source->tree;
    struct br_err why = {0};
    int error;

    source->journal_pending = true;
    if (cli_flag(cli, "no-mount") || geteuid()) {
        cli_warn(
            cli,
            "the file system was in use: its journal is not replayed, so that what was changed last may be missing or half there; %s",
            geteuid() ? "root sees it replayed" : "without --no-mount it is");
        return 0;
    }
    error = by_mount(cli, source, &why);
    if (error == -BR_E_CANCELLED) {
        *reterr = why;
        return error;
    }
    if (error) {
        point_mount_close(&source->mount);
        cli_warn(
            cli,
            "the file system was in use, and its journal could not be replayed (%s): what was changed last may be missing or half there",
            why.text);
        return 0;
    }
    source->journal_pending = false;
    tree_close(&ext);
    return 0;
}

int files_source_open(struct cli *cli, const char *word, struct files_source *ret_source, struct br_err *reterr)
{
    struct files_source *self = ret_source;
    int number = cli_text(cli, "partition") ? (int)BR_MIN(cli_number(cli, "partition", 0), 100000u) : -1;
    char left[PATH_MAX];

    *self = (struct files_source){.found.secret_fd = -1, .mount.lock_fd = -1};
    int error = files_word(word, left, self->path, reterr);
    error = error ? error : point_open(cli, left, &self->found, &self->opened, reterr);
    error = error ? error : layout_pick(&self->found.layout, number, &self->part, reterr);
    if (error) {
        return error;
    }
    if (!layout_is_ext(self->part)) {
        return self->part->filesystem && !geteuid() && !cli_flag(cli, "no-mount")
                   ? by_mount(cli, self, reterr)
                   : needs_mount(cli, self->part, reterr);
    }
    error = ext_open(self->opened.access, self->part->offset_bytes, self->part->size_bytes, &self->tree, reterr);
    return error || !ext_needs_journal(&self->tree) ? error : replay(cli, self, reterr);
}

void files_source_close(struct cli *cli, struct files_source *source)
{
    const struct layout_part *part = source->part;

    point_report(cli, &source->found);
    cli_report_json(cli, "partition", part ? json_integer(part->number) : json_null());
    cli_report_text(cli, "filesystem", part ? part->type : NULL);
    cli_report_bool(cli, "mounted", source->mount.count);
    cli_report_bool(cli, "journal_pending", source->journal_pending);
    tree_close(&source->tree);
    point_mount_close(&source->mount);
    point_opened_close(&source->opened);
    point_found_free(&source->found);
}
