// SPDX-License-Identifier: Apache-2.0
//
// Tracker thin: two snapshots of a thin volume, and what their pool's metadata say differs.
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/track/thin_delta.h"
#include "tools/volume/lvm.h"

#define THIN_READ_BYTES 65536u

int lvm_pool_share(struct volume *volume, uint64_t *ret_share, struct br_err *reterr)
{
    struct dmh_query query = {.device = volume_ref(volume, "@pool")};
    struct dmh_status *status = calloc(1, sizeof(*status));

    if (!status) {
        return br_err_set(reterr, BR_E_NOMEM, "a status");
    }
    int error = dmh_status(volume->helper, &query, status, reterr);
    const struct dmh_target_status *pool = &status->targets[0];
    if (!error && (!status->target_count || pool->kind != DMH_TARGET_THIN_POOL || !pool->parsed)) {
        error = br_err_set(reterr, BR_E_IO, "the thin pool of %s says nothing that is known", volume->record.name);
    }
    if (!error) {
        uint64_t data = pool->data_total_blocks ? pool->data_used_blocks * 1000 / pool->data_total_blocks : 1000;
        uint64_t metadata = pool->total_bytes ? pool->used_bytes * 1000 / pool->total_bytes : 1000;
        *ret_share = pool->failed || pool->read_only || pool->needs_check ? 1000 : BR_MAX(data, metadata);
    }
    free(status);
    return error;
}

// What changed ------------------------------------------------------------------------------------------------------------------------

static int thin_read(int fd, struct br_thin_delta *delta, uint64_t output_bytes, struct br_err *reterr)
{
    BR_AUTO_FREE char *buffer = malloc(THIN_READ_BYTES);
    uint64_t at = 0;
    int error = buffer ? 0 : br_err_set(reterr, BR_E_NOMEM, "reading thin_delta");

    while (!error && at < output_bytes) {
        ssize_t len = pread(fd, buffer, THIN_READ_BYTES, (off_t)at);
        if (len <= 0) {
            return br_err_os(reterr, len < 0 ? errno : EIO, "reading thin_delta's output");
        }
        error = br_thin_delta_bytes(delta, buffer, (size_t)len, reterr);
        at += (uint64_t)len;
    }
    return error ? error : br_thin_delta_finish(delta, reterr);
}

static int thin_parse(int fd, const struct dmh_thin_told *told, struct br_extent_map *map, struct br_err *reterr)
{
    struct br_thin_delta_params params = {.left_id = told->older_id,
                                          .right_id = told->newer_id,
                                          .block_bytes = told->block_bytes,
                                          .left_mapped_bytes = told->older_mapped_bytes,
                                          .right_mapped_bytes = told->newer_mapped_bytes,
                                          .volume_bytes = UINT64_MAX}; // what lies behind the view's end is ignored
    struct br_thin_delta *delta = NULL;
    int error = br_thin_delta_open(&params, map, &delta, reterr);

    error = error ? error : thin_read(fd, delta, told->output_bytes, reterr);
    br_thin_delta_close(delta);
    return error;
}

// Are the two that thin_delta told of the two that were noted, in a pool that never went back?
static const char *thin_unproven(const struct volume_snapshot *older, const struct volume_snapshot *newer,
                                 const struct dmh_thin_told *told)
{
    if (told->older_id != older->thin_id || told->newer_id != newer->thin_id) {
        return "snapshot-is-another";
    }
    return told->transaction_id < BR_MAX(older->era, newer->era) ? "pool-metadata-older" : NULL;
}

static int thin_ask(struct volume *volume, const struct volume_snapshot *older, const struct volume_snapshot *newer,
                    struct br_extent_map *map, const char **ret_why, struct br_err *reterr)
{
    struct dmh_thin_delta delta = {0};
    struct dmh_thin_told told = {0};
    int fd;

    snprintf(delta.volume, sizeof(delta.volume), "%s", volume->record.name);
    volume_part(delta.older, "snap", older->number);
    volume_part(delta.newer, "snap", newer->number);
    int error = dmh_thin_delta(volume->helper, &delta, &fd, &told, reterr);
    if (error == -BR_E_BUSY || error == -BR_E_UNSUPPORTED || error == -BR_E_IO) {
        *ret_why = error == -BR_E_BUSY          ? "pool-metadata-snapshot-busy"
                   : error == -BR_E_UNSUPPORTED ? "thin-delta-not-installed"
                                                : "thin-delta-failed";
        return 0;
    }
    if (error) {
        return error;
    }
    *ret_why = thin_unproven(older, newer, &told);
    if (!*ret_why) {
        error = thin_parse(fd, &told, map, reterr);
    } else {
        (void)br_err_set(reterr, BR_E_CORRUPT, "thin volumes %llu and %llu, transaction %llu",
                         (unsigned long long)told.older_id, (unsigned long long)told.newer_id,
                         (unsigned long long)told.transaction_id);
    }
    close(fd);
    return error ? error : !*ret_why;
}

int lvm_thin_changed(struct volume *volume, const struct volume_snapshot *older, const struct volume_snapshot *newer,
                     struct br_extent_map *map, const char **ret_why, struct br_err *reterr)
{
    int proven = lvm_snapshot_proven(volume, older, ret_why, reterr);

    proven = proven > 0 ? lvm_snapshot_proven(volume, newer, ret_why, reterr) : proven;
    if (!proven) {
        (void)br_err_set(reterr, BR_E_NOT_FOUND, "a snapshot that %s needs", volume->record.name);
    }
    return proven > 0 ? thin_ask(volume, older, newer, map, ret_why, reterr) : proven;
}

// Tending -----------------------------------------------------------------------------------------------------------------------------

// The oldest first: it holds the most. One that is read can't go, and a user's is the user's.
static int thin_give_back(struct volume *volume, struct tend_found *found, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    uint64_t share = 0;

    for (uint32_t i = 0; i < record->snapshot_count;) {
        struct volume_snapshot snapshot = record->snapshots[i];
        struct br_err err;
        if (snapshot.use != VOLUME_MARK || tend_give_up(volume, snapshot.number, "pool-nearly-full", &err)) {
            i++;
            continue;
        }
        size_t used = strlen(found->gone_numbers);
        snprintf(found->gone_numbers + used, sizeof(found->gone_numbers) - used, "%s%u", used ? " " : "",
                 snapshot.number);
        found->gone++;
        int error = lvm_pool_share(volume, &share, reterr);
        if (error || share < LVM_POOL_DIRE) {
            return error;
        }
        i = 0;
    }
    return 0;
}

int lvm_thin_check(struct volume *volume, struct br_err *reterr)
{
    uint64_t share = 0;
    int error = lvm_pool_share(volume, &share, reterr);

    if (!error && share >= LVM_POOL_DIRE) {
        error = br_err_set(
            reterr, BR_E_NO_SPACE,
            "the thin pool of %s is %llu.%llu %% full: the run gives its snapshot up; extend the pool (lvextend)",
            volume->record.name, (unsigned long long)share / 10, (unsigned long long)share % 10);
    }
    return error;
}

int lvm_thin_tend(struct volume *volume, struct tend_found *ret_found, struct br_err *reterr)
{
    struct tend_found found = {0};
    uint64_t share = 0;
    int error = lvm_pool_share(volume, &share, reterr);

    found.fullest_share = share;
    found.snapshots = volume->record.snapshot_count;
    if (!error && share >= LVM_POOL_DIRE && found.snapshots) {
        error = volume_lock(volume, reterr);
        if (!error) {
            error = thin_give_back(volume, &found, reterr);
            volume_unlock(volume);
        }
    }
    *ret_found = found;
    return error;
}
