// SPDX-License-Identifier: Apache-2.0
//
// A repository in a simulated world: store, keys and index opened as a process does, and points read back as plain bytes.
#ifndef T_REPO_H
#define T_REPO_H

#include "engine/repo/backup.h"
#include "engine/repo/reader.h"
#include "engine/ring/sim.h"
#include "engine/sync/sync.h"

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
/**
 * t_repo_init_in, t_repo_open_beside - another repository, in a folder of the world; opened on the ring of one that is open
 * t_repo_close_beside - before the one that it is beside
 */
int t_repo_init_in(struct br_sim *sim, const char *folder, struct br_err *err);
int t_repo_open_beside(const struct t_repo *beside, const char *folder, const struct t_index *index,
                       struct t_repo *repo, struct br_err *err);
void t_repo_close_beside(struct t_repo *repo);
/**
 * t_repo_hook - from now on before the @n-th operation of the store of the next repository that is opened, @fn is called once; 0: no more
 * Reads are not counted. What @fn opens itself has no hook. Gives how many operations there were since the last call.
 */
uint64_t t_repo_hook(uint64_t n, void (*fn)(void *ctx), void *ctx);

struct t_backup {
    const char *source;  // NULL: "src"
    uint64_t size_bytes; // that the source is given first; 0: it stays as it is
    const char *state;   // directory beside the source; NULL: "src.blkrep"
    const char *host;    // NULL: "simulated"
    bool full;
    bool over_gaps;      // blocks that can't be read become gaps, and that is no failure
    uint64_t pack_bytes; // 0: 100,000
    uint64_t recheck_bytes;
    // What came of it:
    int whole; // br_backup_whole()
    struct br_sync_result sync;
    bool made;
    struct br_point point;
    struct br_writer_counts counts;
};
/** t_backup_run - one backup as a process makes it, into small packs; what failed, or 0 */
int t_backup_run(struct br_sim *sim, const struct t_index *index, struct t_backup *backup, struct br_err *err);
/** t_repo_read - the whole content of a point into @bytes (point->size_bytes of room, filled with 0xee before) */
int t_repo_read(struct t_repo *repo, const struct br_point *point, uint8_t *bytes, struct br_err *err);

#endif
