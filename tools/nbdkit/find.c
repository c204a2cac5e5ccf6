// SPDX-License-Identifier: Apache-2.0
#include "tools/nbdkit/find.h"

#include <unistd.h>

static int open_word(struct cli *cli, const char *word, bool want_layout, struct point_found *found,
                     struct point_opened *opened, struct br_err *reterr)
{
    char repo[PATH_MAX], point[256];

    *found = (struct point_found){.secret_fd = -1};
    *opened = (struct point_opened){0};
    int error = repository_word(word, repo, point, reterr);
    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    error = error ? error : place_ring(cli, &opened->ring, reterr);
    error = error ? error : repository_secret_hand_on(cli, opened->ring, repo, &found->secret_fd, reterr);
    error = error ? error : repository_open(cli, opened->ring, repo, true, &opened->repository, reterr);
    error = error ? error : repository_point(cli, &opened->repository, point, &found->point, reterr);
    if (want_layout) {
        error = error ? error : br_access_open(opened->repository.repo, &found->point, &opened->access, reterr);
        error = error ? error : layout_of(opened->access, &found->layout, reterr);
    }
    memcpy(found->repository, opened->repository.path, sizeof(found->repository));
    return error;
}

int point_open(struct cli *cli, const char *word, struct point_found *ret_found, struct point_opened *ret_opened,
               struct br_err *reterr)
{
    return open_word(cli, word, true, ret_found, ret_opened, reterr);
}

void point_opened_close(struct point_opened *opened)
{
    br_access_close(opened->access);
    repository_close(&opened->repository);
    br_ring_close(opened->ring);
    *opened = (struct point_opened){0};
}

int point_find(struct cli *cli, const char *word, bool want_layout, struct point_found *ret_found,
               struct br_err *reterr)
{
    struct point_opened opened;
    int error = open_word(cli, word, want_layout, ret_found, &opened, reterr);

    point_opened_close(&opened);
    return error;
}

void point_found_free(struct point_found *found)
{
    if (found->secret_fd >= 0) {
        close(found->secret_fd);
        found->secret_fd = -1;
    }
}

void point_report(struct cli *cli, const struct point_found *found)
{
    char id[BR_UUID_TEXT_BYTES];

    br_uuid_text(&found->point.id, id);
    cli_report_text(cli, "repository", found->repository[0] ? found->repository : cli->args[0]);
    cli_report_text(cli, "point", br_uuid_is_nil(&found->point.id) ? NULL : id);
}
