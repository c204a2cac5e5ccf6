// SPDX-License-Identifier: Apache-2.0
//
// A repository in a directory, local or on NFS: an object's name is its path. What is being written lies beside its place as tmp-RANDOM and
// is renamed onto nothing when it is whole and synced, so that an object that is there is whole; leftovers of a crash are nobody's objects.
#ifndef BR_REPO_STORE_DIR_H
#define BR_REPO_STORE_DIR_H

#include "engine/repo/store.h"

/**
 * br_store_dir_open - the store in @dir
 * @dir        owned from now on, also on failure
 * @read_only  puts and removals fail with -BR_E_PERMISSION
 */
BR_MUST_CHECK int br_store_dir_open(struct br_ring *ring, struct br_dir *dir, bool read_only,
                                    struct br_store *ret_store, struct br_err *reterr);

#endif
