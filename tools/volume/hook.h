// SPDX-License-Identifier: Apache-2.0
//
// What a volume's owner wants to be done before and after its snapshot is taken: `before-snapshot` and `after-snapshot` of `[volume NAME]`.
// Both run outside of the suspend window, under a deadline of their own (`hook-timeout`): a hook that hangs is killed and holds no freeze.
//
//     before-snapshot SCRIPT before NAME...   syncs a database, takes its lock; what it started may stay behind, in its process group
//     [window]
//     after-snapshot  SCRIPT after NAME...    lets it go; it runs whenever a before hook was begun, however that and the window ended
#ifndef BR_TOOLS_VOLUME_HOOK_H
#define BR_TOOLS_VOLUME_HOOK_H

#include "tools/volume/volume.h"

/**
 * hook_before - run the volume's before-snapshot hook, if it has one
 * Errors: -BR_E_HOOK it failed, hung, or can't be trusted (not root's, writable for others): no snapshot is taken
 */
BR_MUST_CHECK int hook_before(struct volume *volume, struct br_err *reterr);
/** hook_after - run its after-snapshot hook, if it has one; a failure is a warning: the snapshot is what it is */
void hook_after(struct volume *volume);
/**
 * hook_run - run a script with a deadline
 * @word  "before" or "after", its first argument; the second is the volume's name
 * Its stdin is /dev/null, its stdout goes where our stderr goes. At the deadline its process group gets SIGKILL.
 * Errors: -BR_E_HOOK
 */
BR_MUST_CHECK int hook_run(const char *script, const char *word, const char *name, uint64_t timeout_ns,
                           struct br_err *reterr);

#endif
