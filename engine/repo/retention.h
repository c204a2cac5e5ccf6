// SPDX-License-Identifier: Apache-2.0
//
// Which recovery points to keep: pure rules over what is known of them, for each volume by itself.
//
// Points are looked at from the newest to the oldest, in the order in which the volume's chain numbers them, which no clock changes. A rule keeps the
// newest point of each of so many hours, days, weeks (from Monday), months or years, in local time. The newest point of a volume is always kept.
#ifndef BR_REPO_RETENTION_H
#define BR_REPO_RETENTION_H

#include "engine/codec/repository.h"

struct br_retention {
    unsigned last, hourly, daily, weekly, monthly, yearly; // 0: no such rule
    uint64_t within_ns;                                    // keep what is younger; 0: no such rule
    const char *const *tags;                               // keep points with any of these; NULL-terminated; NULL none
};

#define BR_RETENTION_RULE_BYTES 120u

struct br_retention_point {
    const struct br_point *point; // the caller's
    uint64_t when_unix_ns;        // by which hours and days are told: when the store took it, if that is known
    bool held;

    // Filled in.
    bool keep;
    char rule[BR_RETENTION_RULE_BYTES]; // why: "newest, daily 2026-11-26"; when it goes: "no rule keeps it"
};

/** br_retention_has_rules - is there any rule? */
bool br_retention_has_rules(const struct br_retention *retention);
/**
 * br_retention_apply - decide for all points
 * @points  of any volumes; they come back by volume, of each the newest first
 */
void br_retention_apply(const struct br_retention *retention, uint64_t now_unix_ns, struct br_retention_point *points,
                        size_t count);

#endif
