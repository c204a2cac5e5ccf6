// SPDX-License-Identifier: Apache-2.0
//
// How blkrep talks to blkrep-dm-helper. request.h explains every struct and how things are named.
//
// A connection serves one request at a time, from one thread. It is either a helper of our own (root: spawned, over a socketpair) or the
// socket-activated service (members of group blkrep). Each call blocks until the reply; after -BR_E_PEER, -BR_E_PROTOCOL or
// -BR_E_TIMEOUT the connection is of no more use and only dmh_client_close() may follow. All other errors are the request's own.
//
// What the helper promises when blkrep, or the helper, dies at any instant: no device stays suspended and no filesystem frozen beyond the
// deadline that the request gave (beyond the end of a freeze that the kernel can't cut short, see DESIGN "Suspend"). Devices that were
// made so far stay, and dmh_list() shows them to the next run, which decides.
//
// Structs are large: allocate them, zeroed; what is not set then is "none". Results are written on success only.
//
// Errors that any request may give: -BR_E_PERMISSION the request names something that no registration or configuration gives this
// client; -BR_E_NOT_FOUND volume or device is not there; -BR_E_USAGE a field is not as request.h says; -BR_E_UNSUPPORTED the kernel has no
// device-mapper, or not that target; -BR_E_IO and -BR_E_NOMEM, with libdevmapper's own words in the text.
#ifndef DMH_CLIENT_H
#define DMH_CLIENT_H

#include "dm-helper/request.h"
#include "engine/base/err.h"

#define DMH_SOCKET_PATH "/run/blkrep/dm-helper.socket"

struct dmh_client;

/**
 * dmh_client_open - a connection to a helper: spawned as root, else the service's socket
 * @program  the helper's file; NULL: blkrep-dm-helper beside the running program, else in /usr/libexec/blkrep
 * Errors: -BR_E_NOT_FOUND no helper or no service; -BR_E_PERMISSION the user is not in group blkrep; -BR_E_VERSION; -BR_E_PEER
 */
BR_MUST_CHECK int dmh_client_open(const char *program, struct dmh_client **ret_client, struct br_err *reterr);
/** dmh_client_spawn - the same, always by starting @program, which needs root to be of use */
BR_MUST_CHECK int dmh_client_spawn(const char *program, struct dmh_client **ret_client, struct br_err *reterr);
/** dmh_client_connect - the same, always over a socket; NULL: DMH_SOCKET_PATH */
BR_MUST_CHECK int dmh_client_connect(const char *path, struct dmh_client **ret_client, struct br_err *reterr);
/**
 * dmh_client_close - hang up; NULL is fine. A frozen filesystem is thawed. A spawned helper ends by itself and is reaped when that takes
 * less than a second.
 */
void dmh_client_close(struct dmh_client *client);
/** dmh_client_welcome - what the helper said of itself and of this peer */
const struct dmh_welcome *dmh_client_welcome(const struct dmh_client *client);

// ---- registration ------------------------------------------------------------------------------------------------------------

/**
 * dmh_register - record what a volume is, for this and all later runs: root only
 * Durable: yes. An existing registration is replaced; its uuid can only change while no device of the old uuid exists.
 * Errors: -BR_E_PERMISSION the peer is not root; -BR_E_BUSY devices of the old uuid exist; -BR_E_USAGE
 */
BR_MUST_CHECK int dmh_register(struct dmh_client *client, const struct dmh_volume *volume, struct br_err *reterr);
/** dmh_unregister - forget it: root only; -BR_E_BUSY while devices of it exist */
BR_MUST_CHECK int dmh_unregister(struct dmh_client *client, const char *volume, struct br_err *reterr);
/** dmh_volume - the registration; -BR_E_NOT_FOUND when there is none */
BR_MUST_CHECK int dmh_volume(struct dmh_client *client, const char *volume, struct dmh_volume *ret_volume,
                             struct br_err *reterr);

/** dmh_volumes - the names of all that are registered */
BR_MUST_CHECK int dmh_volumes(struct dmh_client *client, struct dmh_volumes *ret_volumes, struct br_err *reterr);
/** dmh_record_open - a file that blkrep keeps of a volume, for who may not open it; @file enum dmh_record_file; the caller's fd */
BR_MUST_CHECK int dmh_record_open(struct dmh_client *client, const char *volume, uint32_t file, int *ret_fd,
                                  struct br_err *reterr);
/** dmh_record_keep - what was written to DMH_RECORD_NEW becomes the record, durably; under the lock only */
BR_MUST_CHECK int dmh_record_keep(struct dmh_client *client, const char *volume, struct br_err *reterr);

// ---- device-mapper -----------------------------------------------------------------------------------------------------------

/**
 * dmh_create - make one of blkrep's own devices, with an active, an inactive or no table
 * On failure nothing is left. Waits for udev when that makes the node, so that /dev/mapper/NAME exists on return if activated.
 * Errors: -BR_E_BUSY a device of that name or uuid exists
 */
BR_MUST_CHECK int dmh_create(struct dmh_client *client, const struct dmh_create *create,
                             struct dmh_created *ret_created, struct br_err *reterr);
/** dmh_load - load a table into the inactive slot, in place of what is there; dmh_resume() or a window makes it live */
BR_MUST_CHECK int dmh_load(struct dmh_client *client, const struct dmh_load *load, struct br_err *reterr);
/** dmh_copy_table - load into the inactive slot of @copy->to the live table of @copy->from; both of the same volume */
BR_MUST_CHECK int dmh_copy_table(struct dmh_client *client, const struct dmh_copy_table *copy, struct br_err *reterr);
/** dmh_clear - empty the inactive slot; no effect when it is empty */
BR_MUST_CHECK int dmh_clear(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr);
/**
 * dmh_resume - make the inactive table live, for a device that nothing uses yet; resume what another run left suspended
 * Never for a device in use that changes its table: that needs dmh_window(), whose watchdog keeps the promise. So:
 * Errors: -BR_E_BUSY it is open, ACTIVE and has an inactive table
 */
BR_MUST_CHECK int dmh_resume(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr);
/** dmh_remove - remove a part; -BR_E_BUSY when it is open longer than retry_ms and deferred is off; -BR_E_NOT_FOUND */
BR_MUST_CHECK int dmh_remove(struct dmh_client *client, const struct dmh_remove *remove,
                             struct dmh_removed *ret_removed, struct br_err *reterr);
/**
 * dmh_message - tell a target something
 * Errors: -BR_E_BUSY the device is suspended (the message would hang), or the metadata snapshot's one slot is taken;
 * -BR_E_NOT_FOUND there was no metadata snapshot to drop
 */
BR_MUST_CHECK int dmh_message(struct dmh_client *client, const struct dmh_message *message, struct br_err *reterr);
/** dmh_status - the status of every target; takes no flush and never waits for a suspend */
BR_MUST_CHECK int dmh_status(struct dmh_client *client, const struct dmh_query *query, struct dmh_status *ret_status,
                             struct br_err *reterr);
/** dmh_table - the table as the kernel has it */
BR_MUST_CHECK int dmh_table(struct dmh_client *client, const struct dmh_query *query, struct dmh_rows *ret_rows,
                            struct br_err *reterr);
/** dmh_info - name, numbers, state, open count of a device */
BR_MUST_CHECK int dmh_info(struct dmh_client *client, const struct dmh_ref *device, struct dmh_info *ret_info,
                           struct br_err *reterr);
/** dmh_list - blkrep's own devices, also those whose volume is not registered (root only sees these), by name */
BR_MUST_CHECK int dmh_list(struct dmh_client *client, const struct dmh_list *list, struct dmh_listed *ret_listed,
                           struct br_err *reterr);

// ---- suspending --------------------------------------------------------------------------------------------------------------

/**
 * dmh_window - the suspend window of one volume or of a group: all or nothing
 * Before it, with everything running: the filesystems on the tops are synced until a round is short, the eras are rolled, all is
 * allocated and locked. On success all tops are ACTIVE with their new table if they had one, all that is inside is live.
 * On failure, whatever it was, all tops are ACTIVE; those with an inactive table run the old one where the failure came before their
 * resume and the new one after it (the text says which); and what is inside was removed if it is a snapshot part, or keeps its inactive
 * table if the window was not begun. A snapshot of LVM's that was to be renewed is then of no moment: dmh_lvm_remove() it.
 * Errors: -BR_E_FREEZE_SLOW not begun, write-back is too slow for a freeze within the deadline; -BR_E_FREEZE_DEADLINE begun and
 * undone; -BR_E_VERIFY a fresh snapshot's store was not empty; -BR_E_BUSY a top is suspended already
 */
BR_MUST_CHECK int dmh_window(struct dmh_client *client, const struct dmh_window *window,
                             struct dmh_window_done *ret_done, struct br_err *reterr);
/**
 * dmh_snapshot_remove - take snapshots away from their origin (in a window) and remove their devices
 * Works for a snapshot that is Invalid too, and for one that has only an inactive table. A part that is gone already counts as removed.
 * Errors: -BR_E_BUSY one is open and force is off: nothing was changed; as dmh_window()
 */
BR_MUST_CHECK int dmh_snapshot_remove(struct dmh_client *client, const struct dmh_snapshot_remove *remove,
                                      struct dmh_window_done *ret_done, struct br_err *reterr);
/**
 * dmh_freeze - freeze a filesystem (FIFREEZE) for a quiesce above the block layer; one at a time per connection
 * It is thawed by dmh_thaw(), when the deadline passes, or when the connection ends.
 * Errors: -BR_E_FREEZE_DEADLINE; -BR_E_BUSY it is frozen already, or this connection froze another
 */
BR_MUST_CHECK int dmh_freeze(struct dmh_client *client, const struct dmh_freeze *freeze, struct br_err *reterr);
/** dmh_thaw - thaw it; -BR_E_FREEZE_DEADLINE when it was thawed before because its time was up: what was to happen meanwhile did not hold */
BR_MUST_CHECK int dmh_thaw(struct dmh_client *client, struct dmh_thawed *ret_thawed, struct br_err *reterr);

// ---- devices and files -------------------------------------------------------------------------------------------------------

/**
 * dmh_open - a descriptor of a device or file that the volume or replica names, close-on-exec
 * Owner: the caller of @ret_fd     Errors: -BR_E_TARGET_IN_USE for writing, and someone holds it
 */
BR_MUST_CHECK int dmh_open(struct dmh_client *client, const struct dmh_open *open, int *ret_fd,
                           struct dmh_opened *ret_opened, struct br_err *reterr);
/** dmh_zero_head - zero the first DMH_HEAD_BYTES of a part, place or LV and flush; never of "@device"; -BR_E_TARGET_IN_USE when held */
BR_MUST_CHECK int dmh_zero_head(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr);
/**
 * dmh_file_make - make or grow a file for a COW store or metadata: all of its room allocated, durable
 * A twentieth of its filesystem, at most 1 GiB, stays free. A larger file that is there stays as it is.
 * Errors: -BR_E_NO_SPACE nothing is left of a new file, a grown one has its old size; -BR_E_REFUSED the file is no place for it: its
 * filesystem lies on no device of its own, or stands on the volume itself and would be frozen with it
 */
BR_MUST_CHECK int dmh_file_make(struct dmh_client *client, const struct dmh_file_make *make, struct br_err *reterr);
/**
 * dmh_file_map - make a part of a file (through a loop device, which goes with the part)
 * For a part that is there and maps this file, its new size is loaded inactive: a window with that part as top (no_flush) makes it live.
 * Errors: as dmh_file_make(); -BR_E_REFUSED a part of the file is not allocated, or shared with another file
 */
BR_MUST_CHECK int dmh_file_map(struct dmh_client *client, const struct dmh_file_map *map,
                               struct dmh_file_mapped *ret_mapped, struct br_err *reterr);
/** dmh_file_release - make sure that no part maps the file (else -BR_E_BUSY), and remove it if @remove */
BR_MUST_CHECK int dmh_file_release(struct dmh_client *client, const struct dmh_ref *file, bool remove,
                                   struct br_err *reterr);

// ---- LVM ---------------------------------------------------------------------------------------------------------------------

/** dmh_lvm_report - what LVM knows about a volume group, as JSON; -BR_E_UNSUPPORTED when LVM is not installed */
BR_MUST_CHECK int dmh_lvm_report(struct dmh_client *client, const struct dmh_lvm_report *report,
                                 struct dmh_lvm_json *ret_json, struct br_err *reterr);
/** dmh_lvm_create - make a logical volume of blkrep's own; -BR_E_NO_SPACE, -BR_E_BUSY it exists */
BR_MUST_CHECK int dmh_lvm_create(struct dmh_client *client, const struct dmh_lvm_create *create, struct br_err *reterr);
/** dmh_lvm_extend - grow one; no effect when it is that large already */
BR_MUST_CHECK int dmh_lvm_extend(struct dmh_client *client, const struct dmh_lvm_change *change, struct br_err *reterr);
/** dmh_lvm_remove - remove one; refused when it does not carry blkrep's tag */
BR_MUST_CHECK int dmh_lvm_remove(struct dmh_client *client, const struct dmh_lvm_change *change, struct br_err *reterr);
/** dmh_lvm_activate - lvchange -ay of one, after a boot */
BR_MUST_CHECK int dmh_lvm_activate(struct dmh_client *client, const struct dmh_lvm_change *change,
                                   struct br_err *reterr);
/**
 * dmh_thin_delta - run thin_delta over two of the volume's thin snapshots, with the pool's one metadata snapshot taken meanwhile
 * @ret_fd  its output, from its beginning on; the caller's. It is proven by engine/track/thin_delta.h with *ret_told, not here
 * Errors: -BR_E_BUSY somebody else has the pool's metadata snapshot and kept it longer than a while, or the pool is suspended;
 * -BR_E_UNSUPPORTED no thin_delta; -BR_E_NOT_FOUND a snapshot is not there, or not active; -BR_E_IO thin_delta failed, with its words
 */
BR_MUST_CHECK int dmh_thin_delta(struct dmh_client *client, const struct dmh_thin_delta *delta, int *ret_fd,
                                 struct dmh_thin_told *ret_told, struct br_err *reterr);

// ---- NBD ---------------------------------------------------------------------------------------------------------------------

/**
 * dmh_nbd_connect - make a block device of the kernel's whose I/O goes over sockets: root only
 * @fds, @fd_count  1 to DMH_SOCKETS_MAX, see request.h; stay the caller's, who closes them
 * The device is there on return, and there was no I/O yet but what udev may have asked for since: the server must be serving.
 * Errors: -BR_E_BUSY the volume has a device of this name; -BR_E_USAGE size, flags or a socket are not as request.h says;
 * -BR_E_UNSUPPORTED the kernel has no NBD, or one older than 5.14; nothing is left of a failed call
 */
BR_MUST_CHECK int dmh_nbd_connect(struct dmh_client *client, const struct dmh_nbd_connect *connect, const int *fds,
                                  size_t fd_count, struct dmh_nbd_info *ret_info, struct br_err *reterr);
/**
 * dmh_nbd_reconnect - give the device new sockets in place of dead ones: root only
 * Requests that were under way are sent anew, so a server may see one twice. Also after dead_s: then what waited has failed, what comes goes on.
 * A socket that was taken may be shut down right after: when the kernel gave the old one up for a timeout, that one's receiver ends a moment
 * later and marks the place dead that the new one is in by then (recv_work(), seen on 6.1). Who serves sees its connection end, and reconnects.
 * Errors: -BR_E_NOT_FOUND; -BR_E_BUSY its connections are alive, as far as the kernel has noticed within retry_ms
 */
BR_MUST_CHECK int dmh_nbd_reconnect(struct dmh_client *client, const struct dmh_nbd_reconnect *reconnect,
                                    const int *fds, size_t fd_count, struct dmh_nbd_reconnected *ret_done,
                                    struct br_err *reterr);
/**
 * dmh_nbd_disconnect - the server is told to end (NBD_CMD_DISC), I/O that waits fails, the device has no size any more: root only
 * What is open stays until it is closed: the name is taken as long.
 * Errors: -BR_E_NOT_FOUND; -BR_E_TARGET_IN_USE it is mounted or held, and force is off
 */
BR_MUST_CHECK int dmh_nbd_disconnect(struct dmh_client *client, const struct dmh_nbd_disconnect *disconnect,
                                     struct br_err *reterr);
/** dmh_nbd_status - the device of a name; -BR_E_NOT_FOUND */
BR_MUST_CHECK int dmh_nbd_status(struct dmh_client *client, const struct dmh_ref *device, struct dmh_nbd_info *ret_info,
                                 struct br_err *reterr);
/** dmh_nbd_list - all of a volume, or of blkrep, by number; those whose volume is not registered only root sees */
BR_MUST_CHECK int dmh_nbd_list(struct dmh_client *client, const struct dmh_list *list,
                               struct dmh_nbd_listed *ret_listed, struct br_err *reterr);

// ---- ublk --------------------------------------------------------------------------------------------------------------------

/**
 * dmh_ublk_add - make a ublk device, not started yet: root only
 * @ret_fd  of /dev/ublkcN, for the server and nobody else: the kernel allows one; the caller's
 * Errors: -BR_E_BUSY the volume has a device of this name; -BR_E_USAGE something is not as request.h says; -BR_E_UNSUPPORTED the kernel has no
 * ublk, or not all of it; nothing is left of a failed call
 */
BR_MUST_CHECK int dmh_ublk_add(struct dmh_client *client, const struct dmh_ublk_add *add, int *ret_fd,
                               struct dmh_ublk_info *ret_info, struct br_err *reterr);
/**
 * dmh_ublk_start - make its block device, once the server has fetched from all queues: root only
 * It may only be started once; what was stopped is deleted and made anew. Must not be called by the thread that serves.
 * Errors: -BR_E_TIMEOUT the server did not fetch in time: nothing was changed; -BR_E_BUSY it is started
 */
BR_MUST_CHECK int dmh_ublk_start(struct dmh_client *client, const struct dmh_ublk_serve *serve,
                                 struct dmh_ublk_info *ret_info, struct br_err *reterr);
/**
 * dmh_ublk_stop - take its block device away; I/O that waits fails, the server's fetches are aborted: root only
 * Errors: -BR_E_TARGET_IN_USE it is mounted or held, and force is off; -BR_E_TIMEOUT the server keeps requests: the kernel goes on stopping
 */
BR_MUST_CHECK int dmh_ublk_stop(struct dmh_client *client, const struct dmh_ublk_end *end, struct br_err *reterr);
/** dmh_ublk_delete - stop it and remove the rest; as dmh_ublk_stop(), and -BR_E_TIMEOUT too while the server keeps its descriptor open */
BR_MUST_CHECK int dmh_ublk_delete(struct dmh_client *client, const struct dmh_ublk_end *end, struct br_err *reterr);
/**
 * dmh_ublk_recover - begin to replace a dead server: root only
 * @ret_fd  as of dmh_ublk_add(), for the new one; when it fetches dmh_ublk_recovered() ends it. If that one dies too, begin again.
 * Errors: -BR_E_BUSY the old server lives, as far as the kernel has noticed within retry_ms; -BR_E_REFUSED the device has no recovery, or
 * is stopped
 */
BR_MUST_CHECK int dmh_ublk_recover(struct dmh_client *client, const struct dmh_ublk_recover *recover, int *ret_fd,
                                   struct dmh_ublk_info *ret_info, struct br_err *reterr);
/**
 * dmh_ublk_recovered - let I/O go on, once the new server has fetched from all queues: root only
 * Errors: -BR_E_TIMEOUT as of dmh_ublk_start(); -BR_E_BUSY nobody has the descriptor of dmh_ublk_recover(); -BR_E_USAGE the old server's pid
 */
BR_MUST_CHECK int dmh_ublk_recovered(struct dmh_client *client, const struct dmh_ublk_serve *serve,
                                     struct dmh_ublk_info *ret_info, struct br_err *reterr);
/** dmh_ublk_status - the device of a name; -BR_E_NOT_FOUND */
BR_MUST_CHECK int dmh_ublk_status(struct dmh_client *client, const struct dmh_ref *device,
                                  struct dmh_ublk_info *ret_info, struct br_err *reterr);
/** dmh_ublk_list - all of a volume, or of blkrep, by number; those whose volume is not registered only root sees */
BR_MUST_CHECK int dmh_ublk_list(struct dmh_client *client, const struct dmh_list *list,
                                struct dmh_ublk_listed *ret_listed, struct br_err *reterr);

#endif
