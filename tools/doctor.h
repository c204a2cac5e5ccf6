// SPDX-License-Identifier: Apache-2.0
//
// What `blkrep doctor` finds out, and what it makes of it:
//
//     kmod-compat    facts and devices, from /proc and /sys: quick, never waits
//     doctor_look    what must be read from devices and file systems: in a child process, each look with a deadline
//     doctor_room    where a tracker's store could live
//     doctor_plan    the commands for one device
//     doctor_text, doctor_json    the answer for people and for programs
//
// Nothing is changed and nothing is opened for writing. Everything but the looks works on a made-up machine (struct kmc_source).
#ifndef BR_TOOLS_DOCTOR_H
#define BR_TOOLS_DOCTOR_H

#include "engine/guard/guard.h"
#include "kmod-compat/advice.h"
#include "tools/cli.h"

#define DOCTOR_PLACES_MAX   6
#define DOCTOR_PLANS_MAX    2
#define DOCTOR_COMMANDS_MAX 10
#define DOCTOR_LINE_BYTES   1024

enum doctor_seen {
    DOCTOR_SEEN,       // read
    DOCTOR_NOT_LOOKED, // no reason to, or out of time
    DOCTOR_DENIED,     // not for this user
    DOCTOR_SUSPENDED,  // a DM device that would make a reader wait
    DOCTOR_HUNG,       // it did not answer before the deadline
    DOCTOR_FAILED,     // it answered with an error
};

// What one look at a device told.
struct doctor_look {
    enum doctor_seen seen;
    bool blank;                      // SEEN, and nothing that libblkid knows is on it
    char holds[64];                  // of libblkid
    char label[128];                 // likewise
    char users[BR_GUARD_TEXT_BYTES]; // who could write to it now, in words; "" nobody, or not asked
};

// A mounted file system that could hold a store.
struct doctor_space {
    size_t device;
    char where[256];
    uint64_t free_bytes;
};

// A physical volume with free space.
struct doctor_pv {
    size_t device;
    char vg[128];
    uint64_t free_bytes;
};

struct doctor {
    struct kmc_facts facts;
    struct kmc_support supports[KMC_FEATURE_MAX];
    struct kmc_devices devices;
    struct doctor_look *looks; // one for each device
    struct doctor_space *spaces;
    size_t space_count;
    struct doctor_pv *pvs;
    size_t pv_count;
    bool pvs_known; // LVM was asked and answered
    bool all;       // no device was named, so all are shown
    bool hurried;   // something hung or time was short: not everything was looked at
};

/**
 * doctor_read - facts, answers of the matrix, devices; nothing is looked at yet
 * Owner: doctor_free()    Errors: -BR_E_NOMEM
 */
BR_MUST_CHECK int doctor_read(const struct kmc_source *source, struct doctor *ret_doctor, struct br_err *reterr);
/** doctor_free - all of it */
void doctor_free(struct doctor *doctor);

/**
 * doctor_look - read what is on the devices, how much room file systems and volume groups have
 * @wanted  by index of a device: look at it; room is always asked
 * Blocks: at most DOCTOR_LOOK_LIMIT_S seconds, whatever hangs    Changes: nothing; devices are opened with O_RDONLY | O_NONBLOCK
 * What could not be read says so in its doctor_look; memory that is short leaves room unknown.
 */
void doctor_look(struct doctor *doctor, const bool *wanted);
#define DOCTOR_LOOK_LIMIT_S 20

enum doctor_place_kind { DOCTOR_PLACE_VG, DOCTOR_PLACE_DEVICE, DOCTOR_PLACE_FILES };

struct doctor_place {
    enum doctor_place_kind kind;
    char name[320]; // the VG, the device's stable path, or where the file system is mounted
    uint64_t free_bytes;
    bool own_disk; // on the disk of the device that asks
};

// Places for a device's store, the best first.
struct doctor_room {
    struct doctor_place places[DOCTOR_PLACES_MAX];
    size_t count;
    struct kmc_room sum;
};

/** doctor_room_of - where the store and the metadata of a tracker of the device could live */
void doctor_room_of(const struct doctor *doctor, size_t index, struct doctor_room *ret_room);
/** doctor_place_word - "vg", "device", "files" */
const char *doctor_place_word(enum doctor_place_kind kind);

// One way to do it.
struct doctor_plan {
    const char *when; // "now", "at boot"
    char commands[DOCTOR_COMMANDS_MAX][DOCTOR_LINE_BYTES];
    size_t count;
};

// All that is said about one device.
struct doctor_advice {
    struct kmc_way_answer way;
    struct doctor_room room;
    struct kmc_tracker_answer trackers[KMC_TRACKER_MAX];
    enum kmc_tracker chosen;
    char volume[64]; // the name that the commands give it
    struct doctor_plan plans[DOCTOR_PLANS_MAX];
    size_t plan_count;
};

/** doctor_advise - the way, the tracker and the commands for one device */
void doctor_advise(const struct doctor *doctor, size_t index, struct doctor_advice *ret_advice);
/** doctor_shell_word - a word as a shell takes it, quoted where it must be */
void doctor_shell_word(const char *word, char *text, size_t text_size);

/** doctor_print - for people, on stdout */
void doctor_print(struct cli *cli, const struct doctor *doctor, const bool *wanted);
/** doctor_report - for programs, into the exit object */
void doctor_report(struct cli *cli, const struct doctor *doctor, const bool *wanted);
extern const struct cli_field doctor_fields[]; // what doctor_report() writes

/** doctor_matrix - the support matrix as the README has it */
void doctor_matrix(const struct cli *cli);
/** doctor_manual - the matrix's sections of blkrep-doctor(1) */
void doctor_manual(void);

#endif
