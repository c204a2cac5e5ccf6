// SPDX-License-Identifier: Apache-2.0
//
// What is written to who may not read it: messages on stderr, progress, news of a run that goes on. Such a reader never holds a run up.
// A line goes out whole or, when nobody takes it for a moment, not at all; what was left out is counted and said when it flows again. Data
// on stdout is none of this: it waits for its reader, as it must.
#ifndef BR_TOOLS_OUT_H
#define BR_TOOLS_OUT_H

#include <stdbool.h>
#include <stddef.h>

/** out_ready - can at least a line be written to @fd within @wait_ms, without blocking? True too when it fails at once. */
bool out_ready(int fd, unsigned wait_ms);
/**
 * out_write - write @len bytes to @fd
 * @wait_ms  how long its reader may pause
 * Returns 1 all of it was written, 0 the reader does not read (nothing was written, or of a long text the beginning), -1 it is gone.
 * Blocks: at most @wait_ms for each 4 KiB, as long as nobody else writes to the same pipe
 */
int out_write(int fd, const char *text, size_t len, unsigned wait_ms);
/** out_stderr - a text for people; waits a moment at most, and not at all when the one before was in vain */
void out_stderr(const char *text, size_t len);

#endif
