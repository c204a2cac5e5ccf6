// SPDX-License-Identifier: Apache-2.0
//
// An attached volume, as the verbs see it: its record, the lock under which the record and the stack change, the helper.
//
//     STATE/volumes/NAME/registration   the helper's own: which devices belong to the volume (dm-helper)
//     STATE/volumes/NAME/stack.json     tools/volume/record.h
//     STATE/volumes/NAME/stack.lock     held while the stack or the record changes, never for the time of a run
//     STATE/volumes/NAME/area           the area, when it is a file and the user named no other place
//
// A user has no volumes of his own, but in group blkrep those of the system: then the service blkrep-dm-helper.socket opens the record and puts
// a new one in its place. What the user's runs remember of replicas is in his own state folder.
//
// What the source's side remembers of replicas stays where it is without a stack: in the state folder under the device's WWID. So the
// replicas of a device that is attached are still its replicas, and after a detach again.
#ifndef BR_TOOLS_VOLUME_VOLUME_H
#define BR_TOOLS_VOLUME_VOLUME_H

#include "dm-helper/client.h"
#include "tools/cli.h"
#include "tools/place.h"
#include "tools/volume/record.h"

struct volume {
    struct cli *cli;
    struct volume_record record;
    bool exists;    // there is a record
    bool fresh;     // it is being attached for the first time
    bool by_helper; // a member of group blkrep: the record is root's, and the helper opens it
    bool lent;      // the helper's connection is another volume's
    int dir_fd;     // -1 when by_helper
    int lock_fd;    // -1 not locked
    struct dmh_client *helper;
    volatile bool *
        let_go; // set before a snapshot is given up (tend.h): whoever reads it for its old data closes it; NULL: nobody
};

/**
 * volume_find - the attached volume that @word means: its name, its device, or /dev/mapper/NAME
 * @ret_name  VOLUME_NAME_MAX bytes
 * Returns 1, or 0 when it is none; a record that can't be read is no reason to read its device as if nobody tracked it: its error
 * A user who is not in group blkrep and names something that is no file is told so: -BR_E_PERMISSION
 */
BR_MUST_CHECK int volume_find(struct cli *cli, const char *word, char *ret_name, struct br_err *reterr);
/**
 * volume_open - open the volume @name (as br_volume_name_ok() says, else -BR_E_USAGE) and connect to the helper
 * @make  make its folder when there is none; else it must have a record: -BR_E_NOT_FOUND
 * Owner: volume_close(), also after a failure
 */
BR_MUST_CHECK int volume_open(struct cli *cli, const char *name, bool make, struct volume *ret_volume,
                              struct br_err *reterr);
/** volume_open_record - the same without a helper: for what needs the record alone, and where there is no helper to be had */
BR_MUST_CHECK int volume_open_record(struct cli *cli, const char *name, bool make, struct volume *ret_volume,
                                     struct br_err *reterr);
/** volume_close - gives the lock back, hangs up; a zeroed struct with fds -1 is fine */
void volume_close(struct volume *volume);
/** volume_lock - take the lock, waiting up to a minute, and read the record anew; -BR_E_BUSY names who has it */
BR_MUST_CHECK int volume_lock(struct volume *volume, struct br_err *reterr);
/** volume_try_lock - the same without waiting */
BR_MUST_CHECK int volume_try_lock(struct volume *volume, struct br_err *reterr);
/** volume_unlock - no effect when not locked */
void volume_unlock(struct volume *volume);
/** volume_save - make the record durable; only under the lock */
BR_MUST_CHECK int volume_save(struct volume *volume, struct br_err *reterr);
/** volume_remove - forget it: record, lock and folder; only under the lock */
BR_MUST_CHECK int volume_remove(struct volume *volume, struct br_err *reterr);
/** volume_list - the names of all volumes with a record, sorted, as a JSON array; the caller's reference */
BR_MUST_CHECK int volume_list(struct cli *cli, json_t **ret_names, struct br_err *reterr);

/**
 * volume_beside - another volume's record, read as @of reads its own; it can be locked and saved, and has no devices
 * Returns 1; 0 when there is certainly no such volume; else nobody knows
 * Owner: volume_close(), in all cases, before @of is closed
 */
BR_MUST_CHECK int volume_beside(struct volume *of, const char *name, struct volume *ret_other, struct br_err *reterr);
/** volume_list_beside - as volume_list(), as @of sees them, and all of them or an error */
BR_MUST_CHECK int volume_list_beside(struct volume *of, json_t **ret_names, struct br_err *reterr);

/**
 * volume_ref - a place of the volume, for requests to the helper
 * Where LVM keeps the snapshots, "snap.7" and "cow.7" are its logical volumes.
 */
struct dmh_ref volume_ref(const struct volume *volume, const char *where);
/** volume_part - "cow.7" for ("cow", 7); the part's name, DMH_PART_MAX bytes */
void volume_part(char *ret_part, const char *kind, uint32_t number);
/** volume_is_lvm - are the volume's snapshots LVM's own (tools/volume/lvm.h)? */
bool volume_is_lvm(const struct volume_record *record);
/** volume_base - what snapshots are taken of: "era" or "real" */
const char *volume_base(const struct volume_record *record);
/** volume_top - what is suspended and mounted: "top", or "@device" when the stack was slipped under it */
const char *volume_top(const struct volume_record *record);
/** volume_top_path - /dev/mapper/NAME, or the device's own path */
void volume_top_path(const struct volume_record *record, char *ret_path, size_t size);
/** volume_now_unix_ns - wall clock */
uint64_t volume_now_unix_ns(void);
/** volume_new_uuid - a fresh random id */
struct br_uuid volume_new_uuid(void);
/** volume_break_chain - end the chain in the record (not saved) and say so in the audit log */
void volume_break_chain(struct volume *volume, const char *why);

#endif
