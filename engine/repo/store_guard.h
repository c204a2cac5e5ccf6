// SPDX-License-Identifier: Apache-2.0
//
// A store as one client may use it: a store around another, which lets through what the client's role allows.
//
//                  config keys/ epochs/   packs/          points/                 leases/ history/   doomed/ holds/
//     reader       reads                  reads           reads                   reads              reads
//     writer       reads                  reads, adds     its own: reads, adds    reads, adds        reads
//     operator     reads                  and removes     all: and removes        and removes        reads, adds, removes
//     admin        and adds, removes      "               "                       "                  "
//
// Names of any other form are not there, for whoever asks; nothing is ever put over another object, the store sees to that. A writer may take a
// lease back that it put in the same session.
//
// **Whose a volume is.** The first writer of a volume's points owns it, by its pinned key, which is noted durably before the point is put (two
// at once: put-if-absent decides). No other writer adds to it, lists it or reads it. A volume that has points and no owner (the repository was a
// directory before, the notes were lost) is nobody's, unless `adopt` says that the next writer takes it.
//
// **How much.** A writer has so many points, objects and bytes a day, by the server's clock; what it took is noted before it is given. An
// operator has no such limit. Other clients' objects are never touched by what one client does, so that a limit keeps it from filling the
// store, and a point of a volume of its own pushes nobody's out.
//
// A pack that lies of what is in it harms nobody but who wrote it: chunks prove themselves (index.h says which packs are believed).
#ifndef BR_REPO_STORE_GUARD_H
#define BR_REPO_STORE_GUARD_H

#include "engine/net/registry.h"
#include "engine/repo/store.h"

#define BR_STORE_GUARD_PACK_MAX (512u * 1024u * 1024u)

// What one writer may add in a day; 0 is no limit.
struct br_store_limits {
    uint64_t points;
    uint64_t objects; // points, packs and all else
    uint64_t bytes;
};

struct br_store_guard_params {
    struct br_store store;     // the guard's from now on, also on failure
    struct br_uuid repository; // nil while there is none: no point is put then
    struct br_dir *records;    // where owners and what was taken are noted; owned from now on, also on failure
    enum br_role role;         // the client's
    bool write;                // it opened the repository to write
    struct br_fingerprint client;
    struct br_store_limits limits;
    bool adopt;
    /** refused - told of each act that was refused; for logs; NULL not wanted */
    void (*refused)(void *ctx, const char *name, const struct br_err *why);
    void *refused_ctx;
};

/** br_store_guard_open - the store as this client may use it; what is not allowed fails with -BR_E_AUTH, what is too much with -BR_E_LIMIT */
BR_MUST_CHECK int br_store_guard_open(const struct br_store_guard_params *params, struct br_store *ret_store,
                                      struct br_err *reterr);

#endif
