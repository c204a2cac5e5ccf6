// SPDX-License-Identifier: Apache-2.0
//
// Where kernel facts come from: files of /proc, /sys, /run, /etc and /lib/modules below a root folder, and a few questions that are
// system calls. kmc_running is the machine itself; a test fills a folder and answers the questions, and has a machine of its own making.
//
// Nothing here changes the machine, and that takes care. Opening /dev/mapper/control or /dev/ublk-control while no driver has
// registered behind them makes the kernel load one, and so does DM_GET_TARGET_VERSION: the first two are opened only when /proc/misc
// shows the driver, the third is never asked. No device is opened for writing.
//
// kmod-compat stands below the engine and prints nothing: its functions return false or a negative errno, and say reasons as text in
// structs that the caller shows.
#ifndef KMC_SOURCE_H
#define KMC_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KMC_MUST_CHECK   __attribute__((warn_unused_result))
#define KMC_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define KMC_PATH_BYTES     4096
#define KMC_DM_NAME_BYTES  16 // a target's name with its final zero; DM_MAX_TYPE_NAME of linux/dm-ioctl.h
#define KMC_DM_TARGETS_MAX 96
#define KMC_URING_OPS      128

struct kmc_target {
    char name[KMC_DM_NAME_BYTES];
    uint32_t version[3];
};

// What device-mapper says of itself.
struct kmc_dm_answer {
    int os_errno;        // 0, or why it did not answer; the rest is then zero
    uint32_t version[3]; // of the ioctl interface
    struct kmc_target targets[KMC_DM_TARGETS_MAX];
    size_t target_count;
};

struct kmc_uring_answer {
    int os_errno;
    uint32_t features;       // IORING_FEAT_*
    bool ops[KMC_URING_OPS]; // by IORING_OP_*
};

struct kmc_ublk_answer {
    int os_errno;
    uint64_t features; // UBLK_F_*
};

// A DM device's active table, as far as its first target tells what it is.
struct kmc_table_answer {
    int os_errno;
    char target[KMC_DM_NAME_BYTES]; // of the first segment; "" for an empty table
    uint32_t segment_count;
};

struct kmc_source {
    const char *root; // put before every path; "" for the machine itself
    void *context;    // the functions' own
    void (*dm)(const struct kmc_source *source, struct kmc_dm_answer *ret_answer);
    void (*dm_table)(const struct kmc_source *source, const char *dm_name, struct kmc_table_answer *ret_answer);
    void (*uring)(const struct kmc_source *source, struct kmc_uring_answer *ret_answer);
    void (*ublk)(const struct kmc_source *source, struct kmc_ublk_answer *ret_answer);
    int (*aio)(const struct kmc_source *source); // 0 or a positive errno
};

// The running machine.
extern const struct kmc_source kmc_running;

/**
 * kmc_read - a small file's content without blanks and line ends at its ends
 * @text  always a string afterwards; cut to @text_size
 * Blocks: as /proc and /sys do, never on a device    Allocates: no
 * Returns the length, 0 for an empty file, or a negative errno.
 */
int kmc_read(const struct kmc_source *source, const char *path, char *text, size_t text_size);

/**
 * kmc_read_all - a whole file as a string
 * Owner: the caller frees    Allocates: at most @max_bytes + 1; a longer file is cut there
 * Returns NULL when it can't be read.
 */
KMC_MUST_CHECK char *kmc_read_all(const struct kmc_source *source, const char *path, size_t max_bytes);

/** kmc_exists - true when the path leads to something; symbolic links are followed within the machine itself only */
bool kmc_exists(const struct kmc_source *source, const char *path);

/**
 * kmc_link_leaf - the last component of what a symbolic link holds, "" when there is no such link
 * Returns true when there is one that fits.
 */
bool kmc_link_leaf(const struct kmc_source *source, const char *path, char *leaf, size_t leaf_size);

/**
 * kmc_link - what a symbolic link holds; "" and false when there is no such link or it does not fit
 */
bool kmc_link(const struct kmc_source *source, const char *path, char *text, size_t text_size);

/**
 * kmc_list - names in a folder, sorted as numbers within names sort (sda2 before sda10), without . and ..
 * @ret_names   an array of strings, both allocated; NULL for none
 * Owner: kmc_list_free()    Allocates: yes
 * Returns how many; 0 also when the folder can't be read or memory is short.
 */
size_t kmc_list(const struct kmc_source *source, const char *path, char ***ret_names);
/** kmc_list_free - what kmc_list() gave */
void kmc_list_free(char **names, size_t count);

/** kmc_program - is the program in one of the folders of root's path? */
bool kmc_program(const struct kmc_source *source, const char *name);

/**
 * kmc_has_word - is the word among those of a text, separated by blanks?
 * "blkrep=off" is in "quiet blkrep=off"; it is not in "xblkrep=off".
 */
bool kmc_has_word(const char *text, const char *word);

#endif
