// SPDX-License-Identifier: Apache-2.0
//
// Attaching: what the device is, how the stack goes over it, whether tracking went on without a gap since it stood last; and detaching.
#ifndef BR_TOOLS_VOLUME_ATTACH_H
#define BR_TOOLS_VOLUME_ATTACH_H

#include "tools/volume/volume.h"

struct attach_wish {
    const char *name;
    const char *device;          // as the user named it
    enum volume_tracker tracker; // 0: auto
    const char *area;            // a file, a block device, "vg:GROUP"; NULL: a file in the state folder
    uint64_t area_bytes;         // to begin with; 0: a share of the volume
    uint64_t area_max_bytes;     // 0: a larger share
    uint64_t era_block_bytes;    // 0: VOLUME_ERA_BYTES
    bool at_boot; // record it only: the next attach_again() builds the stack, before anything uses the device
};

struct attach_done {
    bool stood;       // there was nothing to do
    const char *lost; // continuity was lost: the word; points into the record
    bool fresh;       // a first attach
    bool off;         // nothing was built, the plain device is passed through
};

/**
 * attach_new - attach a device for the first time
 * All is looked at before anything is made; what was made is taken away again when it fails.
 * Errors: -BR_E_REFUSED the device can't be attached as it is now, with the ways that there are; -BR_E_BUSY the name is taken
 */
BR_MUST_CHECK int attach_new(struct cli *cli, const struct attach_wish *wish, struct volume *volume,
                             struct attach_done *ret_done, struct br_err *reterr);
/**
 * attach_again - build the stack of a volume that is known: after a boot, or what a crash left half made
 * When tracking can't go on without a gap the chain ends and `lost` says why; the stack stands all the same. A broken store or metadata
 * does not stop it: they are made anew.
 */
BR_MUST_CHECK int attach_again(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr);
/**
 * attach_pass - no stack in this boot: end the chain for the reason @why, pass the plain device through under the stack's name
 * Needs no helper (volume_open_record()). The chain ends even when the device can't be passed through.
 * Errors: -BR_E_BUSY a stack stands, nothing was changed
 */
BR_MUST_CHECK int attach_pass(struct volume *volume, const char *why, struct attach_done *ret_done,
                              struct br_err *reterr);
/**
 * attach_early - build the stack before the root file system is mounted, from the copy of the record in the initramfs
 * What was seen of the device is left to attach_again() (tools/volume/early.h), which judges. Snapshots of the user's are not built.
 * After any error nothing of it is left, for attach_early_pass().
 * Errors: -BR_E_REFUSED it needs what is not there yet
 */
BR_MUST_CHECK int attach_early(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr);
/**
 * attach_early_pass - no stack so early: pass the plain device through; the real root's attach says so in the record
 * Needs no helper (volume_open_record()).
 */
BR_MUST_CHECK int attach_early_pass(struct volume *volume, struct attach_done *ret_done, struct br_err *reterr);
/**
 * attach_down - take the stack down
 * @keep  for a shutdown: the record stays, with the evidence that the next attach judges by; else nothing stays of it
 * Errors: -BR_E_BUSY it is in use, or a user's snapshot exists and @keep is off
 */
BR_MUST_CHECK int attach_down(struct volume *volume, bool keep, struct br_err *reterr);

#endif
