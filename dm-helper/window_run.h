// SPDX-License-Identifier: Apache-2.0
//
// A window as the helper sees it: a plan in shared memory, the descriptors and locks that belong to it, a watchdog that carries it out, and
// what became of it in words. What goes into a plan is decided in window.c.
#ifndef DMH_WINDOW_RUN_H
#define DMH_WINDOW_RUN_H

#include "dm-helper/device.h"
#include "dm-helper/plan.h"
#include "dm-helper/watchdog.h"

struct dmh_window_run {
    struct dmh_plan *plan; // shared
    struct dmh_held_volume held[DMH_TOPS_MAX];
    uint32_t held_count;
    struct dmh_dm top_dms[DMH_TOPS_MAX];
    struct dmh_dm inside_dms[DMH_INSIDE_MAX];
    bool inside_is_lvm[DMH_INSIDE_MAX]; // a pool or snapshot of LVM's: never removed from here
    bool mounted[DMH_TOPS_MAX];
};

/** dmh_window_start - an empty plan with the control node open */
BR_MUST_CHECK int dmh_window_start(struct dmh_window_run **ret_run, struct br_err *reterr);
/** dmh_window_end - free all, close all, unlock all; NULL is fine. What a watchdog still needs, it holds itself */
void dmh_window_end(struct dmh_window_run *run);
/** dmh_window_hold - lock the volumes of a window; names may repeat. In one order for all, so that two windows can't block each other */
BR_MUST_CHECK int dmh_window_hold(struct dmh_window_run *run, const struct dmh_registry *registry,
                                  const char *const *names, uint32_t name_count, struct br_err *reterr);
/** dmh_window_volume - a volume that is held, by name; NULL when it is not one of the window's */
const struct dmh_volume *dmh_window_volume(const struct dmh_window_run *run, const char *name);
/**
 * dmh_window_add_top, dmh_window_add_inside - take a device into the plan
 * @freeze  suspend with a freeze of the filesystem; opens what syncing and probing need
 * Errors: -BR_E_BUSY the top is suspended already; -BR_E_USAGE it has no table, or what is inside no inactive one; -BR_E_LIMIT
 */
BR_MUST_CHECK int dmh_window_add_top(struct dmh_window_run *run, const struct dmh_dm *dm, const struct dmh_info *info,
                                     bool freeze, bool no_flush, struct br_err *reterr);
BR_MUST_CHECK int dmh_window_add_inside(struct dmh_window_run *run, const struct dmh_dm *dm,
                                        const struct dmh_info *info, struct br_err *reterr);
/**
 * dmh_window_add_message - in place of a resume: a message to a thin pool
 * @before   told it just before the window, when all is synced; if it fails nothing is begun
 * @message  told it while all tops are suspended
 */
BR_MUST_CHECK int dmh_window_add_message(struct dmh_window_run *run, const struct dmh_dm *pool, const char *before,
                                         const char *message, struct br_err *reterr);
/** dmh_window_add_checkpoint - roll this era before the window; belongs to the top that was added last */
void dmh_window_add_checkpoint(struct dmh_window_run *run, const struct dmh_dm *era);
/**
 * dmh_window_check - would the window wait for itself?
 * Errors: -BR_E_REFUSED a top, or what is inside, stands on another top: a store in a filesystem that is being frozen, nested volumes
 */
BR_MUST_CHECK int dmh_window_check(const struct dmh_window_run *run, struct br_err *reterr);
/**
 * dmh_window_run - carry the plan out; returns when all devices are ACTIVE, or half a minute after the deadline when the kernel does not let
 * go of one: then the watchdog goes on
 * *ret_begun: something was suspended. Errors: as dmh_window() in client.h
 */
BR_MUST_CHECK int dmh_window_run(struct dmh_window_run *run, bool *ret_begun, struct br_err *reterr);
/** dmh_window_report - the times of a window that was carried out */
void dmh_window_report(const struct dmh_window_run *run, struct dmh_window_done *ret_done);

#endif
