// SPDX-License-Identifier: Apache-2.0
//
// A repository as verbs open it: where it is, what opens it, which of its points a word names.
//
//     REPO           a directory, blkrep://HOST[:PORT]/NAME, or the name of a [repository N] section
//     REPO@POINT     POINT: latest, latest~N, an id or its first digits (at least 4), a time (the newest point not after it)
//
// The secret comes from --key-file, --passphrase-file, $BLKREP_PASSPHRASE, the section's passphrase-file or key-file, or a question on the terminal.
// What this host remembers of it, and the index, lie in STATE/repositories/UUID.
#ifndef BR_TOOLS_REPOSITORY_H
#define BR_TOOLS_REPOSITORY_H

#include "engine/repo/backup.h"
#include "tools/place.h"

// Options of every verb that opens a repository.
// clang-format off
#define REPOSITORY_ROLLBACK \
    {"accept-rollback", CLI_FLAG, NULL, \
     "The repository may show an older state than this host has seen: what it shows now counts from now on."}
#define REPOSITORY_OPTIONS                                                                                                    \
    {"passphrase-file", CLI_PATH, "FILE",                                                                                     \
     "The passphrase is the first line of FILE. Else it is $BLKREP_PASSPHRASE, or asked for."},                               \
    {"key-file", CLI_PATH, "FILE", "Open the repository with this key file instead of a passphrase."},                        \
    REPOSITORY_ROLLBACK,                                                                                                      \
    {"io", CLI_CHOICE, "auto|uring|aio",                                                                                      \
     "How to talk to the kernel; auto takes io_uring and falls back to libaio."},                                             \
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."}
// clang-format on

// Of a verb that opens a second one to write to.
// clang-format off
#define REPOSITORY_TARGET_OPTIONS                                                                                             \
    {"to-passphrase-file", CLI_PATH, "FILE",                                                                                  \
     "The passphrase of the repository that is written to is the first line of FILE. Else it is $BLKREP_TO_PASSPHRASE, or that of the first."}, \
    {"to-key-file", CLI_PATH, "FILE", "Open the repository that is written to with this key file."}
// clang-format on

struct repository {
    char path[PATH_MAX]; // real path of its directory, or blkrep://HOST:PORT/NAME
    struct br_store store;
    struct br_repo *repo;
    struct br_repo_refreshed refreshed;
    struct br_dir *heads; // what this host saw of it last (engine/repo/heads.h)
    unsigned rolled_back; // how much of that it does not show any more
};

/** repository_word - splits REPO[@POINT]; "" where there is no point; -BR_E_USAGE a word that is too long, or has an empty part */
BR_MUST_CHECK int repository_word(const char *word, char repo[PATH_MAX], char point[256], struct br_err *reterr);
/** repository_is - does @word (without a point) name a repository: a section, a directory that holds one, or one that a server keeps? */
bool repository_is(struct cli *cli, const char *word);
/** repository_path - the directory or address that a word names; it need not be there */
BR_MUST_CHECK int repository_path(struct cli *cli, const char *word, char path[PATH_MAX], struct br_err *reterr);
#define REPOSITORY_INIT_LOCK "tmp-init" // in the directory, while it is made
/**
 * repository_store - the store in @path
 * @make  the directory is made when missing, must hold nothing but what an init that was cut left, and is locked until the store is closed
 * Errors: -BR_E_REFUSED it holds something else; -BR_E_BUSY another init
 */
BR_MUST_CHECK int repository_store(struct br_ring *ring, const char *path, bool make, bool read_only,
                                   struct br_store *ret_store, struct br_err *reterr);

/** repository_store_at - the same where @path may be blkrep://HOST:PORT/NAME, too; then its server makes and locks what there is to */
BR_MUST_CHECK int repository_store_at(struct cli *cli, struct br_ring *ring, const char *path, bool make,
                                      bool read_only, struct br_store *ret_store, struct br_err *reterr);

// A secret in memory, wiped by repository_secret_free().
struct repository_secret {
    struct br_repo_secret secret;
    char *passphrase;
    struct br_key key;
    bool typed; // on the terminal
};
/**
 * repository_secret - from where the options, the environment, the section @section (NULL none) or a person on the terminal give it
 * @make  for a new repository: a passphrase is asked for twice, and a key file that is missing is made
 */
BR_MUST_CHECK int repository_secret(struct cli *cli, const char *section, bool make,
                                    struct repository_secret *ret_secret, struct br_err *reterr);
/** repository_new_secret - of a key to be added to @repository: --new-key-file, --new-passphrase-file, $BLKREP_NEW_PASSPHRASE, or asked for twice */
BR_MUST_CHECK int repository_new_secret(struct cli *cli, const struct repository *repository,
                                        struct repository_secret *ret_secret, struct br_err *reterr);
void repository_secret_free(struct repository_secret *secret);
#define REPOSITORY_RECOVERY_BYTES 80
/** repository_recovery_draw - a recovery key, and how it is printed: it is given where a passphrase is asked for */
void repository_recovery_draw(struct br_ring *ring, struct br_key *ret_key, char text[REPOSITORY_RECOVERY_BYTES]);

/**
 * repository_secret_hand_on - what opens @word, asked for if need be, as a file in memory that only this user can open: from here on the verb's
 * options name it, for this process and for those that it starts
 * @ret_fd  stays open over exec(); -1 the repository is not encrypted. The caller's to close, when nobody is to be started any more.
 */
BR_MUST_CHECK int repository_secret_hand_on(struct cli *cli, struct br_ring *ring, const char *word, int *ret_fd,
                                            struct br_err *reterr);

/**
 * repository_open - open and refresh
 * @word       without a point
 * @read_only  nothing is written to it; else one that was rolled back is -BR_E_ROLLBACK
 * Owner: repository_close(), also after a failure
 */
BR_MUST_CHECK int repository_open(struct cli *cli, struct br_ring *ring, const char *word, bool read_only,
                                  struct repository *ret_repository, struct br_err *reterr);
/**
 * repository_open_target - the same of a second one, for writing: its secret comes from --to-key-file, --to-passphrase-file, $BLKREP_TO_PASSPHRASE,
 * its section; else it is that of the first
 */
BR_MUST_CHECK int repository_open_target(struct cli *cli, struct br_ring *ring, const char *word,
                                         struct repository *ret_repository, struct br_err *reterr);
void repository_close(struct repository *repository);
/** repository_domain - the dedup domain of this host's volumes in it, drawn at first use */
BR_MUST_CHECK int repository_domain(struct cli *cli, struct br_ring *ring, const struct repository *repository,
                                    struct br_uuid *ret_domain, struct br_err *reterr);
/** repository_result - @error, or -BR_E_ROLLBACK when all else went well and the repository was rolled back; for verbs that read */
BR_MUST_CHECK int repository_result(const struct repository *repository, int error, struct br_err *reterr);
/** repository_removed - this host itself removed points: what the repository shows now is what it saw last; a failure is a warning */
void repository_removed(struct cli *cli, struct repository *repository);
/** repository_note - a point that was made just now is what this host saw last; a failure is a warning */
void repository_note(struct cli *cli, struct repository *repository, const struct br_point *point);

/** repository_forget_encrypted - somebody made a repository at @path that is not encrypted, and meant it */
void repository_forget_encrypted(struct cli *cli, const char *path);
/** repository_point - the point that @text names, of the volumes that --volume allows; -BR_E_NOT_FOUND, -BR_E_USAGE it names several */
BR_MUST_CHECK int repository_point(struct cli *cli, struct repository *repository, const char *text,
                                   struct br_point *ret_point, struct br_err *reterr);

// All points, oldest first.
struct repository_points {
    struct br_point *points;
    size_t count;
    size_t damaged; // that do not open
};
/** repository_points_add - one more; -BR_E_NOMEM */
BR_MUST_CHECK int repository_points_add(struct repository_points *points, const struct br_point *point,
                                        struct br_err *reterr);
/** repository_points - those that --volume allows, by the time when they were taken; a damaged one is a warning; -BR_E_NOT_FOUND --volume names none */
BR_MUST_CHECK int repository_points(struct cli *cli, struct repository *repository,
                                    struct repository_points *ret_points, struct br_err *reterr);
/** repository_points_of - the same of the volume that @volume names, NULL all, whatever --volume says; there may be none */
BR_MUST_CHECK int repository_points_of(struct cli *cli, struct repository *repository, const char *volume,
                                       struct repository_points *ret_points, struct br_err *reterr);
void repository_points_free(struct repository_points *points);
/**
 * repository_tags - TAG[,TAG]; NULL none
 * @room  where the tags are kept, as long as @ret_tags (NULL-terminated) is used
 */
BR_MUST_CHECK int repository_tags(const char *given, char *room, size_t room_bytes,
                                  const char *ret_tags[BR_POINT_TAGS_MAX + 1], struct br_err *reterr);
/** repository_time - a time as people write it: 2026-11-24, 2026-11-24 03:05[:00], with T or a blank, in local time, or with a final Z in UTC */
bool repository_time(const char *text, uint64_t *ret_unix_ns);

#endif
