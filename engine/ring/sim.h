// SPDX-License-Identifier: Apache-2.0
//
// A simulated world of disks: the ring's third back end. Code above the ring runs in it unchanged, in one thread, without a system call,
// and the same seed and program give the same run, byte by byte and line by line of the trace.
//
// The world holds directories and files (and files that stand for block devices). It outlives the processes that use it: each
// br_sim_ring() is one process. A power cut ends all of them; br_sim_crash_resolve() then decides what the disks kept, and new rings are
// the next processes.
//
// What is modelled
//  - Time is virtual. Every operation gets a latency from the seed and completes when the clock reaches it, so operations complete in any
//    order. Jobs run inline, in seeded order among themselves and among completions.
//  - Each file has a durable content and a list of changes (writes, zeroed ranges, sizes) that completed and were not synced. Reads see
//    all of them. A sync makes durable what had completed before it was submitted; nothing else does.
//  - At a power cut, operations in flight may have happened, wholly, as far as some sector, or not. Then every sector (512 bytes) that
//    unsynced changes touched gets one of the contents that it had since the last sync, each change being kept, dropped or torn (a prefix,
//    or any subset of its sectors) by the seed, independently of all others: a later write may survive an earlier one. Sizes are kept as a
//    prefix of their changes; what lies past the surviving size is gone, and reads as zeros when the file grows again. Times roll back or
//    not, independently of the data.
//  - Directory entries are no more durable than data: a created, renamed or removed entry survives for certain only after br_dir_sync() of
//    its directory, whatever was synced in the file. Unsynced entries are kept as a prefix (a journal) or independently (the least that POSIX
//    promises), as the seed says. A rename is atomic. A file that no entry names after the cut is gone.
//  - After a failed sync, part of what it should have written is never written, also not by a later sync that succeeds, though reads
//    still see it (as Linux does since 4.13 when pages are marked clean).
//  - A failed write may have moved a part of its bytes.
//  - br_sim_kill() ends the processes only (kill -9): what completed stays, what was in flight happened or not, locks are free.
// What is not modelled: directories that a power cut takes back (they are durable when made; their entries are not); lost flushes (a disk that lies about a sync), sectors torn inside, two worlds on one clock.
//
// Convention for tests: on a failure print "replay: T_SEED=<seed> <program>" and the trace; the seed of each round follows from it.
#ifndef BR_RING_SIM_H
#define BR_RING_SIM_H

#include "engine/ring/ring.h"

#define BR_SIM_SECTOR_BYTES 512

struct br_sim;

// Probabilities are in parts per million of the operations that they can strike; 0 never.
struct br_sim_options {
    uint64_t seed;
    uint64_t space_bytes;     // for the pages of all regular files; 0 no limit
    unsigned read_error_ppm;  // EIO
    unsigned write_error_ppm; // EIO, writes and zeroed ranges
    unsigned sync_error_ppm;  // EIO
    unsigned misdirect_ppm;   // a write goes to another place of the same file, and says that all is well
    unsigned rot_ppm;         // one bit of a write is stored wrong
    unsigned short_ppm;       // the disk moves only a part; the ring asks for the rest
    unsigned slow_ppm;        // takes a thousand times longer
};

/** br_sim_new - an empty world; never fails (it aborts when memory is short: a test tool) */
struct br_sim *br_sim_new(const struct br_sim_options *options);
/** br_sim_free - its rings must be closed; NULL is fine */
void br_sim_free(struct br_sim *sim);
/**
 * br_sim_fork - an independent copy of the files, durable and not, with its own @seed
 * Rings, locks, counts and planned faults are not copied; probabilities are. Cheap: pages are shared until written. Operations in flight
 * in @sim have not happened in the copy.
 */
struct br_sim *br_sim_fork(const struct br_sim *sim, uint64_t seed);
/** br_sim_set_options - other probabilities and space limit from now on; the seed in it is not used */
void br_sim_set_options(struct br_sim *sim, const struct br_sim_options *options);

// Processes -------------------------------------------------------------------------------------------------------------------------

/** br_sim_ring - a ring = one process of this world; @options as for br_ring_open(), kind ignored, NULL: defaults and no buffers */
BR_MUST_CHECK int br_sim_ring(struct br_sim *sim, const struct br_ring_options *options, struct br_ring **ret_ring,
                              struct br_err *reterr);
/** br_sim_dir - the directory of this path ("" is the root; any text without a final '/'), made durably when missing */
BR_MUST_CHECK int br_sim_dir(struct br_ring *ring, const char *path, struct br_dir **ret_dir, struct br_err *reterr);
/**
 * br_sim_file - open a regular file by path ("NAME" in the root, or "DIR/NAME"), for reading and writing
 * @size_bytes  of a file that is made now, durably, as one hole; one that exists keeps its own
 */
BR_MUST_CHECK int br_sim_file(struct br_ring *ring, const char *path, uint64_t size_bytes, struct br_file **ret_file,
                              struct br_err *reterr);
/** br_sim_device - the same for a block device: fixed size, no holes, @sector_bytes (512 or 4096) told by br_file_stat(), reads zeros when new */
BR_MUST_CHECK int br_sim_device(struct br_ring *ring, const char *path, uint64_t size_bytes, uint32_t sector_bytes,
                                struct br_file **ret_file, struct br_err *reterr);

// Crashes ---------------------------------------------------------------------------------------------------------------------------

/**
 * br_sim_crash_at_change - cut the power during the n-th change from now (1: the next); 0 takes the plan back
 * Changes are writes, zeroed ranges, syncs, new sizes, reservations, and entries made, renamed, removed and synced. The n-th itself may or
 * may not happen. To sweep all crash points: run n = 1, 2, ... on a br_sim_fork() each until br_sim_crashed() stays false.
 */
void br_sim_crash_at_change(struct br_sim *sim, uint64_t n);
/** br_sim_crash_at_sync - the same, counting syncs of files and directories only */
void br_sim_crash_at_sync(struct br_sim *sim, uint64_t n);
/** br_sim_kill_at_change - the same as br_sim_crash_at_change(), but only the processes end */
void br_sim_kill_at_change(struct br_sim *sim, uint64_t n);
/** br_sim_crash - cut the power now; every call of every ring fails from now on with -BR_E_IO "simulated crash", operations in flight too */
void br_sim_crash(struct br_sim *sim);
/** br_sim_kill - end all processes now, the disks go on: calls fail as after a crash */
void br_sim_kill(struct br_sim *sim);
/** br_sim_crashed - whether a crash or kill happened that br_sim_crash_resolve() has not settled */
bool br_sim_crashed(const struct br_sim *sim);
/**
 * br_sim_crash_resolve - decide what survived; then new rings may be made
 * Rings of before stay dead for ever; they may be closed before or after. Does nothing when there was no crash.
 */
void br_sim_crash_resolve(struct br_sim *sim);

// Faults ----------------------------------------------------------------------------------------------------------------------------

/** br_sim_fail_at - the n-th operation from now (1: the next; reads count too) fails with @os_errno (EIO, ENOSPC); 0 takes the plan back */
void br_sim_fail_at(struct br_sim *sim, uint64_t n, int os_errno);
/** br_sim_unreadable - reads that touch the range fail with EIO; writes go through and don't heal it; ranges add up */
void br_sim_unreadable(struct br_sim *sim, const char *path, uint64_t offset_bytes, uint64_t len_bytes);
/** br_sim_readable - all of the file can be read again */
void br_sim_readable(struct br_sim *sim, const char *path);
/** br_sim_space - another space limit; 0 none */
void br_sim_space(struct br_sim *sim, uint64_t space_bytes);
/** br_sim_poke - change bytes behind everybody's back, now and durably; within the file's size */
void br_sim_poke(struct br_sim *sim, const char *path, const void *bytes, size_t len, uint64_t offset_bytes);
/** br_sim_advance - let time pass */
void br_sim_advance(struct br_sim *sim, uint64_t ns);
/** br_sim_set_unix_ns - set the wall clock, decades off if you like; the monotonic clock goes on */
void br_sim_set_unix_ns(struct br_sim *sim, uint64_t unix_ns);
/** br_sim_settle - all that completed becomes durable, as after an hour of idling */
void br_sim_settle(struct br_sim *sim);

// What an oracle asks ---------------------------------------------------------------------------------------------------------------

/** br_sim_changes, br_sim_syncs, br_sim_ios - how many so far: changes; syncs among them; all operations, reads too */
uint64_t br_sim_changes(const struct br_sim *sim);
uint64_t br_sim_syncs(const struct br_sim *sim);
uint64_t br_sim_ios(const struct br_sim *sim);
/** br_sim_exists - whether a file of this path is there */
bool br_sim_exists(const struct br_sim *sim, const char *path);
/** br_sim_size - its size; it must exist */
uint64_t br_sim_size(const struct br_sim *sim, const char *path);
/** br_sim_read - its bytes as a process would see them now; past the end zeros; it must exist. No operation, no fault. */
void br_sim_read(const struct br_sim *sim, const char *path, void *buf, size_t len, uint64_t offset_bytes);
/** br_sim_read_durable - the bytes that would survive if all that is unsynced were lost, of the file that the path names now */
void br_sim_read_durable(const struct br_sim *sim, const char *path, void *buf, size_t len, uint64_t offset_bytes);
/** br_sim_list - the names in a directory, sorted, each followed by a newline, as a string in @names */
void br_sim_list(const struct br_sim *sim, const char *path, struct br_buf *names);
/** br_sim_used_bytes - space taken by regular files now */
uint64_t br_sim_used_bytes(const struct br_sim *sim);
/** br_sim_trace - the last operations, one line each, oldest first, appended to @text with a final zero (not counted in len) */
void br_sim_trace(const struct br_sim *sim, struct br_buf *text);
/** br_sim_seed_from_env - the number in environment variable @name, or @otherwise */
uint64_t br_sim_seed_from_env(const char *name, uint64_t otherwise);

#endif
