// SPDX-License-Identifier: Apache-2.0
//
// The point that a word names, found and opened once before anything is started for it, with the secret kept for who opens it again.
#ifndef BR_TOOLS_NBDKIT_FIND_H
#define BR_TOOLS_NBDKIT_FIND_H

#include "tools/files/layout.h"
#include "tools/repository.h"

struct point_found {
    char repository[PATH_MAX]; // real path, "" not found
    struct br_point point;
    int secret_fd;        // see repository_secret_hand_on()
    struct layout layout; // when it was wanted
};

/** point_find - @word REPO@POINT; point_found_free() in any case */
BR_MUST_CHECK int point_find(struct cli *cli, const char *word, bool want_layout, struct point_found *ret_found,
                             struct br_err *reterr);
void point_found_free(struct point_found *found);
/** point_report - "repository" and "point" of the exit object */
void point_report(struct cli *cli, const struct point_found *found);

#endif
