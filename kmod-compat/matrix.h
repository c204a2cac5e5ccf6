// SPDX-License-Identifier: Apache-2.0
//
// The support matrix: one table of what blkrep can do with a kernel, what that needs, from which kernel on, where it is known to be bad,
// and what is done without it. The code asks it (kmc_supports), `blkrep doctor` shows it with this machine's answers, README and
// blkrep-doctor(1) are printed from it.
#ifndef KMC_MATRIX_H
#define KMC_MATRIX_H

#include "kmod-compat/facts.h"

// X(name, the name that users see)
#define KMC_FEATURE_TABLE(X) \
    X(SYNC, "sync")          \
    X(IO_URING, "io_uring")  \
    X(ATTACH, "attach")      \
    X(COW, "cow")            \
    X(ERA, "era")            \
    X(THIN, "thin")          \
    X(LVM, "lvm")            \
    X(GROUP, "group")        \
    X(BOOT, "boot")          \
    X(UBLK, "mirror-ublk")   \
    X(NBD, "mirror-nbd")     \
    X(SERVICE, "service")

enum kmc_feature {
#define X(name, shown) KMC_##name,
    KMC_FEATURE_TABLE(X)
#undef X
        KMC_FEATURE_MAX
};

// X(name, how the matrix calls it)
#define KMC_NEED_TABLE(X)                     \
    X(NONE, "")                               \
    X(IO, "io_uring or libaio")               \
    X(URING, "io_uring")                      \
    X(NOT_OFF, "")                            \
    X(DM, "device-mapper")                    \
    X(LINEAR, "dm linear")                    \
    X(SNAPSHOT, "dm snapshot")                \
    X(SNAPSHOT_ORIGIN, "dm snapshot-origin")  \
    X(ERA, "dm era")                          \
    X(THIN, "dm thin")                        \
    X(THIN_POOL, "dm thin-pool")              \
    X(THIN_TOOLS, "thin-provisioning-tools")  \
    X(LVM2, "lvm2")                           \
    X(INITRAMFS, "initramfs-tools or dracut") \
    X(SYSTEMD, "systemd")                     \
    X(UBLK, "ublk with recovery")             \
    X(NBD, "nbd")                             \
    X(CGROUP2, "cgroup2")                     \
    X(SECCOMP, "seccomp")

enum kmc_need {
#define X(name, shown) KMC_NEED_##name,
    KMC_NEED_TABLE(X)
#undef X
        KMC_NEED_MAX
};

#define KMC_NEEDS_MAX 6

// A row. What is a version here is a kernel's: {6, 1}; {0, 0} is any.
struct kmc_row {
    const char *what;                   // what one has with it, a phrase
    enum kmc_need needs[KMC_NEEDS_MAX]; // all of them; NONE ends
    enum kmc_feature base;              // a feature that must work too; KMC_FEATURE_MAX for none
    unsigned since[2];                  // the first kernel that has all of it
    unsigned bad_before[2];             // kernels before it are refused: bad_why
    const char *bad_why;                // NULL when nothing bad is known
    bool debian_6_1;                    // Debian's stock 6.1 has it; tests/vm/doctor-knows-this-machine.sh proves both
    bool debian_6_12;                   // so has its 6.12
    const char *without;                // what is done instead
    const char *get;                    // how to get it
};

extern const struct kmc_row kmc_matrix[KMC_FEATURE_MAX];

enum kmc_answer {
    KMC_NO,
    KMC_CANT_TELL, // this user does not see enough
    KMC_YES,
};

struct kmc_support {
    enum kmc_answer answer;
    char reason[320]; // why (not); of YES what it rests on; may be empty then
    char remedy[480]; // of NO and CANT_TELL: what to do
};

/** kmc_supports - does the feature work on the machine that has these facts? */
void kmc_supports(const struct kmc_facts *facts, enum kmc_feature feature, struct kmc_support *ret_support);

/** kmc_feature_name - "mirror-ublk" */
const char *kmc_feature_name(enum kmc_feature feature);
/** kmc_needs_text - what a row needs, "dm linear, dm snapshot" */
void kmc_needs_text(enum kmc_feature feature, char *text, size_t text_size);
/** kmc_since_text - from which kernel on a row works: "5.13", "any" */
void kmc_since_text(enum kmc_feature feature, char *text, size_t text_size);

#endif
