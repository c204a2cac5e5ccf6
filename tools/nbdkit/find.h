// SPDX-License-Identifier: Apache-2.0
//
// The point that a word names, found and opened once before anything is started for it, with the secret kept for who opens it again.
#ifndef BR_TOOLS_NBDKIT_FIND_H
#define BR_TOOLS_NBDKIT_FIND_H

#include "tools/files/layout.h"
#include "tools/repository.h"

struct point_found {
    char repository[PATH_MAX]; // real path or address, "" not found
    struct br_point point;
    int secret_fd;        // see repository_secret_hand_on()
    struct layout layout; // when it was wanted
};

// What it was found with.
struct point_opened {
    struct br_ring *ring;
    struct repository repository;
    struct br_access *access;
};

/** point_open - @word REPO@POINT, its layout too; point_opened_close() and then point_found_free() in any case */
BR_MUST_CHECK int point_open(struct cli *cli, const char *word, struct point_found *ret_found,
                             struct point_opened *ret_opened, struct br_err *reterr);
void point_opened_close(struct point_opened *opened);
/** point_find - @word REPO@POINT; point_found_free() in any case */
BR_MUST_CHECK int point_find(struct cli *cli, const char *word, bool want_layout, struct point_found *ret_found,
                             struct br_err *reterr);
void point_found_free(struct point_found *found);
/** point_report - "repository" and "point" of the exit object */
void point_report(struct cli *cli, const struct point_found *found);

#endif
