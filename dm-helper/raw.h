// SPDX-License-Identifier: Apache-2.0
//
// The device-mapper calls that a suspend window makes, without a library between.
//
// libdevmapper allocates in every dm_task_run(), stacks node operations, logs, and may open files: on a machine whose root filesystem
// is being frozen each of these can wait for ever. So what happens while a device is suspended goes through here: the control node was opened
// before, a call's whole argument lies in memory that was locked before, and a call is one ioctl. The kernel's interface is
// include/uapi/linux/dm-ioctl.h, version 4, which has not changed incompatibly since 2003.
//
// Nothing here allocates, takes a lock, or touches a file. Results are 0 or a negative errno, because there is nobody to explain to.
#ifndef DMH_RAW_H
#define DMH_RAW_H

#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dm-helper/dm.h"

#define DMH_RAW_LINES_BYTES (128 * 1024) // room for a table; a larger one is not compared

// Which device, as the kernel wants to be told: by uuid if it has one, else by name.
struct dmh_raw_name {
    char name[DM_NAME_LEN];
    char uuid[DM_UUID_LEN];
};

// What DM_DEV_STATUS says.
struct dmh_raw_state {
    bool gone; // there is no such device any more
    bool suspended;
    bool live_table;
    bool inactive_table;
};

/** dmh_raw_name_of - prepare the name of a device */
void dmh_raw_name_of(const struct dmh_dm *dm, struct dmh_raw_name *ret_name);
/** dmh_raw_open - open the control node; -1 and errno */
int dmh_raw_open(void);
/** dmh_raw_suspend - @flags of DM_SKIP_LOCKFS_FLAG and DM_NOFLUSH_FLAG. Blocks: for the filesystem's freeze and the I/O in flight */
int dmh_raw_suspend(int control, const struct dmh_raw_name *name, uint32_t flags);
/** dmh_raw_resume - returns 0 and does nothing while a suspend is in progress (KERNEL.md). @event_flags as dmh_dm_event_flags() */
int dmh_raw_resume(int control, const struct dmh_raw_name *name, uint32_t flags, uint32_t event_flags);
/** dmh_raw_clear - empty the inactive slot */
int dmh_raw_clear(int control, const struct dmh_raw_name *name);
/** dmh_raw_state - never waits for a suspend */
int dmh_raw_state(int control, const struct dmh_raw_name *name, struct dmh_raw_state *ret_state);
/** dmh_raw_message - to the first target. @buffer of at least sizeof(struct dm_ioctl) + 64 bytes is overwritten. Hangs on a suspended era */
int dmh_raw_message(int control, const struct dmh_raw_name *name, const char *text, void *buffer, size_t buffer_size);
/**
 * dmh_raw_lines - table or status (without a flush) of the live or inactive slot, as struct dm_target_spec's in @buffer
 * Returns how many targets there are; -ENOSPC when they don't fit
 */
int dmh_raw_lines(int control, const struct dmh_raw_name *name, bool table, bool inactive, void *buffer,
                  size_t buffer_size);
/** dmh_raw_line - the @index-th target that dmh_raw_lines() left in @buffer; *ret_params points into it; NULL when there is none */
const struct dm_target_spec *dmh_raw_line(const void *buffer, int index, const char **ret_params);
/**
 * dmh_raw_table_hash - a number that tells two tables apart, from @count lines in @buffer; never 0
 * Parameters of targets that this program does not know are left out: some print their state into them (multipath).
 */
uint64_t dmh_raw_table_hash(const void *buffer, int count);

#endif
