// SPDX-License-Identifier: Apache-2.0
//
// What can be done with a block device: can it be attached, and how; which tracker `auto` takes for it and why not another. Pure
// decisions over facts and devices that were read before: no file, no device, no system call.
#ifndef KMC_ADVICE_H
#define KMC_ADVICE_H

#include "kmod-compat/device.h"
#include "kmod-compat/matrix.h"

enum kmc_way {
    KMC_WAY_NONE,      // never: what it is says why
    KMC_WAY_ELSEWHERE, // not this one but what lies on it: `instead`
    KMC_WAY_ONLINE,    // a DM device: its table can be changed while it is in use
    KMC_WAY_IDLE,      // a plain device that nobody uses now
    KMC_WAY_RELEASE,   // a plain device in use: unmount it first, or have it attached at boot
    KMC_WAY_BOOT,      // a plain device that can't be released while the system runs: at boot
};

#define KMC_INSTEAD_MAX 8

struct kmc_way_answer {
    enum kmc_way way;
    char reason[320];
    size_t instead[KMC_INSTEAD_MAX]; // of ELSEWHERE: indexes; there may be more
    size_t instead_count;
};

/** kmc_way_of - whether and how the device at @index can be attached, as far as the device decides */
void kmc_way_of(const struct kmc_devices *devices, size_t index, struct kmc_way_answer *ret_answer);

// In the order in which `auto` prefers them. The whole rule, which README and blkrep-attach(1) tell too:
//   a thin volume whose pool can be asked     thin
//   another LV, and no place was named        cow, by snapshots of LVM's own in the group
//   anything else                             era when its metadata can lie on the device's own disk, else cow
enum kmc_tracker { KMC_TRACKER_THIN, KMC_TRACKER_ERA, KMC_TRACKER_COW, KMC_TRACKER_SCAN, KMC_TRACKER_MAX };

// Where a tracker's store or metadata could live, found by the caller.
struct kmc_room {
    bool own_disk; // on the device's own disk, outside of the device
    bool anywhere; // on any disk, outside of the device
};

struct kmc_tracker_answer {
    bool fits;
    char reason[320]; // why (not)
};

/**
 * kmc_trackers - which trackers fit the device, each with its reason
 * @way  from kmc_way_of(): what can't be attached leaves scan
 * Returns the one that `auto` takes: the first that fits.
 */
enum kmc_tracker kmc_trackers(const struct kmc_facts *facts, const struct kmc_device *device, enum kmc_way way,
                              const struct kmc_room *room, struct kmc_tracker_answer ret_answers[KMC_TRACKER_MAX]);
/** kmc_tracker_name - "thin", as --tracker takes it */
const char *kmc_tracker_name(enum kmc_tracker tracker);

/** kmc_has_root - is the root file system, or another that can't be unmounted, mounted from the device itself? */
bool kmc_has_root(const struct kmc_device *device);

#endif
