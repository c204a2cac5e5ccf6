// SPDX-License-Identifier: Apache-2.0
#include "tools/nbdkit/find.h"

#include <unistd.h>

static int layout_find(struct repository *repository, struct point_found *found, struct br_err *reterr)
{
    struct br_access *access;
    int error = br_access_open(repository->repo, &found->point, &access, reterr);

    if (!error) {
        error = layout_of(access, &found->layout, reterr);
        br_access_close(access);
    }
    return error;
}

int point_find(struct cli *cli, const char *word, bool want_layout, struct point_found *ret_found,
               struct br_err *reterr)
{
    struct repository repository = {0};
    struct br_ring *ring = NULL;
    char repo[PATH_MAX], point[256];

    *ret_found = (struct point_found){.secret_fd = -1};
    int error = repository_word(word, repo, point, reterr);
    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    error = error ? error : place_ring(cli, &ring, reterr);
    error = error ? error : repository_secret_hand_on(cli, ring, repo, &ret_found->secret_fd, reterr);
    error = error ? error : repository_open(cli, ring, repo, true, &repository, reterr);
    error = error ? error : repository_point(cli, &repository, point, &ret_found->point, reterr);
    error = error || !want_layout ? error : layout_find(&repository, ret_found, reterr);
    memcpy(ret_found->repository, repository.path, sizeof(ret_found->repository));
    repository_close(&repository);
    br_ring_close(ring);
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
