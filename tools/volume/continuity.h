// SPDX-License-Identifier: Apache-2.0
//
// Did every write since the marks were made go through the tracker? While the stack stands nothing else can write to the device: it is
// held. What can happen is that it does not stand: between a boot and the next, on another machine, under a rescue system. What is known
// of such times is looked at when the stack is built again, and one sign is enough to end the chain (G3).
//
//     it was taken down in order (clean)        the device's evidence is the one of then: superblocks, ends, sampled blocks
//     it was not (power cut, crash)             of the superblock, what only a mount changes is what was seen last;
//                                               no boot of this system came between (wtmp); dm-era's counter did not go back
//     in both                                   the same device, machine, size; blkrep=off is not on the command line
//
// What leaves no sign, a raw device that was written elsewhere after a crash, is left to the rolling recheck.
#ifndef BR_TOOLS_VOLUME_CONTINUITY_H
#define BR_TOOLS_VOLUME_CONTINUITY_H

#include "tools/volume/volume.h"

// What is seen when a stack is to be built.
struct continuity_now {
    char boot_id[VOLUME_BOOT_ID_BYTES];
    uint64_t boot_unix_ns;
    char machine_id[33];
    char wwid[192];
    uint64_t size_bytes;
    char evidence[VOLUME_EVIDENCE_BYTES];
    char superblock[VOLUME_EVIDENCE_BYTES];
    bool boots_between; // wtmp knows a boot after the record's and before this one
    bool off;           // blkrep=off
    char lost[64];      // the early boot found what the tracker remembers unusable: the word; "" not
};

/** continuity_off - is blkrep=off on the kernel's command line? */
bool continuity_off(void);
/** continuity_system - what the system says of itself: boot, machine, the boots since the record's; the device's facts stay as they are */
void continuity_system(const struct volume_record *record, struct continuity_now *now);

/**
 * continuity_look - gather it from the system and from the device that is open as @file
 * Of a device that grew, the evidence is that of its old part.
 */
BR_MUST_CHECK int continuity_look(const struct volume_record *record, struct br_file *file, const char *wwid,
                                  struct continuity_now *ret_now, struct br_err *reterr);
/**
 * continuity_judge - is the chain whole? NULL, or the word for what broke it
 * Pure: the whole rule, tested for each sign alone. A record without a chain (first attach) is whole.
 */
const char *continuity_judge(const struct volume_record *record, const struct continuity_now *now);
/** continuity_take - write what was seen into the record (not saved): from here on it is the last that is known */
void continuity_take(struct volume_record *record, const struct continuity_now *now);
/** continuity_note_view - note what the superblock in a frozen view says, and save the record if that is new; under the lock */
BR_MUST_CHECK int continuity_note_view(struct volume *volume, struct br_file *view, struct br_err *reterr);
/** continuity_note_down - the evidence of a device whose stack is about to go in order; under the lock, not saved */
BR_MUST_CHECK int continuity_note_down(struct volume_record *record, struct br_file *file, struct br_err *reterr);

/**
 * continuity_superblock - a hash of what only mounting changes in the superblock, from the first 4096 bytes of a device
 * ext4: uuid, mount count, mount time, creation time. XFS: the superblock whole (it is written at unmount, freeze and recovery only).
 * Others: "", nothing is known that moves at a mount only.
 */
void continuity_superblock(const uint8_t head[4096], char ret_hash[VOLUME_EVIDENCE_BYTES]);
/** continuity_boots_between - does a file like /var/log/wtmp (utmp.h) have a boot in (@from_unix, @to_unix)? */
bool continuity_boots_between(const char *path, uint64_t from_unix, uint64_t to_unix);

#endif
