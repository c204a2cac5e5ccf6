// SPDX-License-Identifier: Apache-2.0
//
// The kernel's ublk driver, through /dev/ublk-control: io_uring commands of 128 byte entries (linux/ublk_cmd.h, drivers/block/ublk_drv.c,
// Documentation/block/ublk.rst). The ioctl encoded opcodes of Linux 6.5 and later, which the headers of Debian 12 do not have.
//
// The ring. io_uring is a way around a system call filter: what a ring does is not seen by it. So the ring is made before the sandbox is
// entered, disabled, gets IORING_REGISTER_RESTRICTIONS to nothing but IORING_OP_URING_CMD and IORING_OP_ASYNC_CANCEL, and is then enabled;
// the filter allows io_uring_enter() only, so no other ring can be made and this one can't be widened.
//
// Whose a device is. The driver keeps `ublksrv_flags` of ADD_DEV as they are, "for ublksrv internal use, invisible to ublk driver", and
// gives them back with GET_DEV_INFO as long as the device exists. blkrep writes a *tag* there:
//
//     bits 63-32   FNV-1a of the volume's uuid, 16 bytes: two registered volumes with the same one are refused at ADD
//     bits 31-0    the part, up to DMH_UBLK_PART_MAX - 1 characters in base 39 (a-z, 0-9, '.', '-', and none), never 0
//
// A device with such a tag is taken for blkrep's only if it was not made by an unprivileged user, who could write anything there
// (UBLK_F_UNPRIVILEGED_DEV, which the kernel takes away from nobody but root). Other servers write small numbers or nothing.
//
// Commands that wait in the kernel have a deadline here: START_DEV and END_USER_RECOVERY wait for the server's first fetches, STOP_DEV and
// DEL_DEV for requests that the server has. When it passes the command is cancelled; one that can't be cancelled any more leaves the ring
// unusable until it ends, which later requests of the same connection are told.
#ifndef DMH_UBLK_H
#define DMH_UBLK_H

#include <linux/ublk_cmd.h>

#include "dm-helper/served.h"

#define DMH_UBLK_ANSWER_MS 5000u // for a command that waits for nobody

/** dmh_ublk_ring_start - make this process's ring, before dmh_sandbox_enter(); where that fails every request says so */
void dmh_ublk_ring_start(void);
/** dmh_ublk_ring_stop - close it */
void dmh_ublk_ring_stop(void);
/**
 * dmh_ublk_ready - can the driver be asked? Before each request
 * Errors: -BR_E_UNSUPPORTED says what to do; -BR_E_BUSY a command that could not be cancelled has not ended
 */
BR_MUST_CHECK int dmh_ublk_ready(struct br_err *reterr);
/** dmh_ublk_features - UBLK_F_* that the driver knows */
BR_MUST_CHECK int dmh_ublk_features(uint64_t *ret_features, struct br_err *reterr);

/** dmh_ublk_make - ADD_DEV; *info says what is wanted and then what it became */
BR_MUST_CHECK int dmh_ublk_make(struct ublksrv_ctrl_dev_info *info, struct br_err *reterr);
/** dmh_ublk_look - GET_DEV_INFO; -BR_E_NOT_FOUND */
BR_MUST_CHECK int dmh_ublk_look(uint32_t index, struct ublksrv_ctrl_dev_info *ret_info, struct br_err *reterr);
/** dmh_ublk_shape - SET_PARAMS, before the device is started */
BR_MUST_CHECK int dmh_ublk_shape(uint32_t index, const struct ublk_params *params, struct br_err *reterr);

enum dmh_ublk_verb {
    DMH_UBLK_VERB_START,     // @pid of the server
    DMH_UBLK_VERB_STOP,      // the block device goes, waiting requests fail
    DMH_UBLK_VERB_DELETE,    // and the rest, waiting until the server has closed its descriptor
    DMH_UBLK_VERB_RECOVER,   // the dead server's queues are made new; -BR_E_BUSY while it is not quite dead
    DMH_UBLK_VERB_RECOVERED, // @pid of the new server
};
/**
 * dmh_ublk_do - a command about a device, with a deadline
 * Errors: -BR_E_TIMEOUT it was cancelled; -BR_E_BUSY an earlier one of this connection has not ended; the kernel's own
 */
BR_MUST_CHECK int dmh_ublk_do(uint32_t index, enum dmh_ublk_verb verb, uint32_t pid, uint32_t deadline_ms,
                              struct br_err *reterr);
/** dmh_ublk_open - /dev/ublkcN for the server; -BR_E_BUSY another server has it open */
BR_MUST_CHECK int dmh_ublk_open(uint32_t index, int *ret_fd, struct br_err *reterr);

/** dmh_ublk_tag - what a device of a volume's part carries; 0 when the part's name is too long for it */
uint64_t dmh_ublk_tag(const struct dmh_volume *volume, const char *part);
/** dmh_ublk_volume_tag - its upper half */
uint32_t dmh_ublk_volume_tag(const struct dmh_volume *volume);
/** dmh_ublk_tag_part - the part of a tag; false when its lower half is none */
bool dmh_ublk_tag_part(uint64_t tag, char part[DMH_PART_MAX]);
/** dmh_ublk_is_ours - could blkrep have made a device with this information? Then *ret_part is its part; whose it is says the upper half */
bool dmh_ublk_is_ours(const struct ublksrv_ctrl_dev_info *info, char ret_part[DMH_PART_MAX]);

/**
 * dmh_ublk_each - tell of every device that could be blkrep's, by number, until @each returns false
 * Errors: of dmh_ublk_ready(), when there are devices; -BR_E_BUSY
 */
BR_MUST_CHECK int dmh_ublk_each(bool (*each)(void *user, const struct ublksrv_ctrl_dev_info *info), void *user,
                                struct br_err *reterr);
/** dmh_ublk_find - is there a device with a tag? errors of dmh_ublk_each() */
BR_MUST_CHECK int dmh_ublk_find(uint64_t tag, bool *ret_found, struct ublksrv_ctrl_dev_info *ret_info,
                                struct br_err *reterr);

#endif
