// SPDX-License-Identifier: Apache-2.0
//
// What a run leaves for `blkrep history`. Beside the notes in the repository (engine/repo/history.h) there is a file for each run in
// STATE/repositories/UUID/runs: RUN, a line of JSON for its beginning, each change of stage, and its end. The file is locked while the run
// lives, so that one that died is told from one that goes on, and where it died is known whatever killed it. A run that writes to the repository
// puts its notes there when its first stage begins and when it has ended, and those of runs that died here before; then the file is not needed, and removed. Of
// verbs that only read, and of runs that were refused, it stays.
//
// Nothing here fails a run, and nothing waits: what can't be noted is left out.
#ifndef BR_TOOLS_RUN_LOG_H
#define BR_TOOLS_RUN_LOG_H

#include "tools/repository.h"

struct run_log;

/**
 * run_log_begin - of @cli's verb, with @repository; NULL when nothing can be noted, which every other function takes
 * @writes  the repository is open for writing: the note goes there too
 */
struct run_log *run_log_begin(struct cli *cli, struct br_ring *ring, struct repository *repository, bool writes);
/** run_log_target - which point it will write, and where to, which is told of a run that dies, too; before its first stage */
void run_log_target(struct run_log *log, const char *target, const struct br_uuid *point);
/** run_log_stage - a stage begins; the same one again is no news */
void run_log_stage(struct run_log *log, const char *stage);
/**
 * run_log_end - how it ended, with the figures of the exit object so far: its numbers, and what names source, target, point and volume
 * Before the repository is closed. Frees @log.
 */
void run_log_end(struct run_log *log, int error);

/** run_log_fn - takes a run of this host: its last note as an object, with "stage" where it is or died; "outcome" running when it lives */
typedef int run_log_fn(void *ctx, const struct br_uuid *run, json_t *note);
/** run_log_list - those that have a file here, of the repository @uuid, or of all (NULL) */
BR_MUST_CHECK int run_log_list(struct cli *cli, const struct br_uuid *uuid, run_log_fn *fn, void *ctx,
                               struct br_err *reterr);

#endif
