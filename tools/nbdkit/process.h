// SPDX-License-Identifier: Apache-2.0
//
// Child programs that end with blkrep: nbdkit, nbdfuse, a database, a command of the user's.
#ifndef BR_TOOLS_NBDKIT_PROCESS_H
#define BR_TOOLS_NBDKIT_PROCESS_H

#include <sys/types.h>

#include "engine/base/err.h"

#define CHILD_FD_LEAST 10 // descriptors that are to go to a child are at least this one: those below may be taken there

struct child {
    const char *const *argv; // ends with a NULL; [0] is looked for in the path
    int out_fd;              // its standard output; -1: where messages go
    uid_t uid;               // with gid: who it is to be; 0 as we are
    gid_t gid;
    const char *cwd;    // NULL ours
    const char *set[4]; // NAME=VALUE more for its environment, NULL none
    int listen_fd;      // a socket that it is given as systemd does (sd_listen_fds(3)), as descriptor 3; 0 none
    bool lives;         // it may go on when blkrep is killed
};

/**
 * child_start - a process of its own group (a terminal's signals are blkrep's to pass on), with stdin from /dev/null and no passphrase in its environment
 * @ret_pid  for child_wait(), child_stop()
 * A program that is not there ends with status 127.
 */
BR_MUST_CHECK int child_start(const struct child *child, pid_t *ret_pid, struct br_err *reterr);
/** child_ended - 1 and its wait status, 0 it runs; of a pid of 0 or less 1 and status 0 */
int child_ended(pid_t pid, int *ret_status);
/**
 * child_wait - until it ends, blkrep is told to stop, or @limit_ms passed (0: no limit); what is told to stop, or took too long, is ended
 * Returns 0 and its wait status; -BR_E_CANCELLED, -BR_E_TIMEOUT
 */
BR_MUST_CHECK int child_wait(pid_t pid, const char *name, unsigned limit_ms, int *ret_status, struct br_err *reterr);
/** child_run - start and wait; -BR_E_HOOK when it ends with another status than 0, named; -BR_E_UNSUPPORTED it is not installed */
BR_MUST_CHECK int child_run(const struct child *child, unsigned limit_ms, struct br_err *reterr);
/** child_stop - @signal, and SIGKILL to its group when it has not ended within @ms; waits for it; a pid of 0 or less is fine */
void child_stop(pid_t pid, int signal, unsigned ms);
/** child_pause - so long; less when a signal came */
void child_pause(unsigned ms);
/** child_installed - such a program is in the path */
bool child_installed(const char *program);

#endif
