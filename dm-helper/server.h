// SPDX-License-Identifier: Apache-2.0
//
// One connection of the helper: requests in, replies out, one at a time.
//
// A request goes through three gates, in this order: wire.h (is it well formed?), the dispatch table of server.c (may this peer ask for it?),
// and volume.h (does a registration name what it names?). What then happens is in one file for each group of requests; the functions below
// are what the table points to. Each fills @reply, which is zeroed, and may return a descriptor to pass on.
#ifndef DMH_SERVER_H
#define DMH_SERVER_H

#include "dm-helper/process.h"
#include "dm-helper/registry.h"
#include "dm-helper/request.h"

struct dmh_freeze_run; // freeze.c

struct dmh_server {
    int fd; // the connection
    bool peer_is_root;
    int nbd_fd; // to the kernel, see nbd.h; -1 none
    int lvm_fd; // to the LVM runner
    pid_t lvm_pid;
    struct dmh_registry registry;
    struct dmh_freeze_run *frozen; // the filesystem that this connection has frozen, or NULL
};

// The descriptors that came with a request; closed once it is answered.
struct dmh_given {
    int fds[DMH_PASS_FDS_MAX];
    size_t count;
};

// What a request has to work with.
struct dmh_turn {
    struct dmh_server *server;
    const void *request;
    const struct dmh_given *given;
    void *reply;
    int reply_fd; // passed along with the reply and closed; -1 none
};

/** dmh_server_run - serve a connection until it ends; 0, or the error that ended it */
BR_MUST_CHECK int dmh_server_run(struct dmh_server *server, struct br_err *reterr);

/** dmh_on_create .. dmh_on_list - requests.h, device-mapper; in on_dm.c */
BR_MUST_CHECK int dmh_on_create(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_load(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_copy_table(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_clear(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_resume(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_remove(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_message(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_status(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_table(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_info(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_list(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_register .. dmh_on_volume - registrations; in on_volume.c */
BR_MUST_CHECK int dmh_on_register(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_unregister(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_volume(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_volumes, dmh_on_record_open, dmh_on_record_keep - in on_record.c */
BR_MUST_CHECK int dmh_on_volumes(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_record_open(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_record_keep(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_window, dmh_on_snapshot_remove - in window.c */
BR_MUST_CHECK int dmh_on_window(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_snapshot_remove(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_freeze, dmh_on_thaw - in freeze.c. dmh_freeze_end thaws what the connection left frozen */
BR_MUST_CHECK int dmh_on_freeze(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_thaw(struct dmh_turn *turn, struct br_err *reterr);
void dmh_freeze_end(struct dmh_server *server);
/** dmh_on_open, dmh_on_zero_head - in on_open.c */
BR_MUST_CHECK int dmh_on_open(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_zero_head(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_file_make .. dmh_on_file_release - in on_file.c */
BR_MUST_CHECK int dmh_on_file_make(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_file_map(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_file_release(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_lvm_report .. dmh_on_lvm_activate - in on_lvm.c */
BR_MUST_CHECK int dmh_on_lvm_report(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_lvm_create(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_lvm_extend(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_lvm_remove(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_lvm_activate(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_lvm_activate_lv - lvchange --activate of one of blkrep's, whose names were checked; -BR_E_NOT_FOUND LVM does not know it */
BR_MUST_CHECK int dmh_lvm_activate_lv(struct dmh_server *server, const char *vg, const char *lv, struct br_err *reterr);
/** dmh_on_thin_delta - in on_thin.c. dmh_thin_end gives a metadata snapshot back that a crash left to a volume which is forgotten */
BR_MUST_CHECK int dmh_on_thin_delta(struct dmh_turn *turn, struct br_err *reterr);
void dmh_thin_end(const struct dmh_registry *registry, const struct dmh_volume *volume);
/** dmh_on_nbd_connect .. dmh_on_nbd_list - in on_nbd.c */
BR_MUST_CHECK int dmh_on_nbd_connect(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_nbd_reconnect(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_nbd_disconnect(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_nbd_status(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_nbd_list(struct dmh_turn *turn, struct br_err *reterr);
/** dmh_on_ublk_add .. dmh_on_ublk_list - in on_ublk.c */
BR_MUST_CHECK int dmh_on_ublk_add(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_start(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_stop(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_delete(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_recover(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_recovered(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_status(struct dmh_turn *turn, struct br_err *reterr);
BR_MUST_CHECK int dmh_on_ublk_list(struct dmh_turn *turn, struct br_err *reterr);

#endif
