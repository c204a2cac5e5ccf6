// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/advice.h"

#include <stdio.h>
#include <string.h>

const char *kmc_tracker_name(enum kmc_tracker tracker)
{
    static const char *const names[KMC_TRACKER_MAX] = {"thin", "era", "cow", "scan"};

    return names[tracker];
}

bool kmc_has_root(const struct kmc_device *device)
{
    static const char *const needed[] = {"/", "/usr", "/etc", "/var"};

    for (size_t i = 0; i < device->mount_count; i++) {
        for (size_t j = 0; j < KMC_ARRAY_LEN(needed); j++) {
            if (!strcmp(device->mounts[i].where, needed[j])) {
                return true;
            }
        }
    }
    return false;
}

// Way ---------------------------------------------------------------------------------------------------------------------------------------

__attribute__((format(printf, 3, 4))) static void advice_way(struct kmc_way_answer *answer, enum kmc_way way,
                                                             const char *fmt, ...)
{
    __builtin_va_list args;

    answer->way = way;
    __builtin_va_start(args, fmt);
    vsnprintf(answer->reason, sizeof(answer->reason), fmt, args);
    __builtin_va_end(args);
}

static void advice_instead(struct kmc_way_answer *answer, size_t index)
{
    for (size_t i = 0; i < answer->instead_count; i++) {
        if (answer->instead[i] == index) {
            return;
        }
    }
    if (answer->instead_count < KMC_INSTEAD_MAX) {
        answer->instead[answer->instead_count++] = index;
    }
}

// What a user means by "on it": an LVM pool's layers are passed through to the LVs on them.
static void advice_users(const struct kmc_devices *devices, size_t index, unsigned depth, struct kmc_way_answer *answer)
{
    const struct kmc_device *device = &devices->list[index];

    for (size_t i = 0; i < device->above_count && depth < 8; i++) {
        if (devices->list[device->above[i]].kind == KMC_KIND_INTERNAL) {
            advice_users(devices, device->above[i], depth + 1, answer);
        } else {
            advice_instead(answer, device->above[i]);
        }
    }
}

static bool advice_kind(const struct kmc_device *device, struct kmc_way_answer *answer)
{
    switch (device->kind) {
    case KMC_KIND_ZRAM:
    case KMC_KIND_RAM: advice_way(answer, KMC_WAY_NONE, "its content is gone when the power is"); return true;
    case KMC_KIND_ROM:
    case KMC_KIND_FLOPPY: advice_way(answer, KMC_WAY_NONE, "it is no disk"); return true;
    case KMC_KIND_BLKREP:
        advice_way(answer, KMC_WAY_NONE, "blkrep made it for a volume that is attached; see blkrep status");
        return true;
    default: break;
    }
    if (device->read_only && device->kind != KMC_KIND_INTERNAL) {
        advice_way(answer, KMC_WAY_NONE, "it is read-only, so nothing changes that could be tracked: sync it once");
        return true;
    }
    if (device->swap || !strcmp(device->holds, "swap")) {
        advice_way(answer, KMC_WAY_NONE, "it is swap space");
        return true;
    }
    return false;
}

// A device that is there for others: physical volumes, legs of a multipath or RAID, encrypted containers, disks with partitions.
static bool advice_carrier(const struct kmc_devices *devices, size_t index, struct kmc_way_answer *answer)
{
    static const struct {
        const char *holds;
        const char *what;
    } members[] = {
        {"LVM2_member", "it is a physical volume of LVM: attach its logical volumes"},
        {"LVM1_member", "it is a physical volume of LVM: attach its logical volumes"},
        {"mpath_member", "it is one path to a multipath device: attach that"},
        {"linux_raid_member", "it is part of a software RAID: attach that"},
        {"ddf_raid_member", "it is part of a RAID: attach that"},
        {"crypto_LUKS", "it is an encrypted container: open it and attach what is in it"},
        {"drbd", "it is below DRBD: attach what DRBD makes of it"},
    };
    const struct kmc_device *device = &devices->list[index];
    size_t blkrep = 0;

    for (size_t i = 0; i < device->above_count; i++) {
        blkrep += devices->list[device->above[i]].kind == KMC_KIND_BLKREP;
    }
    if (blkrep) {
        advice_way(answer, KMC_WAY_NONE, "it is attached already; see blkrep status");
        return true;
    }
    advice_users(devices, index, 0, answer);
    for (size_t i = 0; i < devices->count; i++) {
        if (devices->list[i].disk == index) {
            advice_instead(answer, i);
        }
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(members); i++) {
        if (!strcmp(device->holds, members[i].holds)) {
            advice_way(answer, KMC_WAY_ELSEWHERE, "%s", members[i].what);
            return true;
        }
    }
    if (device->kind == KMC_KIND_INTERNAL) {
        advice_way(answer, KMC_WAY_ELSEWHERE, "LVM made it for itself: attach the logical volume");
        return true;
    }
    if (answer->instead_count) {
        advice_way(answer, KMC_WAY_ELSEWHERE, "others use it: attach what lies on it");
        return true;
    }
    return false;
}

void kmc_way_of(const struct kmc_devices *devices, size_t index, struct kmc_way_answer *ret_answer)
{
    const struct kmc_device *device = &devices->list[index];

    *ret_answer = (struct kmc_way_answer){.way = KMC_WAY_NONE};
    if (advice_kind(device, ret_answer) || advice_carrier(devices, index, ret_answer)) {
        return;
    }
    if (kmc_is_dm(device)) {
        advice_way(ret_answer, KMC_WAY_ONLINE, "a DM device: its table is changed while it is in use");
    } else if (!device->mount_count) {
        advice_way(ret_answer, KMC_WAY_IDLE, "no DM device, and not mounted now");
    } else if (kmc_has_root(device)) {
        advice_way(ret_answer, KMC_WAY_BOOT,
                   "no DM device, and the system runs from it: only at boot can something be put below it");
    } else {
        advice_way(ret_answer, KMC_WAY_RELEASE,
                   "no DM device: only while it is not mounted, or at boot, can something be put below it");
    }
}

// Trackers -----------------------------------------------------------------------------------------------------------------------------------

__attribute__((format(printf, 3, 4))) static void advice_tracker(struct kmc_tracker_answer *answer, bool fits,
                                                                 const char *fmt, ...)
{
    __builtin_va_list args;

    answer->fits = fits;
    __builtin_va_start(args, fmt);
    vsnprintf(answer->reason, sizeof(answer->reason), fmt, args);
    __builtin_va_end(args);
}

static void advice_thin(const struct kmc_facts *facts, const struct kmc_device *device,
                        struct kmc_tracker_answer *answer)
{
    struct kmc_support support;

    if (device->kind != KMC_KIND_THIN_LV || !device->vg[0]) {
        advice_tracker(answer, false, "not a thin volume of LVM's");
        return;
    }
    kmc_supports(facts, KMC_THIN, &support);
    if (support.answer == KMC_YES) {
        advice_tracker(answer, true, "a thin volume: its pool knows what differs between two snapshots");
    } else {
        advice_tracker(answer, false, "%.300s", support.reason);
    }
}

static void advice_era(const struct kmc_facts *facts, const struct kmc_room *room, struct kmc_tracker_answer *answer)
{
    struct kmc_support support;

    kmc_supports(facts, KMC_ERA, &support);
    if (support.answer != KMC_YES) {
        advice_tracker(answer, false, "%.300s", support.reason);
    } else if (!room->own_disk) {
        advice_tracker(answer, false,
                       "no place seen for its metadata on the device's own disk: on another one, that one's failure "
                       "would be this volume's");
    } else {
        advice_tracker(answer, true, "marks what is written, at the least cost");
    }
}

static void advice_cow(const struct kmc_facts *facts, const struct kmc_room *room, struct kmc_tracker_answer *answer)
{
    struct kmc_support support;

    kmc_supports(facts, KMC_COW, &support);
    if (support.answer != KMC_YES) {
        advice_tracker(answer, false, "%.300s", support.reason);
    } else if (!room->anywhere) {
        advice_tracker(answer, false, "no place seen for its store: name one with --cow=FILE, DEVICE or VG");
    } else {
        advice_tracker(answer, true,
                       "exact to 4 KiB, but its snapshot is held all the time, which costs most of the write rate");
    }
}

enum kmc_tracker kmc_trackers(const struct kmc_facts *facts, const struct kmc_device *device, enum kmc_way way,
                              const struct kmc_room *room, struct kmc_tracker_answer ret_answers[KMC_TRACKER_MAX])
{
    int chosen = 0;

    memset(ret_answers, 0, KMC_TRACKER_MAX * sizeof(*ret_answers));
    advice_tracker(&ret_answers[KMC_TRACKER_SCAN], true, "reads all of it, while nothing writes to it");
    if (way == KMC_WAY_NONE || way == KMC_WAY_ELSEWHERE) {
        for (int i = 0; i < KMC_TRACKER_SCAN; i++) {
            advice_tracker(&ret_answers[i], false, "it can't be attached");
        }
        return KMC_TRACKER_SCAN;
    }
    advice_thin(facts, device, &ret_answers[KMC_TRACKER_THIN]);
    advice_era(facts, room, &ret_answers[KMC_TRACKER_ERA]);
    advice_cow(facts, room, &ret_answers[KMC_TRACKER_COW]);
    while (!ret_answers[chosen].fits) {
        chosen++;
    }
    return (enum kmc_tracker)chosen;
}
