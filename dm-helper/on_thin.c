// SPDX-License-Identifier: Apache-2.0
//
// What differs between two thin snapshots, as thin_delta says it.
//
// thin_delta reads the metadata of a pool in use through the metadata snapshot, and a pool has one. So the pool is locked against other
// connections, and a slot that somebody else has taken is waited for and then left alone: to release it would pull the metadata from under a
// reader. One of ours that a crash left is known by its block: the note says which it is, in the volume's folder, and outlives a boot.
//
//     nothing -> "reserving" -> reserve_metadata_snap -> "block N" -> thin_delta -> release_metadata_snap -> nothing
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dm-helper/device.h"
#include "dm-helper/lvm_runner.h"
#include "dm-helper/process.h"
#include "dm-helper/server.h"
#include "dm-helper/target.h"

#define DMH_SLOT_NOTE    "metadata-snap"
#define DMH_SLOT_WAIT_MS 10000u
#define DMH_SLOT_LOOK_MS 200u
#define DMH_POOL_WAIT_MS 20000u // for another connection's delta of the same pool

// What a delta is about.
struct dmh_delta {
    const struct dmh_registry *registry;
    const struct dmh_volume *volume;
    struct dmh_dm pool;
    struct dmh_target_row pool_row;
    struct dmh_device meta;
};

static void dmh_first_status(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                             const char *params)
{
    struct dmh_target_status *status = user;

    if (!status->kind) {
        dmh_status_parse(type, start_sectors, length_sectors, params, status);
    }
}

static int dmh_first_status_of(const struct dmh_dm *dm, uint32_t kind, struct dmh_target_status *ret_status,
                               struct br_err *reterr)
{
    struct dmh_target_status status = {0};
    int error = dmh_dm_lines(dm, false, false, dmh_first_status, &status, reterr);

    if (!error && (status.kind != kind || !status.parsed || status.failed)) {
        error = br_err_set(reterr, BR_E_IO, "%s says: %.100s", dm->name, status.params);
    }
    if (!error) {
        *ret_status = status;
    }
    return error;
}

// ---- the slot ----------------------------------------------------------------------------------------------------------

static int dmh_slot_message(const struct dmh_delta *delta, const char *text, struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_dm pool;
    int error = dmh_dm_find("", delta->pool.major, delta->pool.minor, &pool, &info, reterr);

    if (!error && info.suspended) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is suspended and takes no message now", pool.name);
    }
    return error ? error : dmh_dm_message(&pool, text, reterr);
}

// Waits until the slot is free, or ours: then it is released.
static int dmh_slot_await(const struct dmh_delta *delta, struct br_err *reterr)
{
    char noted[64], ours[64];
    struct dmh_target_status status;
    int error = dmh_registry_noted(delta->registry, delta->volume->volume, DMH_SLOT_NOTE, noted, sizeof(noted), reterr);

    for (unsigned ms = 0; !error; ms += DMH_SLOT_LOOK_MS) {
        error = dmh_first_status_of(&delta->pool, DMH_TARGET_THIN_POOL, &status, reterr);
        if (error || !status.has_metadata_snap) {
            return error;
        }
        snprintf(ours, sizeof(ours), "block %" PRIu64, status.metadata_snap_block);
        // A crash between the note and the block's: it was free then, and nobody has given it back for so long.
        bool left = !strcmp(noted, ours) || (ms >= DMH_SLOT_WAIT_MS && !strcmp(noted, "reserving"));
        if (left) {
            return dmh_slot_message(delta, "release_metadata_snap", reterr);
        }
        if (ms >= DMH_SLOT_WAIT_MS) {
            return br_err_set(reterr, BR_E_BUSY,
                              "somebody else holds the metadata snapshot of pool %s; when that is left over: "
                              "dmsetup message %s 0 release_metadata_snap",
                              delta->pool.name, delta->pool.name);
        }
        dmh_process_sleep_ms(DMH_SLOT_LOOK_MS);
    }
    return error;
}

static int dmh_slot_take(const struct dmh_delta *delta, struct dmh_target_status *ret_status, struct br_err *reterr)
{
    char note[64];
    int error = dmh_slot_await(delta, reterr);

    error =
        error ? error : dmh_registry_note(delta->registry, delta->volume->volume, DMH_SLOT_NOTE, "reserving", reterr);
    error = error ? error : dmh_slot_message(delta, "reserve_metadata_snap", reterr);
    error = error ? error : dmh_first_status_of(&delta->pool, DMH_TARGET_THIN_POOL, ret_status, reterr);
    if (!error) {
        snprintf(note, sizeof(note), "block %" PRIu64, ret_status->metadata_snap_block);
        error = dmh_registry_note(delta->registry, delta->volume->volume, DMH_SLOT_NOTE, note, reterr);
    }
    return error;
}

static int dmh_slot_give(const struct dmh_delta *delta, struct br_err *reterr)
{
    int error = dmh_slot_message(delta, "release_metadata_snap", reterr);

    return error ? error : dmh_registry_note(delta->registry, delta->volume->volume, DMH_SLOT_NOTE, NULL, reterr);
}

// ---- the request -------------------------------------------------------------------------------------------------------

static int dmh_delta_find(struct dmh_delta *delta, struct br_err *reterr)
{
    int error = dmh_device_resolve_dm(delta->volume, "@pool", DMH_WHERE_POOL, &delta->pool, NULL, reterr);

    error = error ? error : dmh_device_resolve(delta->volume, "@pool-meta", DMH_WHERE_POOL_META, &delta->meta, reterr);
    if (!error && (!delta->meta.is_dm || !dmh_device_row(&delta->pool, DMH_TARGET_THIN_POOL, &delta->pool_row))) {
        error = br_err_set(reterr, BR_E_UNSUPPORTED, "%s is no pool of LVM's", delta->pool.name);
    }
    return error;
}

// One of the volume's snapshots: a thin volume of the same pool.
static int dmh_delta_side(const struct dmh_delta *delta, const char *part, uint64_t *ret_id, uint64_t *ret_mapped_bytes,
                          struct br_err *reterr)
{
    char vg[DMH_DM_NAME_MAX], where[DMH_WHERE_MAX];
    struct dmh_target_status status;
    struct dmh_target_row row;
    struct dmh_dm dm;

    dmh_device_vg(delta->volume, vg);
    snprintf(where, sizeof(where), "lvm:%s/%s", vg, part);
    int error = dmh_device_resolve_dm(delta->volume, where, DMH_WHERE_LVM, &dm, NULL, reterr);
    if (error) {
        return error;
    }
    if (!dmh_device_row(&dm, DMH_TARGET_THIN, &row) || row.device_major != delta->pool.major ||
        row.device_minor != delta->pool.minor) {
        return br_err_set(reterr, BR_E_USAGE, "%s is no thin volume of pool %s", dm.name, delta->pool.name);
    }
    error = dmh_first_status_of(&dm, DMH_TARGET_THIN, &status, reterr);
    if (!error) {
        *ret_id = row.thin_id;
        *ret_mapped_bytes = status.used_bytes;
    }
    return error;
}

static int dmh_delta_run(struct dmh_turn *turn, const struct dmh_delta *delta, struct dmh_thin_told *told,
                         struct br_err *reterr)
{
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call = {.verb = DMH_LVM_RUN_THIN_DELTA,
                                .meta_minor = delta->meta.minor,
                                .older_id = told->older_id,
                                .newer_id = told->newer_id};
    struct stat st;

    if (!answer) {
        return br_err_set(reterr, BR_E_NOMEM, "running thin_delta");
    }
    int error = dmh_lvm_ask_file(turn->server->lvm_fd, &call, answer, &turn->reply_fd, reterr);
    if (error) {
        return error;
    }
    if (answer->error == -BR_E_UNSUPPORTED) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "thin-provisioning-tools is not installed (/usr/sbin/thin_delta)");
    }
    if (answer->error || answer->exit_status || turn->reply_fd < 0 || fstat(turn->reply_fd, &st)) {
        answer->output[strcspn(answer->output, "\n")] = 0;
        return br_err_set(reterr, BR_E_IO, "thin_delta on pool %s ended with status %d: %.150s", delta->pool.name,
                          answer->exit_status, answer->output);
    }
    told->output_bytes = (uint64_t)st.st_size;
    return 0;
}

static int dmh_delta_in_slot(struct dmh_turn *turn, const struct dmh_delta *delta, struct dmh_thin_told *told,
                             struct br_err *reterr)
{
    struct dmh_target_status status = {0};
    int error = dmh_slot_take(delta, &status, reterr);

    if (error) {
        return error;
    }
    told->transaction_id = status.transaction_id;
    error = dmh_delta_run(turn, delta, told, reterr);
    int given = dmh_slot_give(delta, error ? NULL : reterr);
    return error ? error : given;
}

int dmh_on_thin_delta(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_thin_delta *request = turn->request;
    struct dmh_thin_told *told = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_delta delta = {.registry = &turn->server->registry};
    char lock[DMH_VOLUME_MAX];
    int lock_fd;
    int error = dmh_hold_volume(delta.registry, request->volume, false, &held, reterr);

    if (error) {
        return error;
    }
    delta.volume = held.volume;
    error = dmh_delta_find(&delta, reterr);
    error = error ? error : dmh_delta_side(&delta, request->older, &told->older_id, &told->older_mapped_bytes, reterr);
    error = error ? error : dmh_delta_side(&delta, request->newer, &told->newer_id, &told->newer_mapped_bytes, reterr);
    if (error) {
        return error;
    }
    told->block_bytes = delta.pool_row.grain_bytes;
    snprintf(lock, sizeof(lock), ".pool-%u:%u", delta.pool.major,
             delta.pool.minor); // no volume's name begins with a dot
    error = dmh_registry_lock(lock, DMH_POOL_WAIT_MS, &lock_fd, reterr);
    if (!error) {
        error = dmh_delta_in_slot(turn, &delta, told, reterr);
        close(lock_fd);
    }
    return error;
}

void dmh_thin_end(const struct dmh_registry *registry, const struct dmh_volume *volume)
{
    struct dmh_delta delta = {.registry = registry, .volume = volume};
    struct dmh_target_status status;
    char noted[64], ours[64];

    if (dmh_registry_noted(registry, volume->volume, DMH_SLOT_NOTE, noted, sizeof(noted), NULL) || !*noted) {
        return;
    }
    if (!dmh_delta_find(&delta, NULL) && !dmh_first_status_of(&delta.pool, DMH_TARGET_THIN_POOL, &status, NULL)) {
        snprintf(ours, sizeof(ours), "block %" PRIu64, status.metadata_snap_block);
        if (status.has_metadata_snap && !strcmp(noted, ours)) {
            (void)!dmh_slot_message(&delta, "release_metadata_snap", NULL);
        }
    }
    (void)!dmh_registry_note(registry, volume->volume, DMH_SLOT_NOTE, NULL, NULL);
}
