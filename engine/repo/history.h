// SPDX-License-Identifier: Apache-2.0
//
// The catalog: notes of runs, kept in the repository they were made with. A run has a note when it begins, 00, and one when it has ended, 99, put
// there by itself or, when it died, by the next run of its host, which knows how far it came. Objects never change, so a run that has only its
// first note goes on, or died where nobody has looked since.
//
// A note is a JSON object. Of every one: "verb", "host", "begun_unix_ns"; of the last one all of the first, and "outcome" (done, failed,
// died), "status" (the exit status; none of who died), "error" (its name, or null), "ended_unix_ns" (null of who died), "stages" (a list of
// "stage", "unix_ns"), "figures" (an object of numbers). More may come: who reads passes over what it does not know.
#ifndef BR_REPO_HISTORY_H
#define BR_REPO_HISTORY_H

#include "engine/base/units.h"
#include "engine/repo/repo.h"

#define BR_HISTORY_BEGIN     0u
#define BR_HISTORY_END       99u
#define BR_HISTORY_BYTES_MAX (64u * 1024u)

/** br_history_host - what stands for a host in names: the beginning of a SHA-256 of its name */
void br_history_host(const char *host, struct br_uuid *ret_host);
/** br_history_put - durable; -BR_E_EXISTS it is there already; -BR_E_LIMIT too long */
BR_MUST_CHECK int br_history_put(struct br_repo *repo, const char *host, const struct br_uuid *run, unsigned note,
                                 const char *text, size_t len, struct br_err *reterr);

#define BR_HISTORY_KEEP_RUNS 10000u
#define BR_HISTORY_KEEP_NS   (UINT64_C(366) * 24 * 3600 * BR_NS_PER_S)

struct br_history_prune_params {
    struct br_repo *repo;
    uint64_t keep_runs; // of each host, the newest; of these those that
    uint64_t keep_ns;   // arrived no longer ago, by the store's clock
    bool dry_run;
    const volatile bool *cancel; // NULL never
};
/**
 * br_history_prune - remove the notes of old runs; both of a run go when the later one is to
 * No note is opened. When a note arrived is asked only where the number does not decide. @ret_runs: that went, or would
 * Durable: yes    Errors: -BR_E_AUTH the store lets this client remove none; -BR_E_CANCELLED; those of the store
 */
BR_MUST_CHECK int br_history_prune(const struct br_history_prune_params *params, uint64_t *ret_runs, uint64_t *ret_kept,
                                   struct br_err *reterr);

/** br_history_fn - takes a note; @text ends with a zero; @rc 0, or why it can't be read, told in @err. Non-zero stops and is returned */
typedef int br_history_fn(void *ctx, const struct br_uuid *run, unsigned note, const char *text, int rc,
                          const struct br_err *err);
/**
 * br_history_list - the last note of each run, by host and run; those of shredded epochs are left out
 * A hundred are read at once.
 */
BR_MUST_CHECK int br_history_list(struct br_repo *repo, br_history_fn *fn, void *ctx, struct br_err *reterr);
/** br_history_read - one note, appended to @text, with a zero behind it */
BR_MUST_CHECK int br_history_read(struct br_repo *repo, const char *name, struct br_buf *text, struct br_err *reterr);

#endif
