// SPDX-License-Identifier: Apache-2.0
//
// Where the store and the metadata of a tracker could live: the free space of a volume group, an empty device, a file on another file
// system. Never on what is tracked: a store in a file system of its own volume would wait for itself when that is frozen.
#include <stdio.h>

#include "tools/doctor.h"

// Less than this is no place: metadata and a store for a short run need some 10 MiB, and a full one ends the tracking.
#define ROOM_MIN_BYTES   (64 * BR_MIB)
#define ROOM_MIN_PERCENT 1

const char *doctor_place_word(enum doctor_place_kind kind)
{
    static const char *const words[] = {
        [DOCTOR_PLACE_VG] = "vg", [DOCTOR_PLACE_DEVICE] = "device", [DOCTOR_PLACE_FILES] = "files"};

    return words[kind];
}

static bool room_on_root(const struct doctor_place *place)
{
    return place->kind == DOCTOR_PLACE_FILES && !strcmp(place->name, "/");
}

// On the own disk before elsewhere (a disk that fails takes both anyway), a VG before a device before files, the root file system last,
// more before less.
static bool room_better(const struct doctor_place *a, const struct doctor_place *b)
{
    if (a->own_disk != b->own_disk) {
        return a->own_disk;
    }
    if (a->kind != b->kind) {
        return a->kind < b->kind;
    }
    if (room_on_root(a) != room_on_root(b)) {
        return room_on_root(b);
    }
    return a->free_bytes > b->free_bytes;
}

static void room_add(struct doctor_room *room, const struct doctor_place *place, uint64_t size_bytes)
{
    size_t at = room->count;

    if (place->free_bytes < ROOM_MIN_BYTES || place->free_bytes < size_bytes / 100 * ROOM_MIN_PERCENT) {
        return;
    }
    room->sum.own_disk = room->sum.own_disk || place->own_disk;
    room->sum.anywhere = true;
    while (at && room_better(place, &room->places[at - 1])) {
        at--;
    }
    if (at == DOCTOR_PLACES_MAX) {
        return;
    }
    size_t keep = BR_MIN(room->count, (size_t)DOCTOR_PLACES_MAX - 1);
    memmove(&room->places[at + 1], &room->places[at], (keep - at) * sizeof(*place));
    room->places[at] = *place;
    room->count = keep + 1;
}

// A VG once, with what all its physical volumes have; on the own disk when one with room is.
static void room_vgs(const struct doctor *doctor, size_t index, struct doctor_room *room)
{
    for (size_t i = 0; i < doctor->pv_count; i++) {
        struct doctor_place place = {.kind = DOCTOR_PLACE_VG};
        bool first = true;
        for (size_t j = 0; j < doctor->pv_count; j++) {
            const struct doctor_pv *pv = &doctor->pvs[j];
            if (strcmp(pv->vg, doctor->pvs[i].vg) != 0) {
                continue;
            }
            first = first && j >= i;
            place.free_bytes += pv->free_bytes;
            place.own_disk = place.own_disk ||
                             (pv->free_bytes >= ROOM_MIN_BYTES && kmc_share_disk(&doctor->devices, pv->device, index));
        }
        if (first && !kmc_lies_on(&doctor->devices, doctor->pvs[i].device, index)) {
            snprintf(place.name, sizeof(place.name), "%s", doctor->pvs[i].vg);
            room_add(room, &place, doctor->devices.list[index].size_bytes);
        }
    }
}

// Not a logical volume: it was made for something, and LVM is asked for room by naming its VG.
static bool room_plain(const struct kmc_device *device)
{
    return device->kind == KMC_KIND_DISK || device->kind == KMC_KIND_PARTITION || device->kind == KMC_KIND_MD;
}

// A plain device that was looked at, has nothing on it, and is used by nobody.
static void room_devices(const struct doctor *doctor, size_t index, struct doctor_room *room)
{
    for (size_t i = 0; i < doctor->devices.count; i++) {
        const struct kmc_device *device = &doctor->devices.list[i];
        const struct doctor_look *look = &doctor->looks[i];
        struct kmc_way_answer way;
        if (i == index || look->seen != DOCTOR_SEEN || !look->blank || look->users[0] || !room_plain(device) ||
            kmc_lies_on(&doctor->devices, i, index) || kmc_lies_on(&doctor->devices, index, i)) {
            continue;
        }
        kmc_way_of(&doctor->devices, i, &way);
        if (way.way != KMC_WAY_IDLE) {
            continue;
        }
        struct doctor_place place = {.kind = DOCTOR_PLACE_DEVICE,
                                     .free_bytes = device->size_bytes,
                                     .own_disk = kmc_share_disk(&doctor->devices, i, index)};
        snprintf(place.name, sizeof(place.name), "%s", device->stable);
        room_add(room, &place, doctor->devices.list[index].size_bytes);
    }
}

static void room_files(const struct doctor *doctor, size_t index, struct doctor_room *room)
{
    for (size_t i = 0; i < doctor->space_count; i++) {
        const struct doctor_space *space = &doctor->spaces[i];
        if (kmc_lies_on(&doctor->devices, space->device, index) ||
            kmc_lies_on(&doctor->devices, index, space->device)) {
            continue;
        }
        struct doctor_place place = {.kind = DOCTOR_PLACE_FILES,
                                     .free_bytes = space->free_bytes,
                                     .own_disk = kmc_share_disk(&doctor->devices, space->device, index)};
        snprintf(place.name, sizeof(place.name), "%s", space->where);
        room_add(room, &place, doctor->devices.list[index].size_bytes);
    }
}

void doctor_room_of(const struct doctor *doctor, size_t index, struct doctor_room *ret_room)
{
    *ret_room = (struct doctor_room){.count = 0};
    room_vgs(doctor, index, ret_room);
    room_devices(doctor, index, ret_room);
    room_files(doctor, index, ret_room);
}
