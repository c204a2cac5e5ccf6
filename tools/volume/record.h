// SPDX-License-Identifier: Apache-2.0
//
// What blkrep knows of an attached volume: STATE/volumes/NAME/stack.json, replaced as a whole, durably, under the volume's lock
// (tools/volume/volume.h). It says how the stack is built, so that a boot can build it again, and what is proven about its tracking.
//
//     chain      a random id of an unbroken time in which every write went through the tracker. A mark is worth something only in the chain
//                that it was made in; when continuity is lost or the tracker is distrusted a new chain begins, and `lost` says why.
//     marks      a consumer (replica, repository) held this version when the tracker was at this era, or this snapshot was made
//     snapshots  of the volume that exist, with the pieces of the area that their stores lie on
//     area       where metadata and COW stores live; pieces are given out in units of VOLUME_UNIT_BYTES
//
// The file is JSON with a checksum over its compact form, for people first; losing it costs a full compare.
#ifndef BR_TOOLS_VOLUME_RECORD_H
#define BR_TOOLS_VOLUME_RECORD_H

#include <jansson.h>
#include <limits.h>

#include "engine/base/err.h"
#include "engine/base/uuid.h"

#define VOLUME_NAME_MAX      65u
#define VOLUME_WHERE_MAX     256u
#define VOLUME_SNAPSHOTS_MAX 48u
#define VOLUME_MARKS_MAX     64u
#define VOLUME_PIECES_MAX    16u
#define VOLUME_UNIT_BYTES    (UINT64_C(1) << 20)
#define VOLUME_CHUNK_BYTES \
    8192u // of a COW store: 4 KiB costs a third more metadata reads, larger ones copy more than is written
#define VOLUME_ERA_BYTES      (UINT64_C(1) << 20)
#define VOLUME_BOOT_ID_BYTES  37u
#define VOLUME_EVIDENCE_BYTES 65u
#define VOLUME_LV_UUID_MAX    80u

enum volume_tracker {
    VOLUME_COW = 1, // a dm-snapshot is held from one run to the next
    VOLUME_ERA,     // dm-era below, a dm-snapshot during a run
    VOLUME_THIN,    // thin snapshots, held
    VOLUME_LVM_COW, // a linear LV: snapshots of LVM's own, held
};

enum volume_area_kind {
    VOLUME_AREA_FILE = 1, // a file of its own, mapped below its file system
    VOLUME_AREA_DEVICE,   // a whole device given for it
    VOLUME_AREA_VG,       // a logical volume of blkrep's own in this group; trackers of LVM: the group, and no bytes
};

// Bytes of the area.
struct volume_piece {
    uint64_t offset_bytes;
    uint64_t len_bytes;
};

struct volume_area {
    enum volume_area_kind kind;
    char path[VOLUME_WHERE_MAX]; // file or device; of a group its name
    uint64_t bytes;              // that it has now
    uint64_t max_bytes;          // that it may grow to
};

enum volume_use {
    VOLUME_VIEW = 1, // of a run that is under way
    VOLUME_MARK,     // held for the marks that name it
    VOLUME_USER,     // made by `blkrep snapshot create`
};

struct volume_snapshot {
    uint32_t number;
    enum volume_use use;
    char name[VOLUME_NAME_MAX]; // of a user's
    uint64_t taken_unix_ns;
    uint64_t era;        // the tracker's, that its changes begin with
    uint8_t consistency; // enum br_consistency
    int64_t owner_pid;   // VIEW: whose it is
    uint64_t owner_start;
    bool grown; // its store was made larger: what is behind its end need not be zeros
    bool
        gone; // a user's that overflowed, or was written past while its stack was away: nothing is left of it but this, so that who asks for it is told
    uint64_t used_seen_bytes;         // of its store: it only grows, so one that has less is an older copy
    char lv_uuid[VOLUME_LV_UUID_MAX]; // LVM's own: device-mapper's uuid of it
    uint64_t thin_id;                 // of a thin one; `era` is then the pool's transaction that it was made in
    uint64_t store_bytes;             // LVM's own with a store: what that was to have at first
    struct br_uuid group; // taken with others, and not yet known to be in all of their records (group.h); nil none
    char leader[VOLUME_NAME_MAX]; // the volume whose record decides that; "" this one
    uint32_t piece_count;         // none: the store is LVM's own
    struct volume_piece pieces[VOLUME_PIECES_MAX];
};

struct volume_mark {
    struct br_uuid consumer;
    struct br_uuid version; // generation id
    struct br_uuid chain;
    uint64_t era;
    uint32_t snapshot; // number; 0 none
    uint64_t taken_unix_ns;
};

struct volume_record {
    char name[VOLUME_NAME_MAX];
    struct br_uuid volume;
    char device[VOLUME_WHERE_MAX]; // as it is found again: a stable path
    char wwid[192];
    uint64_t size_bytes; // of the stack
    enum volume_tracker tracker;
    bool retabled; // the device is a device-mapper one that the stack was slipped under: it is the top itself
    struct volume_area area;
    struct volume_piece meta; // of the era target; 0 bytes none
    uint64_t era_block_bytes;

    struct br_uuid chain;
    uint64_t chain_unix_ns; // when it began; 0 in a record of before this was kept
    char lost[64];          // why the chain before this one ended, "" never
    uint64_t lost_unix_ns;

    bool pending; // no stack stood yet: it waits for the next boot, or the first attach was cut short
    bool up;      // the stack stood when this was written
    bool clean;   // it was taken down in order, and evidence is of then
    char boot_id[VOLUME_BOOT_ID_BYTES];     // of the boot that it stood in last
    uint64_t boot_unix_ns;                  // when that boot was, by its own clock
    char machine_id[33];                    // of the machine
    uint64_t era_seen;                      // the highest era that was seen
    char evidence[VOLUME_EVIDENCE_BYTES];   // of the device when it was taken down
    char superblock[VOLUME_EVIDENCE_BYTES]; // what of the superblock only a mount changes, when it was looked at last

    uint32_t next_number;
    uint32_t snapshot_count;
    struct volume_snapshot snapshots[VOLUME_SNAPSHOTS_MAX];
    uint32_t mark_count;
    struct volume_mark marks[VOLUME_MARKS_MAX];
};

/** volume_record_encode - as JSON text with its checksum; the caller frees it; NULL without memory */
char *volume_record_encode(const struct volume_record *record);
/**
 * volume_record_decode - every field present, of its kind and in its range; the checksum right
 * Errors: -BR_E_CORRUPT names the field; -BR_E_VERSION
 */
BR_MUST_CHECK int volume_record_decode(const char *text, size_t len, struct volume_record *ret_record,
                                       struct br_err *reterr);
/** volume_tracker_name, volume_use_name - "cow", "era", ...; "view", "mark", "user" */
const char *volume_tracker_name(enum volume_tracker tracker);
const char *volume_use_name(enum volume_use use);

/** volume_record_snapshot - the snapshot of that number or, when @number is 0, of that user's name; NULL none */
struct volume_snapshot *volume_record_snapshot(struct volume_record *record, uint32_t number, const char *name);
/** volume_record_drop_snapshot - takes it out of the list; its pieces are free */
void volume_record_drop_snapshot(struct volume_record *record, uint32_t number);
/** volume_record_find_mark - the newest mark of @version in any chain, NULL none */
const struct volume_mark *volume_record_find_mark(const struct volume_record *record, const struct br_uuid *version);
/**
 * volume_record_mark - add a mark; one of the same consumer and version is replaced
 * When the list is full the oldest mark of a chain that ended goes, else the oldest of all.
 */
void volume_record_mark(struct volume_record *record, const struct volume_mark *mark);
/** volume_record_settle - drop all marks of @consumer but the one of @version */
void volume_record_settle(struct volume_record *record, const struct br_uuid *consumer, const struct br_uuid *version);
/**
 * volume_record_oldest_mark - the held snapshot that goes first when there is no room for snapshot @number (0: for a new one)
 * Never a younger one for the sake of an older mark. NULL none.
 */
const struct volume_snapshot *volume_record_oldest_mark(struct volume_record *record, uint32_t number);
/** volume_record_needed - does a mark of this chain name the snapshot? */
bool volume_record_needed(const struct volume_record *record, uint32_t number);
/** volume_record_break - end the chain: no mark of before counts any more */
void volume_record_break(struct volume_record *record, const struct br_uuid *chain, const char *why,
                         uint64_t now_unix_ns);
/**
 * volume_record_give - free pieces of the area, in order of their place, @len_bytes in all (rounded up to units)
 * @pieces, @count  what is there already; appended to, and joined where they touch
 * Returns 0; -BR_E_NO_SPACE when the area has no more, or they would be more than VOLUME_PIECES_MAX: nothing was given then
 */
BR_MUST_CHECK int volume_record_give(const struct volume_record *record, uint64_t len_bytes,
                                     struct volume_piece *pieces, uint32_t *count, struct br_err *reterr);
/** volume_record_free_bytes - of the area, that no snapshot and not the metadata holds */
uint64_t volume_record_free_bytes(const struct volume_record *record);

#endif
