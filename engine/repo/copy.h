// SPDX-License-Identifier: Apache-2.0
//
// A recovery point from one repository into another, which may have other keys and another id secret: every block that the other lacks is read,
// proven by its leaf, and stored there under the id that it has there; what it has already is not read. The copy has the point's id, volume, number,
// root, times, host and tags, so that it is the same point, and is found to be there when it is copied again. Where a copy of it was given up before, which
// left a tombstone at its name, the id's last byte is one more (lease.h).
//
// In the target a domain stands for each of the source's, its name derived from both: so data are shared there as they are here, whoever copies
// and however often it was cut.
//
// A point's id and root say what it is, and these the copy has; where its data lies in a repository, its domain, is known to its object there alone. When
// that is damaged, the domain is one of those of the points that do open, found by its tree: the top node's id in a domain is in the index, or not.
#ifndef BR_REPO_COPY_H
#define BR_REPO_COPY_H

#include "engine/repo/backup.h"
#include "engine/repo/point_delta.h"

struct br_copy_params {
    struct br_repo *from; // opened and refreshed, on one ring with the target
    struct br_repo *to;
    const struct br_point *point;
    const struct br_repair *repair; // NULL, or: @to has the point, and gets what it lacks of it
    const struct br_uuid *repaired; // with @repair: its id in @to; NULL: the same
    bool renew;            // with @repair: @to's object of it is damaged, or was removed to be renewed: it is made anew
    struct br_uuid domain; // with @renew: one that the point may be in, beside those of the other points; nil none
    int level;             // of zstd
    const volatile bool *cancel;                                                 // NULL never
    void (*progress)(void *ctx, const struct br_point_delta_progress *progress); // NULL none
    void *progress_ctx;
};

struct br_copy_result {
    bool was_there; // nothing was done
    struct br_point point;
    struct br_point_delta_progress read;
    struct br_writer_counts counts;
};

/**
 * br_copy_point - durable when it returns 0; what it was compared with is the newest point of the volume that both have, in its domain
 * With @repair nothing but what is missing is stored, and was_there is false; -BR_E_NOT_FOUND, -BR_E_CORRUPT: @to has no such point.
 * ret_result->point.id is the id that it has there.
 * Errors: -BR_E_EXISTS a point of that id is there whose content is another; those of br_point_delta() and br_writer_put()
 */
BR_MUST_CHECK int br_copy_point(const struct br_copy_params *params, struct br_copy_result *ret_result,
                                struct br_err *reterr);

#endif
