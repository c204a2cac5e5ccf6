// SPDX-License-Identifier: Apache-2.0
//
// The small objects of a repository that reading its points does not need, or not each of them: keys, epochs, leases, holds, lists of doomed
// packs, notes of runs. One that is damaged shows when it is needed, years later as a rule: a recovery key that opens nothing, a hold that
// holds nothing. So they are looked at before.
#ifndef BR_REPO_OBJECTS_H
#define BR_REPO_OBJECTS_H

#include "engine/repo/repo.h"

struct br_objects_checked {
    uint64_t objects;
    uint64_t
        damaged; // that do not open, or not by this version; keys that are not what they were, or gone, as their sums tell
    uint64_t unproven; // keys without a sum, of a version before there were any
};

/**
 * br_objects_check - open each; points and packs are left to others (br_repo_points(), br_repo_verify())
 * Keys are compared with their sums. What goes away meanwhile is not missed, nor what was sealed in an epoch that was shredded.
 * @notes  those of runs too: there may be a great many
 * @bad  called for each that is damaged, named in words
 * Returns 0 when all was looked at, whatever was found.    Errors: -BR_E_NOMEM; of the store
 */
BR_MUST_CHECK int br_objects_check(struct br_repo *repo, bool notes, void (*bad)(void *ctx, const char *what),
                                   void *ctx, struct br_objects_checked *ret_checked, struct br_err *reterr);

#endif
