// SPDX-License-Identifier: Apache-2.0
//
// Small files that hold trust: the identity key, the registry of clients, the list of known servers. Read whole and bounded; replaced
// whole, durably and atomically, mode 0600. A reader sees the old file or the new one. Who reads, changes and writes back holds the
// lock meanwhile, so that two of them don't lose each other's change.
//
// Not through the ring: nothing here is a volume's data, and no crash order between these files and replicas matters.
#ifndef BR_NET_TRUST_FILE_H
#define BR_NET_TRUST_FILE_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_TRUST_FILE_BYTES_MAX (4u * 1024u * 1024u)

/**
 * br_trust_read - all of @name in the folder @dir_fd
 * @secret  refuse the file when it is not this user's (or root's) or when others may read or write it
 * Errors: -BR_E_NOT_FOUND; -BR_E_PERMISSION; -BR_E_LIMIT longer than BR_TRUST_FILE_BYTES_MAX; -BR_E_CORRUPT not a regular file
 */
BR_MUST_CHECK int br_trust_read(int dir_fd, const char *name, bool secret, struct br_buf *content,
                                struct br_err *reterr);

/**
 * br_trust_write - replace @name by @content
 * Durable: yes, when it returns 0    Errors: as br_err_os(); the old file is then still there, whole
 */
BR_MUST_CHECK int br_trust_write(int dir_fd, const char *name, const void *content, size_t len, struct br_err *reterr);

/**
 * br_trust_create - make @name with @content unless it is there already
 * Returns 1 made, durable; 0 it was there (another process may have been faster) and is unchanged
 */
BR_MUST_CHECK int br_trust_create(int dir_fd, const char *name, const void *content, size_t len, struct br_err *reterr);

/** br_trust_lock - waits at most 10 s for the lock @name; gives a descriptor that holds it until closed; -BR_E_BUSY */
BR_MUST_CHECK int br_trust_lock(int dir_fd, const char *name, int *ret_fd, struct br_err *reterr);

#endif
