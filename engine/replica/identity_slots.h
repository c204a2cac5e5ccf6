// SPDX-License-Identifier: Apache-2.0
//
// The identity file: two slots (engine/codec/identity.h) that are written in turn, so that the record before survives a torn write.
//
//     slot 0 at byte 0      sequence 1, 3, 5 ...      a store overwrites the slot that does not hold the newest valid record,
//     slot 1 at byte 4096   sequence 2, 4, 6 ...      then syncs; the greater sequence counts
//
// The file is made under another name with its first record in it, synced, and renamed: a file that is there has had a valid record, so
// one whose slots are both invalid is damaged and never taken for "nothing was copied yet".
#ifndef BR_REPLICA_IDENTITY_SLOTS_H
#define BR_REPLICA_IDENTITY_SLOTS_H

#include "engine/codec/identity.h"
#include "engine/ring/ring.h"

#define BR_IDENTITY_NAME_MAX 128u

struct br_identity_slots {
    struct br_dir *dir;
    struct br_file *file; // NULL while there is none
    char name[BR_IDENTITY_NAME_MAX];
    uint64_t sequence; // greatest seen or tried
    unsigned next;     // slot that the next store overwrites
};

/**
 * br_identity_slots_load - open @name in @dir and read the newest valid record
 * @writable  for stores later; the record is then made durable before it is believed
 * A missing file is no error: state NONE. @slots is to be closed after success only.
 * Errors: -BR_E_CORRUPT both slots are damaged; -BR_E_VERSION a newer program's; -BR_E_IO
 */
BR_MUST_CHECK int br_identity_slots_load(struct br_dir *dir, const char *name, bool writable,
                                         struct br_identity_slots *slots, struct br_identity *ret_identity,
                                         struct br_err *reterr);
/** br_identity_slots_open_damaged - for a file that load called CORRUPT: the next store makes it anew, without looking at what is there */
void br_identity_slots_open_damaged(struct br_dir *dir, const char *name, struct br_identity_slots *slots);
/**
 * br_identity_slots_store - write @identity durably as the newest record
 * @identity  its sequence is set here
 * After a failure the newest record on disk is the one before or this one: who must know loads anew.
 */
BR_MUST_CHECK int br_identity_slots_store(struct br_identity_slots *slots, struct br_identity *identity,
                                          struct br_err *reterr);
/** br_identity_slots_close - a zeroed or closed struct is fine */
void br_identity_slots_close(struct br_identity_slots *slots);

#endif
