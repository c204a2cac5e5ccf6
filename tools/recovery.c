// SPDX-License-Identifier: Apache-2.0
#include "tools/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void sheet_text(const struct repository *repository, const char *recovery, struct br_buf *text)
{
    const struct br_repo_config *config = br_repo_config_of(repository->repo);
    char uuid[BR_UUID_TEXT_BYTES], today[40];

    br_uuid_text(&config->repository, uuid);
    br_time_text((uint64_t)time(NULL) * BR_NS_PER_S, today, sizeof(today));
    br_buf_printf(text,
                  "RECOVERY SHEET of a blkrep repository\n"
                  "=====================================\n\n"
                  "Keep this page where neither fire nor a thief of the backups comes. Whoever has it and the\n"
                  "repository reads all that is in there; whoever lost it and every other key reads nothing.\n\n"
                  "  repository    %s\n"
                  "  kept in       %s\n"
                  "  printed       %s\n\n"
                  "  recovery key  %.35s-\n"
                  "                %s\n\n"
                  "It is given where a passphrase is asked for; hyphens and upper case don't matter, 0 and o are one,\n"
                  "and so are 1, i and l. The repository and this page are enough: nothing else is needed.\n\n"
                  "To bring a volume back, on any Linux with blkrep:\n\n"
                  "  1.  blkrep points REPOSITORY                  what there is\n"
                  "  2.  blkrep verify REPOSITORY@POINT            whether it is whole (takes as long as a restore)\n"
                  "  3.  blkrep restore REPOSITORY@POINT DEVICE    a file that is not there yet, or a device\n"
                  "  4.  sync; then fsck and mount the device read-only, and look\n\n"
                  "Without blkrep: the manual page blkrep-repository(5) describes the format so that a reader can be\n"
                  "written from it.\n",
                  uuid, repository->path, today, recovery, recovery + 36);
}

// Each line is one of the output: a line end within one would be quoted.
static void sheet_print(const struct cli *cli, const struct br_buf *text)
{
    const char *at = (const char *)text->data, *end = at + text->len;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        int len = (int)((stop ? stop : end) - at);

        cli_print(cli, "%.*s", len, at);
        at += len + 1;
    }
}

static int sheet_write(const char *path, const struct br_buf *text, struct br_err *reterr)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = 0;

    if (fd < 0) {
        return errno == EEXIST
                   ? br_err_set(reterr, BR_E_EXISTS, "%s: the sheet with a key is written to a new file", path)
                   : br_err_os(reterr, errno, "making %s", path);
    }
    if (write(fd, text->data, text->len) != (ssize_t)text->len || fsync(fd)) {
        error = br_err_os(reterr, errno ? errno : EIO, "writing %s", path);
    }
    close(fd);
    return error;
}

// The sheet is there before the key is: a key that nobody has seen would be shown in lists as if it could be used.
int recovery_add(struct cli *cli, const struct repository *repository, const struct br_repo_new_key *how,
                 struct br_uuid *ret_id, struct br_err *reterr)
{
    const char *sheet = cli_text(cli, "sheet");
    char text[REPOSITORY_RECOVERY_BYTES];
    BR_AUTO_WIPE struct br_key recovery;
    struct br_buf page = {0};
    int error = 0;

    struct br_repo_new_key key = *how;

    repository_recovery_draw(br_repo_ring_of(repository->repo), &recovery, text);
    key.secret = (struct br_repo_secret){.recovery = &recovery};
    sheet_text(repository, text, &page);
    if (br_buf_failed(&page)) {
        error = br_err_set(reterr, BR_E_NOMEM, "the recovery sheet");
    }
    error = error || !sheet ? error : sheet_write(sheet, &page, reterr);
    error = error ? error : br_repo_add_key(repository->repo, &key, ret_id, reterr);
    if (!error && !sheet) {
        cli_report_text(cli, "recovery_key", text);
        sheet_print(cli, &page);
    }
    if (page.data) {
        br_wipe(page.data, page.capacity);
    }
    br_buf_free(&page);
    br_wipe(text, sizeof(text));
    return error;
}
