// SPDX-License-Identifier: Apache-2.0
//
// device-mapper through libdevmapper: one function per task, libdevmapper's 1 and 0 turned into br_err with its own words, and one policy
// towards udev. What happens inside a suspend window is not here but in raw.h.
//
// udev. The parts below the top hold the same filesystem, partition table or LVM signature as the top itself. So their events tell udev's
// rules to make the /dev/mapper node and nothing else: no /dev/disk/by-uuid link may turn to a snapshot, no volume group may be activated
// from one. Where no udevd runs, or DM_DISABLE_UDEV is set, libdevmapper makes the nodes; also where udevd does not answer within seconds.
#ifndef DMH_DM_H
#define DMH_DM_H

#include "dm-helper/request.h"
#include "engine/base/err.h"

// A device-mapper device: found by uuid, or by number when the uuid is "".
struct dmh_dm {
    char uuid[DMH_DM_UUID_MAX];
    char name[DMH_DM_NAME_MAX];
    uint32_t major, minor;
};

// A target as text, for tables that are loaded.
struct dmh_dm_target {
    uint64_t start_sectors;
    uint64_t length_sectors;
    const char *type;
    const char *params;
};

/** dmh_dm_line_fn - told of each target of a table or status; strings live until it returns */
typedef void dmh_dm_line_fn(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                            const char *params);

/** dmh_dm_start - set libdevmapper up for this process; once */
void dmh_dm_start(void);
/** dmh_dm_stop - close what libdevmapper holds */
void dmh_dm_stop(void);
/** dmh_dm_version - of the kernel's interface; false when there is none */
bool dmh_dm_version(uint32_t ret_version[3]);
/** dmh_dm_has_udev - does udevd make the nodes? */
bool dmh_dm_has_udev(void);
/** dmh_dm_is_major - is it device-mapper's major number? */
bool dmh_dm_is_major(uint32_t major);
// What udev's rules make of a device that was resumed.
enum dmh_dm_event {
    DMH_EVENT_WHOLE, // all that there is: the device is what people use
    DMH_EVENT_PART,  // the node and nothing else
    DMH_EVENT_SNAPSHOT, // LVM's of a volume: its links, but none that its origin has too (a file system's uuid) turns to it
};

/** dmh_dm_event_flags - what a resume outside libdevmapper passes as event number, so that udev's rules treat the device as @event says */
uint32_t dmh_dm_event_flags(enum dmh_dm_event event);

/**
 * dmh_dm_find - the device with a uuid, or with a number
 * @uuid  "" to look by number
 * @ret_info  may be NULL
 * Errors: -BR_E_NOT_FOUND
 */
BR_MUST_CHECK int dmh_dm_find(const char *uuid, uint32_t major, uint32_t minor, struct dmh_dm *ret_dm,
                              struct dmh_info *ret_info, struct br_err *reterr);
/** dmh_dm_create - make a device without a table; -BR_E_BUSY name or uuid exists */
BR_MUST_CHECK int dmh_dm_create(const char *name, const char *uuid, struct dmh_dm *ret_dm, struct br_err *reterr);
/** dmh_dm_load - load into the inactive slot; -BR_E_BUSY one of its devices is held by somebody else, and stayed so for two seconds */
BR_MUST_CHECK int dmh_dm_load(const struct dmh_dm *dm, const struct dmh_dm_target *targets, uint32_t target_count,
                              bool read_only, struct br_err *reterr);
/** dmh_dm_load_error - load an error target as long as the live table: what resumes it cuts the device off from what it maps */
BR_MUST_CHECK int dmh_dm_load_error(const struct dmh_dm *dm, bool read_only, struct br_err *reterr);
/** dmh_dm_copy_table - load the live table of @from into the inactive slot of @to, keys included */
BR_MUST_CHECK int dmh_dm_copy_table(const struct dmh_dm *from, const struct dmh_dm *to, bool read_only,
                                    struct br_err *reterr);
/** dmh_dm_clear - empty the inactive slot */
BR_MUST_CHECK int dmh_dm_clear(const struct dmh_dm *dm, struct br_err *reterr);
/** dmh_dm_resume - resume, waiting for the node; for a device that nothing uses yet */
BR_MUST_CHECK int dmh_dm_resume(const struct dmh_dm *dm, enum dmh_dm_event event, struct br_err *reterr);
/** dmh_dm_make_node - make sure that /dev/mapper has the node of a device that was resumed by raw.h */
BR_MUST_CHECK int dmh_dm_make_node(const struct dmh_dm *dm, struct br_err *reterr);
/** dmh_dm_remove - remove once; -BR_E_BUSY it is open. @deferred: the kernel then removes it at the last close, and 0 is returned */
BR_MUST_CHECK int dmh_dm_remove(const struct dmh_dm *dm, bool deferred, struct br_err *reterr);
/** dmh_dm_message - send a message to the first target; the device must not be suspended */
BR_MUST_CHECK int dmh_dm_message(const struct dmh_dm *dm, const char *text, struct br_err *reterr);
/** dmh_dm_lines - status (without a flush) or table of the live or inactive slot, target by target */
BR_MUST_CHECK int dmh_dm_lines(const struct dmh_dm *dm, bool table, bool inactive, dmh_dm_line_fn *line, void *user,
                               struct br_err *reterr);
/** dmh_dm_list - all devices of the system, in the kernel's order (by name); @each gets name, numbers */
BR_MUST_CHECK int dmh_dm_list(void (*each)(void *user, const char *name, uint32_t major, uint32_t minor), void *user,
                              struct br_err *reterr);
/** dmh_dm_lv_of - group and name of an LV by its device-mapper name and uuid; both "" when LVM did not make the device */
void dmh_dm_lv_of(const struct dmh_dm *dm, char vg[DMH_DM_NAME_MAX], char lv[DMH_DM_NAME_MAX]);

#endif
