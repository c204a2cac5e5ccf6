// SPDX-License-Identifier: Apache-2.0
//
// A repository in a simulated world: store, keys and index opened as a process does, and points read back as plain bytes.
#ifndef T_REPO_H
#define T_REPO_H

#include "engine/repo/backup.h"
#include "engine/repo/reader.h"
#include "engine/ring/sim.h"

struct t_repo {
    struct br_ring *ring;
    struct br_store store;
    struct br_repo *repo; // NULL when opening failed
    struct br_repo_refreshed refreshed;
};

// Where LMDB's files are: on the machine's own disk (or memory), since LMDB is no part of the simulated world.
struct t_index {
    char path[300];
};

/** t_index_new - an empty folder for an index */
void t_index_new(struct t_index *index);
/** t_index_copy - a folder with a copy of what @from has now; nobody may have it open */
void t_index_copy(struct t_index *index, const struct t_index *from);
/** t_index_free - removes it with what is in it */
void t_index_free(struct t_index *index);

/** t_repo_init - make the repository "repo" in the world; opens with a key file of ours */
int t_repo_init(struct br_sim *sim, struct br_err *err);
/** t_repo_open - the next process: ring, store, repository, refreshed; what failed, or 0. t_repo_close() in any case */
int t_repo_open(struct br_sim *sim, const struct t_index *index, struct t_repo *repo, struct br_err *err);
void t_repo_close(struct t_repo *repo);
/** t_repo_read - the whole content of a point into @bytes (point->size_bytes of room, filled with 0xee before) */
int t_repo_read(struct t_repo *repo, const struct br_point *point, uint8_t *bytes, struct br_err *err);

#endif
