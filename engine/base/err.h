// SPDX-License-Identifier: Apache-2.0
//
// Errors. One table gives every code its errno class, exit status, message and hint; blkrep-errors(7) is printed from it.
//
// Functions return 0 or a count on success and a negative -BR_E_* on failure. What failed, on what and at which offset travels in
// the last parameter, `struct br_err *reterr`, which is written only on failure and may be NULL. The engine never prints.
#ifndef BR_BASE_ERR_H
#define BR_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BR_MUST_CHECK        __attribute__((warn_unused_result))
#define BR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

// Exit statuses, as DESIGN "Command line" fixes them.
enum br_exit {
    BR_EXIT_OK = 0,
    BR_EXIT_FAILED = 1,
    BR_EXIT_USAGE = 2,
    BR_EXIT_REFUSED = 3,
    BR_EXIT_VERIFY = 4,
    BR_EXIT_PEER = 5,
    BR_EXIT_SPACE = 6,
    BR_EXIT_BUSY = 7,
    BR_EXIT_GAPS = 8,
};

// X(name, errno class, exit status, message, hint), new ones last: dm-helper's socket carries their numbers. The hint says what the user can do; context comes with the error itself.
#define BR_ERR_TABLE(X)                                                                                             \
    X(IO, EIO, BR_EXIT_FAILED, "input/output error", "look at the kernel log (dmesg) for the device named")         \
    X(NOMEM, ENOMEM, BR_EXIT_FAILED, "out of memory", "free memory, or lower --buffers")                            \
    X(INTERNAL, ENOTRECOVERABLE, BR_EXIT_FAILED, "internal error",                                                  \
      "report this with the command line and the version")                                                          \
    X(USAGE, EINVAL, BR_EXIT_USAGE, "wrong usage", "see blkrep VERB --help")                                        \
    X(CONFIG, EINVAL, BR_EXIT_USAGE, "configuration error", "correct what is named; see blkrep.conf(5)")            \
    X(NOT_FOUND, ENOENT, BR_EXIT_FAILED, "not found", "check the name")                                             \
    X(PERMISSION, EACCES, BR_EXIT_FAILED, "permission denied",                                                      \
      "run as a user that may access the object named; nobody can write to a read-only file system")                \
    X(UNSUPPORTED, EOPNOTSUPP, BR_EXIT_FAILED, "not supported here", "see blkrep doctor, or choose another way")    \
    X(REFUSED, EPERM, BR_EXIT_REFUSED, "refused for safety", "read what is named before overriding")                \
    X(SOURCE_IN_USE, EBUSY, BR_EXIT_REFUSED, "the source can change while it is read",                              \
      "unmount it, close its writers, or accept an inconsistent copy with --live-source")                           \
    X(SOURCE_MOVED, EBUSY, BR_EXIT_REFUSED, "the source changed during the run",                                    \
      "stop its writers and run again, or accept an inconsistent copy with --live-source")                          \
    X(TARGET_IN_USE, EBUSY, BR_EXIT_REFUSED, "the target is mounted or held", "unmount or release it first")        \
    X(TARGET_FOREIGN, EEXIST, BR_EXIT_REFUSED, "the target holds something that is not this volume's replica",      \
      "choose another target, or replace its content with --overwrite")                                             \
    X(TARGET_SMALL, ENOSPC, BR_EXIT_REFUSED, "the target is too small",                                             \
      "use a target at least as large as the source")                                                               \
    X(SAME_OBJECT, EINVAL, BR_EXIT_REFUSED, "source and target are the same object", "name two different objects")  \
    X(SWAPPED, EINVAL, BR_EXIT_REFUSED, "source and target look swapped",                                           \
      "the source is a recorded replica of the target; name them the other way round, or forget the replica first") \
    X(WRONG_PARENT, ESTALE, BR_EXIT_REFUSED, "the replica is not at the version that the delta starts from",        \
      "run blkrep sync, which compares both sides anew")                                                            \
    X(FOREIGN_WRITE, ESTALE, BR_EXIT_REFUSED, "the replica was changed by something other than blkrep",             \
      "find the writer; then run with --force-full to make the replica anew")                                       \
    X(INCOMPLETE, ESTALE, BR_EXIT_REFUSED, "the replica's first copy is not complete",                              \
      "run blkrep sync again to complete it")                                                                       \
    X(TRANSITION, ESTALE, BR_EXIT_REFUSED, "the replica is between two versions", "run blkrep finish REPLICA")      \
    X(VERIFY, EILSEQ, BR_EXIT_VERIFY, "verification failed",                                                        \
      "find out why what is named differs; then make the replica anew (--force-full), mend the repository"          \
      " (blkrep verify REPO --repair REPO2 or SOURCE), or make a point anew (--type full)")                         \
    X(CORRUPT, EILSEQ, BR_EXIT_VERIFY, "damaged data",                                                              \
      "the object named can't be trusted; get it again from its origin")                                            \
    X(TRUNCATED, EILSEQ, BR_EXIT_VERIFY, "the stream ends too early", "get the stream again, whole")                \
    X(VERSION, EPROTONOSUPPORT, BR_EXIT_FAILED, "unknown format or protocol version",                               \
      "use a blkrep at least as new as the writer")                                                                 \
    X(LIMIT, E2BIG, BR_EXIT_FAILED, "a limit was exceeded", "ask for less, or raise the limit named")               \
    X(PEER, ECONNABORTED, BR_EXIT_PEER, "the peer or the network failed",                                           \
      "check that the other side (blkrep serve, or what reads the stream) runs and can be reached")                 \
    X(TIMEOUT, ETIMEDOUT, BR_EXIT_PEER, "the peer did not answer in time", "check the network between both hosts")  \
    X(PROTOCOL, EPROTO, BR_EXIT_PEER, "the peer broke the protocol", "check that both sides run a released blkrep") \
    X(AUTH, EACCES, BR_EXIT_PEER, "the peer could not prove who it is, or may not do this",                         \
      "pair anew, with a token of the role that this needs: blkrep token create there, blkrep pair here")           \
    X(NO_SPACE, ENOSPC, BR_EXIT_SPACE, "no space left", "make room on the file system named and run again")         \
    X(BUSY, EBUSY, BR_EXIT_BUSY, "another run holds it", "wait for the other run to end")                           \
    X(GAPS, EIO, BR_EXIT_GAPS, "done, with unreadable blocks", "the version marks them; replace the source disk")   \
    X(SOURCE_READ, EIO, BR_EXIT_FAILED, "the source has unreadable blocks",                                         \
      "save the rest with --continue-on-read-error")                                                                \
    X(FREEZE_SLOW, ETIMEDOUT, BR_EXIT_FAILED, "write-back is too slow for a short freeze; none was begun",          \
      "run again when the disk is less busy, or allow a longer freeze")                                             \
    X(FREEZE_DEADLINE, ETIMEDOUT, BR_EXIT_FAILED, "the freeze did not end in time and was undone",                  \
      "run again when the disk is less busy, or allow a longer freeze")                                             \
    X(HOOK, ECANCELED, BR_EXIT_FAILED, "a hook or a command failed",                                                \
      "look at its own messages; a hook is named by the volume's section, a command by --run")                      \
    X(CANCELLED, ECANCELED, BR_EXIT_FAILED, "stopped by a signal", "run again to go on from what is durable")       \
    X(EXISTS, EEXIST, BR_EXIT_REFUSED, "exists already", "choose another name, or use what is there")               \
    X(KEY, EACCES, BR_EXIT_FAILED, "no key at hand opens the repository",                                           \
      "give the right passphrase ($BLKREP_PASSPHRASE, --passphrase-file) or key file")                              \
    X(ROLLBACK, ESTALE, BR_EXIT_VERIFY, "the repository lacks what this host has seen there",                       \
      "find out who put an older copy in its place; if that was meant, say so once with --accept-rollback")

enum br_err_code {
    BR_E_NONE = 0,
#define X(name, errno_class, exit_status, message, hint) BR_E_##name,
    BR_ERR_TABLE(X)
#undef X
        BR_E_MAX
};

struct br_err {
    int code;              // a positive BR_E_*, 0 when nothing was recorded
    int os_errno;          // errno of the failing call, 0 when none
    bool has_offset;       // offset_bytes is meaningful
    uint64_t offset_bytes; // where in the object the failure is
    char text[480];        // what failed, on what; no final newline, never the table's message repeated
};

/**
 * br_err_set - record an error's context and return its code negated
 * @reterr  where to write, may be NULL
 * @code    a positive BR_E_*
 * @fmt     printf format of the context: what failed, on what object
 * Returns -@code, so that callers write `return br_err_set(reterr, BR_E_IO, "...")`.
 */
int br_err_set(struct br_err *reterr, int code, const char *fmt, ...) BR_PRINTF(3, 4);

/**
 * br_err_os - record an error that a system call reported
 * @os_errno  positive errno; what a user can do something about has a code of its own (ENOSPC NO_SPACE, ENOENT NOT_FOUND, EMFILE LIMIT,
 *            EISDIR UNSUPPORTED, EPIPE PEER and so on), the rest is IO
 * Returns the negated code chosen. The text gets ": strerror" appended.
 */
int br_err_os(struct br_err *reterr, int os_errno, const char *fmt, ...) BR_PRINTF(3, 4);

/**
 * br_err_at - like br_err_set, with the byte offset at which it failed
 */
int br_err_at(struct br_err *reterr, int code, uint64_t offset_bytes, const char *fmt, ...) BR_PRINTF(4, 5);

/**
 * br_err_prefix - put "prefix: " before a recorded text; no effect on NULL
 * Returns -reterr->code (or -BR_E_INTERNAL on NULL), so that callers can return it.
 */
int br_err_prefix(struct br_err *reterr, const char *fmt, ...) BR_PRINTF(2, 3);

/** br_err_name - "IO", "BUSY", ...; "NONE" for 0, "INTERNAL" for what the table doesn't have */
const char *br_err_name(int code);
/** br_err_message - the table's one-line message of a positive code */
const char *br_err_message(int code);
/** br_err_hint - what the user can do about a positive code */
const char *br_err_hint(int code);
/** br_err_exit - the exit status of a positive or negated code; 0 gives BR_EXIT_OK */
int br_err_exit(int code);
/** br_err_class - the errno class of a positive code */
int br_err_class(int code);
/** br_err_from_name - the positive code of a table name, 0 when unknown */
int br_err_from_name(const char *name);
/**
 * br_err_from_peer - the positive code that an error has here which a peer reports by this name
 * PEER for a name that only a newer peer knows, and for CANCELLED: that a peer was told to stop does not mean that we were.
 */
int br_err_from_peer(const char *name);

#endif
