// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/guard/guard.h"
#include "engine/sync/source.h"
#include "kmod-compat/advice.h"
#include "tools/audit.h"
#include "tools/volume/continuity.h"
#include "tools/volume/early.h"
#include "tools/volume/find.h"
#include "tools/volume/lvm.h"
#include "tools/volume/own.h"
#include "tools/volume/pass.h"
#include "tools/volume/stack.h"

#define ATTACH_AREA_SHARE     64u // of the volume: what the area begins with
#define ATTACH_AREA_LEAST     (UINT64_C(128) << 20)
#define ATTACH_AREA_MOST      (UINT64_C(4) << 30)
#define ATTACH_AREA_MAX_SHARE 5u // what it may grow to

#define ATTACH_USERS_BYTES  400
#define ATTACH_USERS_TRIES  15
#define ATTACH_USERS_NAP_NS 200000000

// The machine's devices, and the one in question.
struct attach_look {
    struct kmc_facts facts;
    struct kmc_devices devices;
    size_t index;
    struct kmc_way_answer way;
    struct br_guard_object object;
    char
        users[ATTACH_USERS_BYTES]; // who could write to it past a stack: a mount, a process that has it open; "" nobody
};

// Looking -----------------------------------------------------------------------------------------------------------------------------

static int attach_describe(const char *path, struct br_guard_object *ret_object, struct br_err *reterr)
{
    char name[512];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    br_quote(path, name, sizeof(name));
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", name);
    }
    int error = br_guard_describe(fd, path, ret_object, reterr);
    close(fd);
    if (!error && !ret_object->is_block) {
        error =
            br_err_set(reterr, BR_E_USAGE, "%s is not a block device; files are synced without attaching them", name);
    }
    if (!error && !ret_object->size_bytes) {
        error = br_err_set(reterr, BR_E_USAGE, "%s has no medium", name);
    }
    return error;
}

// Whoever has the device open for writing goes on writing to it, below a stack that is put on top: nobody would track that. One who passes by
// (a process that was just ended, a look at the disk) is waited for.
static int attach_users(const char *path, char *ret_users, size_t size, struct br_err *reterr)
{
    const struct timespec nap = {.tv_nsec = ATTACH_USERS_NAP_NS};
    struct br_err err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 ? br_err_os(&err, errno, "opening %s", path) : br_guard_source(fd, path, &err);

    for (int i = 0; error == -BR_E_SOURCE_IN_USE && i < ATTACH_USERS_TRIES; i++) {
        nanosleep(&nap, NULL);
        error = br_guard_source(fd, path, &err);
    }
    if (fd >= 0) {
        close(fd);
    }
    snprintf(ret_users, size, "%.390s", error == -BR_E_SOURCE_IN_USE ? err.text : "");
    if (error && error != -BR_E_SOURCE_IN_USE) {
        *reterr = err;
        return error;
    }
    return 0;
}

static size_t attach_index(const struct kmc_devices *devices, uint64_t device)
{
    return kmc_device_by_number(devices, major(device), minor(device));
}

static int attach_look_at(const char *path, struct attach_look *look, struct br_err *reterr)
{
    int error = attach_describe(path, &look->object, reterr);

    if (error) {
        return error;
    }
    kmc_facts_read(&kmc_running, &look->facts);
    if (!kmc_devices_read(&kmc_running, &look->facts, &look->devices)) {
        return br_err_set(reterr, BR_E_NOMEM, "the machine's devices");
    }
    look->index = attach_index(&look->devices, look->object.device);
    if (look->index == KMC_NO_DEVICE) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is no block device that the kernel lists", path);
    }
    kmc_way_of(&look->devices, look->index, &look->way);
    const struct kmc_device *device = &look->devices.list[look->index];
    // Of a mounted or held device it is known who uses it; of others a process may.
    return device->mount_count || device->above_count || device->swap
               ? 0
               : attach_users(path, look->users, sizeof(look->users), reterr);
}

// Can it be attached now? What it takes otherwise is what blkrep doctor prints.
static int attach_allowed(const struct attach_look *look, bool at_boot, struct br_err *reterr)
{
    struct kmc_support support;

    kmc_supports(&look->facts, KMC_ATTACH, &support);
    if (support.answer == KMC_NO) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "attaching: %s; %s", support.reason, support.remedy);
    }
    if (look->way.way == KMC_WAY_ONLINE || (look->way.way == KMC_WAY_IDLE && (!look->users[0] || at_boot))) {
        return 0;
    }
    if (look->way.way == KMC_WAY_IDLE) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "%.250s; what is written there would go past the stack: end it, attach, and begin it anew on /dev/mapper/NAME",
            look->users);
    }
    if (at_boot && (look->way.way == KMC_WAY_RELEASE || look->way.way == KMC_WAY_BOOT)) {
        return 0;
    }
    return br_err_set(reterr, BR_E_REFUSED, "%s: %s; blkrep doctor %s shows the ways that there are", look->object.text,
                      look->way.reason, look->devices.list[look->index].stable);
}

// A DM device that nobody uses gets the stack on top like any other device: its table is changed only when there is no other way.
static bool attach_retables(const struct attach_look *look)
{
    const struct kmc_device *device = &look->devices.list[look->index];

    return look->way.way == KMC_WAY_ONLINE &&
           (device->mount_count || device->above_count || device->swap || look->users[0]);
}

// The area ----------------------------------------------------------------------------------------------------------------------------

static int attach_area_default(struct volume *volume, struct volume_area *area, struct br_err *reterr)
{
    char state[PATH_MAX];
    int error = place_state(volume->cli, state, reterr);

    if (error) {
        return error;
    }
    int len = snprintf(area->path, sizeof(area->path), "%.200s/volumes/%s/area", state, volume->record.name);
    if (len >= (int)sizeof(area->path) || strlen(state) > 200) {
        return br_err_set(reterr, BR_E_USAGE,
                          "the state folder's path is too long for an area in it: name a place with --cow");
    }
    area->kind = VOLUME_AREA_FILE;
    return 0;
}

static int attach_area_path(const char *path, struct volume_area *area, struct br_err *reterr)
{
    char folder[PATH_MAX];
    char real[PATH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');

    if (!stat(path, &st) && S_ISBLK(st.st_mode)) {
        struct br_guard_object object;
        area->kind = VOLUME_AREA_DEVICE;
        snprintf(area->path, sizeof(area->path), "%.255s", path);
        int error = attach_describe(path, &object, reterr);
        area->bytes = area->max_bytes = br_align_down(error ? 0 : object.size_bytes, VOLUME_UNIT_BYTES);
        return error;
    }
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    if (!realpath(folder, real) || !slash || !slash[1] || path[0] != '/') {
        return br_err_set(reterr, BR_E_USAGE,
                          "--cow: the absolute path of a file in a folder that exists, a block device, or vg:GROUP");
    }
    if (snprintf(area->path, sizeof(area->path), "%.200s%s%.50s", real, strcmp(real, "/") ? "/" : "", slash + 1) >=
        (int)sizeof(area->path)) {
        return br_err_set(reterr, BR_E_USAGE, "--cow: the path is too long");
    }
    area->kind = VOLUME_AREA_FILE;
    return 0;
}

// The device that the area lies on, as an index; KMC_NO_DEVICE when that can't be told. Of a group it is any of its volumes.
static size_t attach_area_device(const struct attach_look *look, const struct volume_area *area)
{
    char folder[VOLUME_WHERE_MAX];
    struct stat st;
    const char *slash = strrchr(area->path, '/');

    if (area->kind == VOLUME_AREA_DEVICE) {
        return !stat(area->path, &st) ? attach_index(&look->devices, st.st_rdev) : KMC_NO_DEVICE;
    }
    if (area->kind == VOLUME_AREA_FILE && slash) {
        snprintf(folder, sizeof(folder), "%.*s", (int)(slash - area->path) + 1, area->path);
        return !stat(folder, &st) ? attach_index(&look->devices, st.st_dev) : KMC_NO_DEVICE;
    }
    for (size_t i = 0; i < look->devices.count; i++) {
        if (!strcmp(look->devices.list[i].vg, area->path)) {
            return i;
        }
    }
    return KMC_NO_DEVICE;
}

// Does the area lie on the volume itself? A group does when another of its volumes does (the volume is a physical volume of it); that the
// volume is one of the group's own is as it should be.
static bool attach_area_is_above(const struct attach_look *look, const struct volume_area *area)
{
    size_t index = attach_area_device(look, area);
    bool above = false;

    if (area->kind != VOLUME_AREA_VG) {
        return index != KMC_NO_DEVICE && kmc_lies_on(&look->devices, index, look->index);
    }
    for (size_t i = 0; i < look->devices.count; i++) {
        above = above || (i != look->index && !strcmp(look->devices.list[i].vg, area->path) &&
                          kmc_lies_on(&look->devices, i, look->index));
    }
    return above;
}

static void attach_area_size(const struct attach_wish *wish, uint64_t volume_bytes, uint64_t meta_bytes,
                             struct volume_area *area)
{
    if (area->kind == VOLUME_AREA_DEVICE) {
        return;
    }
    uint64_t share = BR_MIN(BR_MAX(volume_bytes / ATTACH_AREA_SHARE, ATTACH_AREA_LEAST), ATTACH_AREA_MOST);
    uint64_t bytes = wish->area_bytes ? wish->area_bytes : share + meta_bytes;
    uint64_t most =
        wish->area_max_bytes ? wish->area_max_bytes : BR_MAX(volume_bytes / ATTACH_AREA_MAX_SHARE, 2 * bytes);

    area->bytes = br_align_up(bytes, VOLUME_UNIT_BYTES);
    area->max_bytes = BR_MAX(br_align_up(most, VOLUME_UNIT_BYTES), area->bytes);
}

// What lies at the place for stores is overwritten (G8): nobody may use it, and nothing may be there but the stores of an earlier volume.
static int attach_area_free(const struct volume_area *area, struct br_err *reterr)
{
    struct br_guard_signature signature = {0};
    char name[512], holds[BR_GUARD_TEXT_BYTES];
    int fd = area->kind == VOLUME_AREA_VG ? -1 : open(area->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return 0; // a group's is made, a file's too; why it can't be opened is told by whoever makes it
    }
    br_quote(area->path, name, sizeof(name));
    int rc = br_guard_target(fd, area->path, reterr);
    rc = rc ? rc : br_guard_content(fd, holds, reterr);
    if (rc > 0 && area->kind == VOLUME_AREA_DEVICE && br_guard_signature(fd, &signature, NULL) > 0 &&
        !strcmp(signature.type, "DM_snapshot_cow")) {
        rc = 0;
    }
    close(fd);
    return rc <= 0
               ? rc
               : br_err_set(reterr, BR_E_REFUSED,
                            "%s, named as the place for old data, holds something: %s; name another one with --cow, or "
                            "%s if nobody needs it",
                            name, holds, area->kind == VOLUME_AREA_DEVICE ? "wipe it (wipefs --all)" : "remove it");
}

static int attach_area_check(const struct attach_look *look, const struct volume_area *area, uint64_t meta_bytes,
                             struct br_err *reterr)
{
    char text[32];

    if (attach_area_is_above(look, area)) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "the area %s lies on the volume itself: a freeze would wait for its own store; name another place with --cow",
            area->path);
    }
    if (area->bytes < meta_bytes + VOLUME_UNIT_BYTES) {
        br_size_text(meta_bytes + VOLUME_UNIT_BYTES, text, sizeof(text));
        return br_err_set(reterr, BR_E_TARGET_SMALL, "the area %s is smaller than %s, which is the least", area->path,
                          text);
    }
    return 0;
}

static int attach_area(struct volume *volume, const struct attach_wish *wish, struct br_err *reterr)
{
    struct volume_area *area = &volume->record.area;

    *area = (struct volume_area){0};
    if (!wish->area) {
        return attach_area_default(volume, area, reterr);
    }
    if (!strncmp(wish->area, "vg:", 3)) {
        area->kind = VOLUME_AREA_VG;
        snprintf(area->path, sizeof(area->path), "%.120s", wish->area + 3);
        return 0;
    }
    return attach_area_path(wish->area, area, reterr);
}

// The plan ----------------------------------------------------------------------------------------------------------------------------

// Metadata of dm-era that fails makes writes of the source fail: only where a failure takes the source along anyway is that no new risk.
static int attach_tracker(const struct attach_look *look, const struct attach_wish *wish, struct volume_record *record,
                          struct br_err *reterr)
{
    struct kmc_tracker_answer answers[KMC_TRACKER_MAX];
    size_t area = attach_area_device(look, &record->area);
    struct kmc_room room = {.anywhere = true,
                            .own_disk = area != KMC_NO_DEVICE && kmc_share_disk(&look->devices, area, look->index)};
    const struct kmc_device *device = &look->devices.list[look->index];
    enum kmc_tracker best = kmc_trackers(&look->facts, device, look->way.way, &room, answers);
    enum kmc_tracker asked = wish->tracker == VOLUME_ERA   ? KMC_TRACKER_ERA
                             : wish->tracker == VOLUME_COW ? KMC_TRACKER_COW
                                                           : best;
    struct kmc_support support;

    if (asked == KMC_TRACKER_ERA && wish->tracker) {
        kmc_supports(&look->facts, KMC_ERA, &support); // on another disk it is the user's decision
        if (support.answer == KMC_NO) {
            return br_err_set(reterr, BR_E_UNSUPPORTED, "tracker era: %s; %s", support.reason, support.remedy);
        }
    } else if (asked == KMC_TRACKER_SCAN || !answers[asked].fits) {
        asked = KMC_TRACKER_COW;
        if (!answers[asked].fits) {
            return br_err_set(reterr, BR_E_UNSUPPORTED, "tracker cow: %s", answers[asked].reason);
        }
    }
    record->tracker = asked == KMC_TRACKER_ERA ? VOLUME_ERA : VOLUME_COW;
    return 0;
}

// Does the volume take LVM's own snapshots? Of a thin LV those of its pool, of another LV those that lie in its group; unless another tracker
// or a place is named (kmod-compat/advice.h has the whole rule).
static int attach_lvm(const struct attach_look *look, const struct attach_wish *wish, enum volume_tracker *ret_tracker,
                      struct br_err *reterr)
{
    const struct kmc_device *device = &look->devices.list[look->index];
    struct kmc_support support;
    char own_group[160];

    *ret_tracker = 0;
    kmc_supports(&look->facts, KMC_THIN, &support);
    bool of_lvm = device->kind == KMC_KIND_THIN_LV && *device->vg; // not one that is device-mapper's alone
    bool thin = of_lvm && support.answer == KMC_YES;
    snprintf(own_group, sizeof(own_group), "vg:%.127s", device->vg);
    if (wish->tracker == VOLUME_THIN && !thin) {
        return of_lvm ? br_err_set(reterr, BR_E_UNSUPPORTED, "tracker thin: %s; %s", support.reason, support.remedy)
                      : br_err_set(reterr, BR_E_USAGE, "tracker thin: %s is no thin logical volume", look->object.text);
    }
    if (thin && (wish->tracker == VOLUME_THIN || (!wish->tracker && !wish->area))) {
        *ret_tracker = VOLUME_THIN;
    } else if (device->kind == KMC_KIND_LV && wish->tracker != VOLUME_ERA &&
               (!wish->area || (wish->tracker == VOLUME_COW && !strcmp(wish->area, own_group)))) {
        kmc_supports(&look->facts, KMC_LVM, &support);
        *ret_tracker = support.answer == KMC_YES ? VOLUME_LVM_COW : 0;
    }
    if (*ret_tracker == VOLUME_THIN && wish->area) {
        return br_err_set(reterr, BR_E_USAGE, "tracker thin keeps nothing outside its pool: leave --cow out");
    }
    if (*ret_tracker && wish->at_boot) {
        return br_err_set(reterr, BR_E_USAGE, "%s is a logical volume: attach it now, in use or not",
                          look->object.text);
    }
    return 0;
}

// LVM's own snapshots: no stack, no area; where they lie is the group.
static int attach_plan_lvm(struct volume_record *record, const struct attach_wish *wish, const struct attach_look *look,
                           struct br_err *reterr)
{
    const struct kmc_device *device = &look->devices.list[look->index];

    if (strlen(device->vg) >= 128 || !*device->vg) {
        return br_err_set(reterr, BR_E_LIMIT, "the name of the volume group is too long, or not known");
    }
    char path[VOLUME_WHERE_MAX];
    struct stat st;

    record->retabled = false;
    // What LVM's commands call it.
    snprintf(path, sizeof(path), "/dev/%.120s/%.120s", device->vg, device->lv);
    if (!stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == look->object.device) {
        memcpy(record->device, path, sizeof(path));
    }
    record->area = (struct volume_area){.kind = VOLUME_AREA_VG};
    snprintf(record->area.path, sizeof(record->area.path), "%.127s", device->vg);
    if (record->tracker == VOLUME_LVM_COW) {
        uint64_t share = BR_MAX(record->size_bytes / ATTACH_AREA_MAX_SHARE, ATTACH_AREA_LEAST);
        record->area.max_bytes = br_align_up(wish->area_max_bytes ? wish->area_max_bytes : share, VOLUME_UNIT_BYTES);
    }
    return 0;
}

static int attach_plan(struct volume *volume, const struct attach_wish *wish, const struct attach_look *look,
                       struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    uint64_t meta_bytes = 0;

    if (strlen(look->devices.list[look->index].stable) >= sizeof(record->device)) {
        return br_err_set(reterr, BR_E_LIMIT, "the path of the device is too long");
    }
    snprintf(record->device, sizeof(record->device), "%.255s", look->devices.list[look->index].stable);
    snprintf(record->wwid, sizeof(record->wwid), "%s", look->object.wwid);
    record->size_bytes = look->object.size_bytes;
    record->retabled = !wish->at_boot && attach_retables(look);
    record->era_block_bytes = wish->era_block_bytes ? wish->era_block_bytes : VOLUME_ERA_BYTES;
    int error = attach_lvm(look, wish, &record->tracker, reterr);
    if (error || record->tracker) {
        return error ? error : attach_plan_lvm(record, wish, look, reterr);
    }
    error = attach_area(volume, wish, reterr);
    error = error ? error : attach_tracker(look, wish, record, reterr);
    if (!error && record->tracker == VOLUME_ERA) {
        error = own_meta_bytes(record->size_bytes * OWN_ERA_GROWTH, record->era_block_bytes, &meta_bytes, reterr);
    }
    if (error) {
        return error;
    }
    meta_bytes = br_align_up(meta_bytes, VOLUME_UNIT_BYTES);
    attach_area_size(wish, record->size_bytes, meta_bytes, &record->area);
    record->meta = (struct volume_piece){.len_bytes = meta_bytes};
    error = attach_area_check(look, &record->area, meta_bytes, reterr);
    return error ? error : attach_area_free(&record->area, reterr);
}

// The volume is the one that this device's replicas already know, if there are any.
static int attach_identity(struct volume *volume, struct br_ring *ring, struct br_err *reterr)
{
    struct br_dir *dir;
    int error = place_device_state(volume->cli, ring, volume->record.wwid, true, &dir, reterr);

    if (!error) {
        error = br_volume_ensure(ring, dir, &volume->record.volume, reterr);
        br_dir_close(dir);
    }
    return error;
}

// Building ----------------------------------------------------------------------------------------------------------------------------

static int attach_open_device(const struct volume_record *record, struct br_ring *ring, struct br_file **ret_file,
                              struct br_err *reterr)
{
    int fd = open(record->device, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? br_err_os(reterr, errno, "opening %s, the device of volume %s", record->device, record->name)
                  : br_file_wrap(ring, fd, ret_file, reterr);
}

static int attach_see(struct volume *volume, struct br_ring *ring, struct continuity_now *ret_now,
                      struct br_err *reterr)
{
    struct br_guard_object object;
    struct br_file *file;
    int error = find_device(volume->cli, &volume->record, &object, reterr);

    error = error ? error : attach_open_device(&volume->record, ring, &file, reterr);
    if (!error) {
        error = continuity_look(&volume->record, file, object.wwid, ret_now, reterr);
        br_file_close(file);
    }
    return error;
}

// Gives back what a stack that is down still holds: its place, and its name with the helper.
static int attach_release(struct volume *volume, struct br_err *reterr)
{
    int error = stack_area_drop(volume, reterr);

    return error ? error : dmh_unregister(volume->helper, volume->record.name, reterr);
}

// Takes away what a first attach made; the record is the caller's.
static int attach_take_away(struct volume *volume, struct br_err *reterr)
{
    int error = stack_down(volume, reterr);

    return error ? error : attach_release(volume, reterr);
}

static void attach_undo(struct volume *volume)
{
    struct br_err err;
    int error = attach_take_away(volume, &err);

    error = error ? error : volume_remove(volume, &err);
    if (error) {
        cli_warn(volume->cli, "not all of the unfinished attach could be undone (run blkrep detach %s): %s",
                 volume->record.name, err.text);
    }
}

// For the next boot: the place is taken now, so that the boot does not fail for want of it, and the metadata is wiped now, so that an early
// boot, whose copy of the record stays as it is, need not.
static int attach_reserve(struct volume *volume, struct br_err *reterr)
{
    int error = stack_area_make(volume, reterr);

    return error ? error : own_meta_wipe(volume, reterr);
}

static int attach_build_new(struct volume *volume, struct br_ring *ring, bool at_boot, struct br_err *reterr)
{
    struct continuity_now now;
    char lost[64];
    int error = attach_identity(volume, ring, reterr);

    error = error ? error : attach_see(volume, ring, &now, reterr);
    if (error) {
        return error;
    }
    continuity_take(&volume->record, &now);
    volume->record.chain = volume_new_uuid();
    volume->record.chain_unix_ns = volume_now_unix_ns();
    volume->record.pending = true;
    volume->fresh = true;
    error = volume_save(volume, reterr);
    error = error ? error : stack_register(volume, reterr);
    error = error ? error : at_boot ? attach_reserve(volume, reterr) : stack_up(volume, true, lost, reterr);
    if (error) {
        attach_undo(volume);
    }
    return error;
}

static void attach_audit(struct volume *volume, const char *act, const char *lost)
{
    json_t *details = json_object();
    struct br_err err;

    json_object_set_new(details, "device", cli_json_text(volume->record.device));
    json_object_set_new(details, "tracker", json_string(volume_tracker_name(volume->record.tracker)));
    json_object_set_new(details, "lost", lost ? json_string(lost) : json_null());
    if (audit_append(volume->cli, act, volume->record.name, details, &err)) {
        cli_warn(volume->cli, "the audit line could not be written: %s", err.text);
    }
}

static bool attach_same_device(const char *a, const char *b)
{
    struct stat st[2];

    return !stat(a, &st[0]) && !stat(b, &st[1]) && S_ISBLK(st[0].st_mode) && st[0].st_rdev == st[1].st_rdev;
}

// A first attach of the same device that was killed before its stack stood, or that waits for the next boot: nobody has marks or
// snapshots of it, so it is taken away and begun anew, as it is wished for this time.
static int attach_start_over(struct volume *volume, const struct attach_wish *wish, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    char name[VOLUME_NAME_MAX];

    if (!record->pending || record->mark_count || record->snapshot_count ||
        !attach_same_device(record->device, wish->device)) {
        return br_err_set(reterr, BR_E_BUSY, "volume %s is there already, over %s", record->name, record->device);
    }
    int error = stack_register(volume, reterr); // it may have been killed before that
    error = error ? error : pass_off(record, reterr);
    error = error ? error : attach_take_away(volume, reterr);
    if (!error) {
        memcpy(name, record->name, sizeof(name));
        *record = (struct volume_record){0};
        memcpy(record->name, name, sizeof(name));
        volume->exists = false;
    }
    return error;
}

static int attach_new_locked(struct volume *volume, const struct attach_wish *wish, struct attach_look *look,
                             struct br_err *reterr)
{
    struct br_ring *ring;
    int error = volume->exists ? attach_start_over(volume, wish, reterr) : 0;

    error = error ? error : attach_look_at(wish->device, look, reterr);
    error = error ? error : attach_allowed(look, wish->at_boot, reterr);
    error = error ? error : attach_plan(volume, wish, look, reterr);
    error = error ? error : place_ring(volume->cli, &ring, reterr);
    if (!error) {
        error = attach_build_new(volume, ring, wish->at_boot, reterr);
        br_ring_close(ring);
    }
    return error;
}

int attach_new(struct cli *cli, const struct attach_wish *wish, struct volume *volume, struct attach_done *ret_done,
               struct br_err *reterr)
{
    struct attach_look *look = calloc(1, sizeof(*look));

    if (!look) {
        return br_err_set(reterr, BR_E_NOMEM, "attaching %s", wish->name);
    }
    int error = volume_open(cli, wish->name, true, volume, reterr);
    error = error ? error : volume_lock(volume, reterr);
    error = error ? error : attach_new_locked(volume, wish, look, reterr);
    if (!error) {
        *ret_done = (struct attach_done){.fresh = true};
        attach_audit(volume, "attach", NULL);
    } else if (volume->lock_fd >= 0 && !volume->exists) {
        struct br_err err;
        (void)!volume_remove(volume, &err); // the folder, if it is empty
    }
    kmc_devices_free(&look->devices);
    free(look);
    return error;
}

// Again -------------------------------------------------------------------------------------------------------------------------------

// Did a run make a mark in the chain that goes on?
static bool attach_is_marked(const struct volume_record *record)
{
    bool marked = false;

    for (uint32_t i = 0; i < record->mark_count; i++) {
        marked = marked || br_uuid_equal(&record->marks[i].chain, &record->chain);
    }
    return marked;
}

// A chain that no mark was made in has nothing to lose: why the one before it ended stays the reason to tell.
static void attach_lose(struct volume *volume, const char *why)
{
    const struct volume_record *record = &volume->record;

    if (attach_is_marked(record) || !record->lost[0]) {
        volume_break_chain(volume, why);
    }
}

// What the next run of each consumer will say, whether it was lost just now or before and no run was made since.
static const char *attach_lost(const struct volume_record *record, const char *now)
{
    return now || (record->lost[0] && record->mark_count && !attach_is_marked(record)) ? record->lost : NULL;
}

// Is the record of this boot?
static bool attach_this_boot(const struct volume_record *record)
{
    struct continuity_now now = {0};

    continuity_system(record, &now);
    return !strcmp(record->boot_id, now.boot_id);
}

// Did building get as far as the tracker? What fails before that says nothing of its metadata.
static bool attach_met_tracker(struct volume *volume)
{
    struct dmh_ref meta = volume_ref(volume, "meta");
    struct dmh_info info = {0};
    struct br_err err;

    return volume->record.tracker == VOLUME_ERA && !dmh_info(volume->helper, &meta, &info, &err) && info.live_table;
}

// Builds it, and when what the tracker remembers can't be used, builds it with new memory: a boot is never stopped.
static int attach_rebuild(struct volume *volume, const char **lost, struct br_err *reterr)
{
    bool fresh = volume->record.pending;
    const char *older = NULL;
    char gone[64];
    struct br_err err;
    int error = stack_up(volume, fresh, gone, &err);

    error = error ? error : stack_note(volume, true, &older, &err);
    if (error && attach_met_tracker(volume)) {
        cli_warn(volume->cli, "the metadata of volume %s can't be used and is made anew: %s", volume->record.name,
                 err.text);
        *lost = *lost ? *lost : "era-metadata-damaged";
        error = stack_down(volume, reterr);
        volume->record.era_seen = 0;
        error = error ? error : stack_up(volume, true, gone, reterr);
        return error ? error : stack_note(volume, false, &older, reterr);
    }
    if (error && reterr) {
        *reterr = err;
    }
    if (!error && older) {
        *lost = *lost ? *lost : older;
        volume->record.era_seen = 0;
        error = stack_note(volume, false, &older, reterr);
    }
    return error;
}

// A device that is smaller than its volume can carry no stack of it. One that grew gives the stack its new size, as far as the tracker's
// metadata has room for it.
static int attach_size(struct volume *volume, uint64_t size_bytes, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    uint64_t meta_bytes = 0;
    char text[2][32];

    br_size_text(record->size_bytes, text[0], sizeof(text[0]));
    br_size_text(size_bytes, text[1], sizeof(text[1]));
    if (size_bytes < record->size_bytes) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "%s shrank from %s to %s, and volume %s does not fit any more: undo that, or blkrep detach %s and attach it as a new "
            "volume",
            record->device, text[0], text[1], record->name, record->name);
    }
    if (size_bytes > record->size_bytes && record->tracker == VOLUME_ERA) {
        int error = own_meta_bytes(size_bytes, record->era_block_bytes, &meta_bytes, reterr);
        bool small = error || meta_bytes > record->meta.len_bytes;
        if (small && record->retabled) {
            // Under a device that is as long as its table the stack can't stay behind.
            return br_err_set(
                reterr, BR_E_REFUSED,
                "%s grew from %s to %s, more than the metadata of dm-era has room for: blkrep detach %s and attach it as "
                "a new volume",
                record->device, text[0], text[1], record->name);
        }
        if (small) {
            cli_warn(
                volume->cli,
                "%s grew from %s to %s, more than the metadata of dm-era has room for: volume %s stays as large as it was",
                record->device, text[0], text[1], record->name);
            return 0;
        }
    }
    record->size_bytes = size_bytes;
    return 0;
}

// Writes went past the stack: what its snapshots would have kept of the blocks written is gone, so none of them is built again. The caller
// saves the record.
static void attach_lose_snapshots(struct volume *volume)
{
    struct volume_record *record = &volume->record;

    for (uint32_t i = record->snapshot_count; i; i--) {
        struct volume_snapshot *snapshot = &record->snapshots[i - 1];
        if (snapshot->use != VOLUME_USER) {
            volume_record_drop_snapshot(record, snapshot->number);
            continue;
        }
        if (!snapshot->gone) {
            cli_warn(volume->cli, "snapshot %s of %s is gone: the volume was written to while its stack was away",
                     snapshot->name, record->name);
        }
        snapshot->gone = true;
        snapshot->piece_count = 0;
    }
}

// Over a stack that stands: the early boot built it, or an attach that was cut short.
static int attach_take_over(struct volume *volume, const char **lost, struct br_err *reterr)
{
    const char *older = NULL;
    char gone[64];
    int error = stack_register(volume, reterr);

    error = error ? error : own_adopt(volume, gone, reterr);
    error = error ? error : stack_note(volume, true, &older, reterr);
    if (!error && older) {
        *lost = *lost ? *lost : older;
        volume->record.era_seen = 0;
        error = stack_note(volume, false, &older, reterr);
    }
    return error;
}

// A device that is passed through in this boot and in use by now stays so: taking its name away, even for a moment, would have systemd unmount
// what is mounted from it.
static int attach_check_free(const struct volume_record *record, struct br_err *reterr)
{
    char users[ATTACH_USERS_BYTES];

    if (!pass_is_on(record)) {
        int error = record->retabled ? 0 : attach_users(record->device, users, sizeof(users), reterr);
        return error || record->retabled || !users[0] ? error : br_err_set(reterr, BR_E_SOURCE_IN_USE, "%.390s", users);
    }
    int fd = open(record->device, O_RDONLY | O_CLOEXEC);
    int error =
        fd < 0 ? br_err_os(reterr, errno, "opening %s", record->device) : br_guard_target(fd, record->device, reterr);
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        br_err_prefix(reterr, "volume %s is passed through in this boot, its stack is built by the next one",
                      record->name);
    }
    return error;
}

// @lost  the word for why tracking was lost before, or NULL; set when it is lost by what is found here
static int attach_build_again(struct volume *volume, uint64_t size_bytes, const char **lost, struct br_err *reterr)
{
    int error = stack_down(volume, reterr); // what a crash left half made

    error = error ? error : attach_check_free(&volume->record, reterr);
    error = error ? error : attach_size(volume, size_bytes, reterr);
    error = error ? error : pass_off(&volume->record, reterr);
    if (!error && *lost) {
        // Before it is built: a record that says that the stack is up must not say that the chain goes on.
        attach_lose(volume, *lost);
    }
    // Neither up nor taken down in order: it was passed through since, in a boot whose end nothing need tell from a power cut.
    if (!error && (*lost || (!volume->record.up && !volume->record.clean))) {
        attach_lose_snapshots(volume);
    }
    error = error ? error : stack_register(volume, reterr);
    return error ? error : attach_rebuild(volume, lost, reterr);
}

// A stack that is taken over may be mounted already: what its superblock says by now is what the next boot judges by.
static int attach_note_mounted(struct volume *volume, struct br_ring *ring, struct br_err *reterr)
{
    struct br_file *top;
    uint64_t bytes;
    int error = stack_open(volume, ring, volume_top(&volume->record), false, &top, &bytes, reterr);

    if (!error) {
        error = continuity_note_view(volume, top, reterr);
        br_file_close(top);
    }
    return error;
}

static int attach_again_ring(struct volume *volume, struct br_ring *ring, bool stands, struct attach_done *done,
                             struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct continuity_now now;
    int found = stands ? early_load(record, &now, reterr) : 0;
    int error = found < 0 ? found : found ? 0 : attach_see(volume, ring, &now, reterr);

    if (error) {
        return error;
    }
    const char *lost = record->pending ? NULL : continuity_judge(record, &now);
    const char *judged = stands ? NULL : lost;
    error =
        stands ? attach_take_over(volume, &lost, reterr) : attach_build_again(volume, now.size_bytes, &lost, reterr);
    if (error && !stands) {
        struct br_err err;
        (void)!stack_down(volume, &err); // a part of a stack would hold the device, which is to be used without
    }
    if (error) {
        return error;
    }
    if (lost && lost != judged) {
        attach_lose(volume, lost);
    }
    done->lost = attach_lost(record, lost);
    continuity_take(record, &now);
    record->pending = false;
    error = volume_save(volume, reterr);
    // What the early boot saw is of before the mount.
    return error || !stands ? error : attach_note_mounted(volume, ring, reterr);
}

// A stack that stands, of this boot: what is left to look at is whether its device grew.
static int attach_grow(struct volume *volume, struct br_err *reterr)
{
    struct br_guard_object object;
    int error = attach_describe(volume->record.device, &object, reterr);

    if (error || object.size_bytes == volume->record.size_bytes) {
        return error;
    }
    if (object.size_bytes < volume->record.size_bytes) {
        return attach_size(volume, object.size_bytes, reterr);
    }
    return own_resize(volume, object.size_bytes, reterr);
}

// A volume whose snapshots are LVM's: there is nothing to build, and LVM kept its snapshots with it wherever it was. What is left to see is
// that it is the same, here, and not an older copy.
static int attach_again_lvm(struct volume *volume, struct attach_done *done, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct br_guard_object object;
    struct continuity_now now = {0};
    const char *older = NULL;
    int error = find_device(volume->cli, record, &object, reterr);

    error = error ? error : stack_register(volume, reterr);
    error = error ? error : stack_note(volume, true, &older, reterr);
    if (error) {
        return error;
    }
    continuity_system(record, &now);
    const char *lost = strcmp(now.machine_id, record->machine_id) ? "another-machine" : older;
    snprintf(now.wwid, sizeof(now.wwid), "%s", object.wwid);
    memcpy(now.superblock, record->superblock, sizeof(now.superblock));
    done->stood = !lost && record->up && !strcmp(record->boot_id, now.boot_id);
    if (lost) {
        attach_lose(volume, lost);
    }
    done->lost = attach_lost(record, lost);
    continuity_take(record, &now);
    record->size_bytes = object.size_bytes;
    record->up = true;
    record->pending = false;
    error = volume_save(volume, reterr);
    if (!error && !done->stood) {
        attach_audit(volume, "attach", done->lost);
    }
    return error;
}

static int attach_again_locked(struct volume *volume, struct attach_done *done, struct br_err *reterr)
{
    struct br_ring *ring;

    if (volume_is_lvm(&volume->record)) {
        return attach_again_lvm(volume, done, reterr);
    }
    // A first attach may have been killed before the helper knew the volume.
    int error = volume->record.pending ? stack_register(volume, reterr) : 0;
    int up = error ? error : stack_is_up(volume, reterr);
    if (up < 0) {
        return up;
    }
    if (up && volume->record.up && attach_this_boot(&volume->record)) {
        done->stood = true;
        return attach_grow(volume, reterr);
    }
    error = place_ring(volume->cli, &ring, reterr);
    if (!error) {
        error = attach_again_ring(volume, ring, up, done, reterr);
        br_ring_close(ring);
    }
    if (!error) {
        attach_audit(volume, "attach", done->lost);
    }
    return error;
}

int attach_again(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr)
{
    *ret_done = (struct attach_done){0};
    int error = volume_lock(volume, reterr);

    error = error ? error : attach_again_locked(volume, ret_done, reterr);
    volume_unlock(volume);
    return error;
}

// Without a stack ---------------------------------------------------------------------------------------------------------------------

static int attach_pass_locked(struct volume *volume, const char *why, struct attach_done *done, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct br_guard_object object;
    struct br_err err;
    int error = find_device(volume->cli, record, &object, reterr); // never another disk under the volume's name

    error = error ? error : pass_on(record, reterr);
    if (error == -BR_E_BUSY) {
        return error; // a stack stands, and what is written goes through it
    }
    // The same in the same boot is no news.
    if (record->up || strcmp(record->lost, why) != 0 || !attach_this_boot(record)) {
        struct continuity_now now = {0};
        attach_lose(volume, why);
        continuity_system(record, &now);
        memcpy(record->boot_id, now.boot_id, sizeof(record->boot_id));
        record->boot_unix_ns = now.boot_unix_ns;
        record->up = record->clean = false;
        attach_audit(volume, "passed-through", why);
        int saved = volume_save(volume, error ? &err : reterr);
        error = error ? error : saved;
    }
    done->off = true;
    done->lost = record->lost;
    return error;
}

int attach_pass(struct volume *volume, const char *why, struct attach_done *ret_done, struct br_err *reterr)
{
    *ret_done = (struct attach_done){0};
    int error = volume_lock(volume, reterr);

    error = error ? error : attach_pass_locked(volume, why, ret_done, reterr);
    volume_unlock(volume);
    return error;
}

// Early -------------------------------------------------------------------------------------------------------------------------------

// What the real root has to say (snapshots, marks, the chain) is not known yet: only what never changes is taken from the copied record.
static int attach_early_ring(struct volume *volume, struct br_ring *ring, struct attach_done *done,
                             struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct continuity_now now;
    const char *lost = NULL;
    int error = attach_see(volume, ring, &now, reterr);

    if (error) {
        return error;
    }
    record->snapshot_count = 0;
    record->era_seen = 0;
    record->pending = false; // its metadata was wiped when it was recorded, and is not new in each boot
    error = early_save(record, &now, reterr); // before the device can be written to
    error = error ? error : attach_build_again(volume, now.size_bytes, &lost, reterr);
    if (!error && lost) {
        snprintf(now.lost, sizeof(now.lost), "%s", lost);
        done->lost = lost;
        error = early_save(record, &now, reterr);
    }
    return error;
}

static int attach_early_locked(struct volume *volume, struct attach_done *done, struct br_err *reterr)
{
    struct br_ring *ring;
    int up = stack_is_up(volume, reterr);

    done->stood = up > 0;
    int error = up < 0 ? up : up > 0 ? 0 : place_ring(volume->cli, &ring, reterr);
    if (error || up) {
        return error;
    }
    error = attach_early_ring(volume, ring, done, reterr);
    br_ring_close(ring);
    if (error) {
        struct br_err err;
        (void)!stack_down(volume, &err); // what is half made would hold the device
    }
    return error;
}

int attach_early(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;

    *ret_done = (struct attach_done){0};
    if (record->tracker != VOLUME_ERA || record->area.kind == VOLUME_AREA_FILE || record->retabled) {
        return br_err_set(
            reterr, BR_E_REFUSED,
            "volume %s can't be built before the root file system is there: that needs tracker era, metadata on a device or in a volume group, "
            "and a device of its own",
            record->name);
    }
    int error = volume_lock(volume, reterr);
    error = error ? error : stack_register(volume, reterr);
    error = error ? error : attach_early_locked(volume, ret_done, reterr);
    volume_unlock(volume);
    return error;
}

int attach_early_pass(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr)
{
    struct br_guard_object object;
    int error = find_device(volume->cli, &volume->record, &object, reterr);

    *ret_done = (struct attach_done){.off = true};
    return error ? error : pass_on(&volume->record, reterr);
}

// Down --------------------------------------------------------------------------------------------------------------------------------

static int attach_keep(struct volume *volume, struct br_err *reterr)
{
    struct br_ring *ring;
    struct br_file *file;
    int error = place_ring(volume->cli, &ring, reterr);

    if (error) {
        return error;
    }
    volume->record.up = false;
    error = attach_open_device(&volume->record, ring, &file, reterr);
    if (!error) {
        error = continuity_note_down(&volume->record, file, reterr);
        br_file_close(file);
    }
    br_ring_close(ring);
    return error ? error : volume_save(volume, reterr);
}

static int attach_forget(struct volume *volume, struct br_err *reterr)
{
    int error = attach_release(volume, reterr);

    return error ? error : volume_remove(volume, reterr);
}

// How far the tracker is, as long as it can be asked.
static int attach_note(struct volume *volume, struct br_err *reterr)
{
    const char *older;
    int up = stack_is_up(volume, reterr);

    return up > 0 ? stack_note(volume, false, &older, reterr) : up;
}

// A tracker that does not work any more is no reason to stay up: what it knew is lost.
static int attach_note_down(struct volume *volume, struct br_err *reterr)
{
    struct br_err err = {0};
    int error = attach_note(volume, &err);

    if (error == -BR_E_CORRUPT) {
        cli_warn(volume->cli, "the next run compares everything: %s", err.text);
        attach_lose(volume, "era-metadata-damaged");
        return volume_save(volume, reterr);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error;
}

static int attach_down_locked(struct volume *volume, bool keep, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    int error = 0;

    for (uint32_t i = 0; !keep && i < record->snapshot_count; i++) {
        if (record->snapshots[i].use == VOLUME_USER && !record->snapshots[i].gone) {
            return br_err_set(reterr, BR_E_BUSY, "volume %s has a snapshot %s: remove it first", record->name,
                              record->snapshots[i].name);
        }
    }
    // An attach or detach that was killed may have left it unregistered, and the helper answers for registered ones only.
    error = keep ? 0 : stack_restore(volume, reterr);
    error = error || (keep && !record->pending) ? error : stack_register(volume, reterr);
    error = error || !keep ? error : attach_note_down(volume, reterr);
    // What LVM keeps, it keeps over a shutdown.
    error = error || (keep && volume_is_lvm(record)) ? error : stack_down(volume, reterr);
    error = error ? error : keep ? attach_keep(volume, reterr) : pass_off(record, reterr);
    if (!error) {
        attach_audit(volume, keep ? "stack-down" : "detach", NULL);
    }
    return error || keep ? error : attach_forget(volume, reterr);
}

int attach_down(struct volume *volume, bool keep, struct br_err *reterr)
{
    int error = volume_lock(volume, reterr);

    if (!error) {
        error = attach_down_locked(volume, keep, reterr);
    }
    volume_unlock(volume);
    return error;
}
