// SPDX-License-Identifier: Apache-2.0
//
// A snapshot of several volumes is in several records, which are written one by one, and a run can be killed, or the power cut, between any two.
// It is had by all or by none all the same: the record of the first volume, the leader, decides, and is written last.
//
//     prepared    not taken: whoever collects drops it (tend.h)
//     taken       each member but the leader is written with the group's id and the leader's name
//     decided     the leader is written with the id: from here on all have it
//     settled     ids and names are written away, the leader's last
//
// What a cut leaves between two of these is settled by the next run that takes a volume's lock: a member whose leader has not decided is
// dropped, as nobody was ever told of it.
#ifndef BR_TOOLS_VOLUME_GROUP_H
#define BR_TOOLS_VOLUME_GROUP_H

#include "tools/volume/volume.h"

/** group_begin - make @snapshot a part of @group; @leader is a volume's name, "" for the leader's own; the record is not saved */
void group_begin(struct volume_snapshot *snapshot, const struct br_uuid *group, const char *leader);
/** group_end - the group is decided and the snapshot needs its leader no more; no effect on one that is in no group; the record is saved */
BR_MUST_CHECK int group_end(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr);
/**
 * group_is_whole - do all volumes of the group that @snapshot was taken in have it? Also when it was in none
 * Asks the leader's record, without a lock.
 */
bool group_is_whole(struct volume *volume, const struct volume_snapshot *snapshot);
/**
 * group_settle - under the lock: end or drop what a cut left in the volume of groups of snapshots
 * A leader takes the locks of its members, without waiting.
 * Errors: -BR_E_BUSY a member is locked; the rest waits for the next run
 */
BR_MUST_CHECK int group_settle(struct volume *volume, struct br_err *reterr);
/** group_settle_one - the same for one snapshot of the volume's record: before a leader's goes, for its members must not need it then */
BR_MUST_CHECK int group_settle_one(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr);

#endif
