// SPDX-License-Identifier: Apache-2.0
//
// A snapshot that LVM made becomes one of a window's moment, so that LVM's snapshots of several volumes, and others with them, are of one.
//
// LVM makes a snapshot in a suspend of its own, of one origin. So it makes each beforehand, at any moment, with all that is LVM's about it:
// names, numbers, metadata, tables. Then the window takes the same snapshot once more, by calls as cheap as those for blkrep's own, under the
// same watchdog, and at the end every table and number is again what LVM thinks it is:
//
//                  before the window                                all origins suspended     after it
//     with a store   error in its place, so that the kernel gives   its own table             -
//                    the store up; the store's head zeroed; its     becomes live
//                    own table loaded again, inactive
//     thin           its device removed, as if LVM had deactivated  pool: create_snap         lvchange --activate
//                    it; pool: delete (after the syncs)             of the same id
//
// The other way, lvcreate while somebody else holds all origins suspended, is not taken. LVM 2.03.16 leaves out the suspend of what is suspended
// already, and with it all that its suspend does: a thin snapshot's message to the pool. lvcreate then fails ("reload ioctl failed: No data
// available") with its metadata two transactions ahead of the pool's, and the pool takes no new volume any more ("unexpected transaction
// id"). A linear volume's snapshot is made, after 0.9 s in the test bed, in which LVM reads disks and files while an origin is held that it may
// need, and which no watchdog may cut short.
//
// What a crash leaves at any instant is a snapshot of LVM's that no record calls taken: of another moment, or reading errors, or inactive and of an
// id that the pool does not know. lvremove removes all of them, and that is what blkrep does with them. Only a table that is still inactive
// would be in its way: the watchdog clears it, and so does dmh_renew_forget().
#ifndef DMH_RENEW_H
#define DMH_RENEW_H

#include "dm-helper/server.h"
#include "dm-helper/window_run.h"

// One snapshot between begin and end.
struct dmh_renewal {
    struct dmh_dm snapshot;
    bool read_only;
    bool thin;
    uint64_t length_sectors; // of its table, which has one target
    char type[DMH_TYPE_MAX];
    char params[DMH_PARAMS_MAX];
    uint64_t thin_id; // thin, as what follows
    struct dmh_dm pool;
    char vg[DMH_DM_NAME_MAX], lv[DMH_DM_NAME_MAX];
};

struct dmh_renewals {
    uint32_t count;
    struct dmh_renewal of[DMH_INSIDE_MAX];
};

/**
 * dmh_renew_begin - take a snapshot out of use, and what makes it anew into the window's plan
 * @where  "lvm:VG/P", a snapshot of the volume's "@device"
 * Suspends "@device" for a moment, without a freeze, when the snapshot has a store. One that is open is waited for.
 * Errors: -BR_E_BUSY it is open; -BR_E_USAGE it is no snapshot of the device; -BR_E_UNSUPPORTED a thin one with an external origin.
 * After any the snapshot may be out of use, as after dmh_renew_undo()
 */
BR_MUST_CHECK int dmh_renew_begin(struct dmh_renewals *renewals, const struct dmh_volume *volume, const char *where,
                                  struct dmh_window_run *run, struct br_err *reterr);
/**
 * dmh_renew_end - after a window that was carried out: LVM activates the thin ones
 * Errors: those of LVM; -BR_E_NOT_FOUND somebody removed one meanwhile. All are tried
 */
BR_MUST_CHECK int dmh_renew_end(const struct dmh_renewals *renewals, struct dmh_server *server, struct br_err *reterr);
/** dmh_renew_undo - after one that was not: nothing inactive is left. They are of no moment, and LVM is to remove them */
void dmh_renew_undo(const struct dmh_renewals *renewals);
/** dmh_renew_forget - before LVM removes a snapshot: what was killed in between must not be in its way */
void dmh_renew_forget(const struct dmh_volume *volume, const char *where);

#endif
