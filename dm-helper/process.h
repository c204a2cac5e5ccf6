// SPDX-License-Identifier: Apache-2.0
//
// Processes of the helper. Who they are is its architecture:
//
//     helper      one for each connection: takes requests, decides, prepares                         (server.h)
//     watchdog    one for each window or freeze: undoes it when its time is up, whoever has died     (watchdog.h)
//     suspender   child of a watchdog: makes the calls that may block in the kernel                  (suspender.h, freezer.h)
//     lvm runner  one for each helper, from its start: the only one that may execute a program       (lvm_runner.h)
//
// A watchdog must go on when blkrep and the helper are killed or stopped, when the system shuts down, and when no memory and no file can
// be had. So it has its own session, catches no signal but SIGKILL, has all its memory locked, and needs no descriptor but those it was
// given.
#ifndef DMH_PROCESS_H
#define DMH_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#include "engine/base/err.h"

#define DMH_PASS_FDS_MAX 16 // descriptors with one message

/** dmh_process_start - remember argv, so that processes can be told apart in `ps`, and what a shutdown must not kill; once, in main() */
void dmh_process_start(char **argv);
/**
 * dmh_process_fork - a child that runs @run and ends with what it returns
 * In the child: a session of its own, all signals blocked, all descriptors closed but those of @keep (-1 entries are skipped), argv[0] says
 * @name after a '@', which keeps systemd's final kill away (https://systemd.io/ROOT_STORAGE_DAEMONS).
 * Errors: -BR_E_NOMEM and others of fork()
 */
BR_MUST_CHECK int dmh_process_fork(const char *name, int (*run)(void *), void *argument, const int *keep,
                                   size_t keep_count, pid_t *ret_pid, struct br_err *reterr);
/**
 * dmh_process_spare - for this process and its children: never the OOM killer's choice, and no waiting for I/O of their own in memory reclaim
 * (PR_SET_IO_FLUSHER). Refused to who may not; then they are as mortal as others.
 */
void dmh_process_spare(void);
/**
 * dmh_process_lock - lock all memory, touch the stack, and become hard to displace (SCHED_FIFO)
 * Only the locking must succeed: without it the process must not suspend anything. It undoes what a fork() did, that pages are shared and
 * copied at the next write, so it is called after the last one.
 * Returns 0 or a negative errno.
 */
int dmh_process_lock(void);
/**
 * dmh_process_send - one message over a SOCK_SEQPACKET socket, with descriptors
 * @fds, @fd_count  at most DMH_PASS_FDS_MAX; NULL for none
 * Blocks: while the socket is full    Owner: @fds stay the caller's
 * Returns 0, or -1 with errno when it did not go out whole: the peer is gone.
 */
BR_MUST_CHECK int dmh_process_send(int fd, void *bytes, size_t len_bytes, const int *fds, size_t fd_count);
/**
 * dmh_process_receive - one message, with the descriptors that came with it, close-on-exec
 * @ret_fds    room for DMH_PASS_FDS_MAX; the caller's, of a message that was cut too
 * @ret_whole  false when it was longer than @size, or brought more descriptors than there is room for
 * Blocks: until one comes
 * Returns its length, 0 at the connection's end, -1 with errno.
 */
ssize_t dmh_process_receive(int fd, void *bytes, size_t size, int ret_fds[DMH_PASS_FDS_MAX], size_t *ret_fd_count,
                            bool *ret_whole);
/** dmh_process_close - close descriptors */
void dmh_process_close(const int *fds, size_t fd_count);
/** dmh_process_sleep_ms, dmh_process_now_ns - on the monotonic clock */
void dmh_process_sleep_ms(unsigned ms);
uint64_t dmh_process_now_ns(void);

#endif
