// SPDX-License-Identifier: Apache-2.0
//
// What each process may still do once it has what it needs. Capabilities through libcap-ng, system calls through libseccomp; no process gets
// anything back (NO_NEW_PRIVS), and only the LVM runner, which is started before, may execute a program.
//
//     helper      device-mapper and block ioctls, files by name, NBD and ublk commands over what it opened before; no program, no socket, no
//                 other identity, no module, no mount
//     suspender   ioctls of device-mapper on the descriptor that it has, syncfs, and freeze; opens nothing
//     watchdog    the same ioctls, wait and kill
#ifndef DMH_SANDBOX_H
#define DMH_SANDBOX_H

#include "engine/base/err.h"

enum dmh_sandbox { DMH_SANDBOX_HELPER, DMH_SANDBOX_SUSPENDER, DMH_SANDBOX_WATCHDOG };

/** dmh_sandbox_drop - give up the capabilities that the helper does not need. Not for unprivileged users, who have none */
BR_MUST_CHECK int dmh_sandbox_drop(struct br_err *reterr);
/** dmh_sandbox_enter - load the system call filter of a process, for good; 0 or a negative errno */
int dmh_sandbox_enter(enum dmh_sandbox sandbox);

#endif
